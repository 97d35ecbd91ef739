"""Dialogue: two formats in, every drop counted with its line, frozen without leaks."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio.dialogue import build as dialogue_build
from studio.dialogue import checks, store
from studio.dialogue.adding import add
from studio.dialogue.importers.base import Asked
from studio.errors import StudioError, UsageError
from studio.files import read_lines
from studio.persona.folder import Persona


def turns(*texts: str) -> dict[str, object]:
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]}


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows), encoding="utf-8")
    return path


def conversations(count: int) -> list[object]:
    return [
        turns(f"Where did the {i}th thing go, do you think?", f"It is on shelf {i}. Third from the left, dry.", "Thanks.", "Mind the step.")
        for i in range(count)
    ]


def test_every_drop_has_a_reason_and_a_line(persona: Persona, tmp_path: Path) -> None:
    good = turns("Hello.", "Sit.")
    path = lines(
        tmp_path / "chats.jsonl",
        [
            good,
            '{"messages": [{"role": "user", "con',
            {"messages": []},
            turns("only me"),
            {"messages": [{"role": "tool", "content": "x"}]},
            {"messages": [{"role": "user", "content": None}]},
            {"text": "lore"},
            good,
            {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}], "system": "Be dry."},
        ],
    )
    report = add(persona, [path])
    assert (report.read, report.kept, report.format) == (9, 2, "messages, sharegpt")
    assert report.dropped == {
        "not JSON": 1, "no messages": 1, "she never speaks": 1, "unknown role": 1, "message without text": 1, "unknown format": 1, "duplicate": 1,
    }  # fmt: skip
    assert {f.line for f in report.faults} == {2, 3, 4, 5, 6, 7, 8}
    assert [m.role for m in list(store.rows(persona))[1].messages] == ["system", "user", "assistant"]


def test_what_is_mended_is_counted(persona: Persona, tmp_path: Path) -> None:
    row = {
        "conversations": [
            {"from": f, "value": v} for f, v in (("human", "a"), ("human", "b"), ("gpt", ""), ("gpt", "c"), ("gpt", "d"), ("human", "e"))
        ]
    }
    report = add(persona, [lines(tmp_path / "s.json", [json.dumps([row])])])
    assert report.kept == 1
    assert report.changed == {"turns of one side joined": 2, "empty turn left out": 1, "unanswered last turn cut off": 1}
    assert [m.content for m in next(store.rows(persona)).messages] == ["a\n\nb", "c\n\nd"]


def test_rows_never_move_between_shards(persona: Persona, tmp_path: Path) -> None:
    add(persona, [lines(tmp_path / "a.jsonl", conversations(250))])
    first = (persona.dialogue / "0001.jsonl").read_bytes()
    add(persona, [lines(tmp_path / "b.jsonl", conversations(460))])
    assert (persona.dialogue / "0001.jsonl").read_bytes() == first
    assert [len(s.read_text().splitlines()) for s in store.shards(persona)] == [200, 200, 60]
    assert len({row.id for row in store.rows(persona)}) == 460


def test_shared_turns_stay_on_one_side(persona: Persona, tmp_path: Path) -> None:
    shared = "This very long reply stands in more than one conversation of the set."
    rows = conversations(60) + [turns(f"Question {i} about the sea?", shared) for i in range(5)]
    add(persona, [lines(tmp_path / "a.jsonl", rows)])
    snapshot = dialogue_build.build(persona)
    holding = {
        half
        for half in ("train", "val")
        for _, r in read_lines(persona.snapshots / snapshot.id / f"{half}.jsonl")
        if r["messages"][1]["content"] == shared
    }
    assert len(holding) == 1
    ids = [r["id"] for half in ("train", "val") for _, r in read_lines(persona.snapshots / snapshot.id / f"{half}.jsonl")]
    assert sorted(ids) == sorted(row.id for row in store.rows(persona))
    assert snapshot.val_rows == pytest.approx(6.5, abs=2)


def test_adding_rows_moves_few_others_between_train_and_val(persona: Persona, tmp_path: Path) -> None:
    def val_ids() -> set[str]:
        snapshot = dialogue_build.build(persona)
        return {r["id"] for _, r in read_lines(persona.snapshots / snapshot.id / "val.jsonl")}

    rows = conversations(220)
    add(persona, [lines(tmp_path / "a.jsonl", rows[:200])])
    before = val_ids()
    add(persona, [lines(tmp_path / "b.jsonl", rows[200:])])
    assert len(before & val_ids()) >= 0.75 * len(before)


def test_empty_and_broken_files(persona: Persona, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "broken.jsonl").write_bytes(json.dumps(turns("好的", "坐。"), ensure_ascii=False).encode() + b"\n\xff\xfe\n")
    report = add(persona, [tmp_path / "empty.jsonl", tmp_path / "broken.jsonl"])
    assert report.dropped == {"empty file": 1, "not readable as text": 1}
    assert next(f for f in report.faults if f.file.endswith("broken.jsonl")).line == 2
    with pytest.raises(StudioError, match="does not exist"):
        add(persona, [tmp_path / "nowhere"])
    with pytest.raises(UsageError):
        add(persona, [tmp_path / "empty.jsonl"], Asked(format="xml"))
    with pytest.raises(StudioError, match="no dialogue"):
        dialogue_build.build(persona)


def test_a_damaged_shard_is_named_with_its_line(persona: Persona, tmp_path: Path) -> None:
    add(persona, [lines(tmp_path / "a.jsonl", conversations(3))])
    shard = persona.dialogue / "0001.jsonl"
    shard.write_text(shard.read_text() + "{half\n")
    with pytest.raises(StudioError, match=r"0001\.jsonl:4"):
        list(store.rows(persona))


def test_names_can_turn_the_roles_round(persona: Persona, tmp_path: Path) -> None:
    row = {"messages": [{"role": "assistant", "name": "Tom", "content": "Hi?"}, {"role": "user", "name": "Wen", "content": "Sit."}]}
    add(persona, [lines(tmp_path / "a.jsonl", [row])], Asked(me=("Tom",), character=("Wen",)))
    assert next(store.rows(persona)).replies == ["Sit."]


def test_the_system_prompt_stands_before_every_conversation(persona: Persona, tmp_path: Path) -> None:
    add(persona, [lines(tmp_path / "a.jsonl", conversations(20))])
    persona.manifest.character.system_prompt = "You are Wen."
    snapshot = dialogue_build.build(persona)
    rows = [r for _, r in read_lines(persona.snapshots / snapshot.id / "train.jsonl")]
    assert all(r["messages"][0] == {"role": "system", "content": "You are Wen."} for r in rows)


def test_checks_name_what_would_be_learned_wrongly(persona: Persona, tmp_path: Path) -> None:
    rows = [
        turns("Hi", "As an AI language model, I cannot."),
        turns("Hi there", "Hello {{user}}."),
        turns("Well", "Mind the step, the eleventh is loose."),
    ]
    rows += [turns(f"Hm {i}", "Mind the step, the eleventh is loose.") for i in range(3)]
    add(persona, [lines(tmp_path / "a.jsonl", rows)])
    found = [f.what for f in checks.check(persona)]
    assert any("assistant-speak" in w for w in found) and any("placeholder" in w for w in found) and any("4 rows" in w for w in found)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=400)
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["messages", "role", "content", "conversations", "from", "value", "x"]), v),
    ).map(lambda v: json.dumps(v).encode())
)
def test_no_file_crashes_the_reader(persona: Persona, tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "any.jsonl"
    path.write_bytes(raw)
    try:
        report = add(persona, [path], dry_run=True)
    except StudioError as error:
        assert "any.jsonl" in str(error)
    else:
        assert report.read == report.used + report.dropped.total()
