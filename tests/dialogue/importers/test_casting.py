"""Who is the character: said, told by the file, or asked for; and how her messages become rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from studio.dialogue import store
from studio.dialogue.adding import add
from studio.dialogue.importers.base import Asked
from studio.dialogue.importers.casting import WhoIsWho
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona

DAY = 86400
START = 1_749_841_200


def telegram(path: Path, said: Sequence[tuple[str, str, float]], chat: int = 7) -> Path:
    """A chat of ``(who, text, seconds)``."""
    messages = [
        {"id": n, "type": "message", "date_unixtime": str(int(START + at)), "from": who, "from_id": f"user{who}", "text": text}
        for n, (who, text, at) in enumerate(said, 1)
    ]
    path.write_text(json.dumps({"name": "x", "type": "personal_chat", "id": chat, "messages": messages}), encoding="utf-8")
    return path


def talk(persona: Persona) -> list[list[str]]:
    return [[f"{m.role[0]}:{m.content}" for m in row.messages] for row in store.rows(persona)]


THREE = [("Ann", "one", 0), ("Bob", "two", 10), ("Cat", "three", 20), ("Ann", "four", 30), ("Bob", "five", 40), ("Bob", "six", 50)]


def test_without_a_name_the_speakers_are_told_and_nothing_is_added(mira: Persona, tmp_path: Path) -> None:
    with pytest.raises(WhoIsWho, match=r"a\.json: .*--character NAME.*Bob 3, Ann 2, Cat 1") as told:
        add(mira, [telegram(tmp_path / "a.json", THREE)])
    assert [(s.name, s.count) for s in told.value.speakers] == [("Bob", 3), ("Ann", 2), ("Cat", 1)]
    assert not talk(mira) and not (mira.sources / "index.jsonl").exists()
    with pytest.raises(WhoIsWho, match=r"a\.json: nobody is called 'Bub'"):
        add(mira, [tmp_path / "a.json"], Asked(character=("Bub",)))
    with pytest.raises(StudioError, match="named for two"):
        add(mira, [tmp_path / "a.json"], Asked(character=("Bob",), me=("bob",)))


def test_others_are_users_by_name_or_left_out(mira: Persona, tmp_path: Path) -> None:
    path = telegram(tmp_path / "a.json", THREE)
    report = add(mira, [path], Asked(character=("Bob",), me=("Ann",)), dry_run=True)
    assert [m.content for m in report.preview[0].messages] == ["one", "two", "Cat: three\nfour", "five\nsix"]
    assert report.cast == {"Bob": "character", "Ann": "me", "Cat": "user"}
    report = add(mira, [path], Asked(character=("Bob",), me=("Ann",), leave_out=("*",)), dry_run=True)
    assert [m.content for m in report.preview[0].messages] == ["one", "two", "four", "five\nsix"] and report.dropped == {"left out": 1}
    report = add(mira, [path], Asked(character=("Bob", "Cat")), dry_run=True)
    assert [m.content for m in report.preview[0].messages] == ["one", "two\nthree", "four", "five\nsix"], "two names of one character"


def test_the_personas_own_name_is_enough_and_is_said(mira: Persona, tmp_path: Path) -> None:
    report = add(mira, [telegram(tmp_path / "a.json", [("Ann", "hi", 0), ("MIRA", "ho", 1)])])
    assert report.kept == 1 and report.cast_by == "the persona's name"


def test_names_of_an_id_are_one_speaker(mira: Persona, tmp_path: Path) -> None:
    first = telegram(tmp_path / "a.json", [("Ann", "hi", 0), ("Bob", "ho", 1)])
    text = first.read_text()
    (tmp_path / "b.json").write_text(text.replace('"from": "Bob"', '"from": "Bobby"').replace('"id": 7', '"id": 8').replace('"ho"', '"hey"'))
    report = add(mira, [first, tmp_path / "b.json"], Asked(character=("Bobby",)))
    assert report.kept == 2 and report.cast == {"Ann": "me", "Bobby": "character"}


def test_sessions_bursts_and_cuts(mira: Persona, tmp_path: Path) -> None:
    said = [
        ("Ann", "hi", 0),
        ("Ann", "there", 60),
        ("Mira", "ho", 120),
        ("Mira", "hum", 200),
        ("Ann", "later", 7 * 3600),
        ("Mira", "now", 7 * 3600 + 5),
    ]
    said += [("Ann", "hello?", DAY), ("Ann", "hello??", DAY + 3600), ("Mira", "yes", DAY + 3700)]
    add(mira, [telegram(tmp_path / "a.json", said)])
    assert talk(mira) == [["u:hi\nthere", "a:ho\nhum"], ["u:later", "a:now"], ["u:hello??", "a:yes"]]
    report = add(mira, [tmp_path / "a.json"], Asked(silence=48, burst=120), dry_run=True)
    assert report.kept == 1 and report.dropped.total() == 0
    long = [(who, f"{who} {n}", n * 20 + (who == "Mira")) for n in range(14) for who in ("Ann", "Mira")]
    path = telegram(tmp_path / "b.json", long, 9)
    for most, sizes in ((6, [5, 5, 4]), (0, [14]), (4, [4, 4, 3, 3]), (1, [1] * 14)):
        told = add(mira, [path], Asked(exchanges=most), dry_run=True)
        assert told.kept == len(sizes) and [len(row.replies) for row in told.preview] == sizes[:5], most
    with pytest.raises(UsageError, match="--silence -1"):
        add(mira, [path], Asked(silence=-1))


def test_what_she_does_not_answer_and_what_nobody_asked_is_counted(mira: Persona, tmp_path: Path) -> None:
    said = [("Mira", "anyone?", 0), ("Mira", "no", 60), ("Ann", "hi", DAY), ("Mira", "ho", DAY + 1), ("Ann", "bye", DAY + 2), ("Ann", "x", 2 * DAY)]
    report = add(mira, [telegram(tmp_path / "a.json", said)])
    assert report.dropped == {"nobody asks": 2, "unanswered": 1, "she is silent": 1} and talk(mira) == [["u:hi", "a:ho"]]


def test_a_talk_she_opens_keeps_her_opening(mira: Persona, tmp_path: Path) -> None:
    add(mira, [telegram(tmp_path / "a.json", [("Mira", "Up?", 0), ("Ann", "Now.", 5), ("Mira", "Good.", 9)])])
    assert talk(mira) == [["a:Up?", "u:Now.", "a:Good."]]


def test_two_exports_of_one_chat_are_read_once(mira: Persona, tmp_path: Path) -> None:
    said = [("Ann", "hi", 0), ("Mira", "ho", 1), ("Ann", "so", 100), ("Mira", "what", 101)]
    old, new = telegram(tmp_path / "old.json", said[:2]), telegram(tmp_path / "new.json", said)
    report = add(mira, [old, new])
    assert report.dropped == {"in two exports": 2} and talk(mira) == [["u:hi", "a:ho", "u:so", "a:what"]]


def test_names_do_not_reach_over_the_files_of_training_data(mira: Persona, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("<|im_start|>Ann\nhi<|im_end|>\n<|im_start|>Bob\nho<|im_end|>\n", encoding="utf-8")
    assert add(mira, [path], dry_run=True).dropped == {"unknown role": 1}
    assert add(mira, [path], Asked(me=("Ann",), character=("Bob",)), dry_run=True).preview[0].replies == ["ho"]


@pytest.mark.parametrize(("choices", "last"), [("first", "Hm."), ("last", "Hm."), ("longest", "Hm.")])
def test_a_path_is_chosen_through_a_games_choices(mira: Persona, tmp_path: Path, choices: str, last: str) -> None:
    path = tmp_path / "g.json"
    branches = [
        [{"Ann": "stay"}, {"Mira": "sit"}],
        [{"Ann": "go"}, {"Mira": "wait"}, {"Ann": "why"}, {"Mira": "rain"}],
        [{"Ann": "run"}, {"Mira": "no"}],
    ]
    path.write_text(json.dumps({"text": [{"Ann": "hi"}, {"Mira": "ho"}, {"CHOICE": branches}, {"Ann": "so"}, {"Mira": "Hm."}]}))
    report = add(mira, [path], Asked(choices=choices), dry_run=True)
    taken = {"first": ["stay"], "last": ["run"], "longest": ["go", "why"]}[choices]
    assert [m.content for m in report.preview[0].messages if m.role == "user"] == ["hi", *taken, "so"]
    assert report.read == 12 and report.dropped == {"on a path that is not taken": 8 - 2 * len(taken)} and report.preview[0].replies[-1] == last
