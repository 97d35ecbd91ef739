"""The numbers beside the ranking, each against a case whose answer is known."""

import asyncio
import json
from pathlib import Path

import pytest

from studio.checkpoints.store import get_checkpoint
from studio.engines.servers import Server
from studio.persona.folder import Persona
from studio.review import company as company_module
from studio.review.company import CHARACTER, Line, Material, _Longest, about, company, likelihood, replies_of, spoken, spread, units
from studio.review.rounds import open_review
from tests.review.endpoint import Endpoint
from tests.review.making import add_checkpoint, played

TRAIN = [
    "Then sit down by the stove, the goose will not mind you at all today.",
    "Number forty is a brown glove, left hand, dry.",
    "秤旁边最爱收东西，它以为都是来称的。",
]
HELD_OUT = ["The mail goes through at ten past and shakes the shelves.", "Tea is on the stove!"]


def row(identity: str, reply: str) -> dict[str, object]:
    return {"id": identity, "messages": [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": reply}]}


def write_snapshot(folder: Path, train: list[dict[str, object]], val: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True)
    for name, rows in (("train", train), ("val", val)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    card = {"id": folder.name, "kind": "dialogue", "inputs": {}, "seed": 1, "val_share": 0.1, "train_rows": len(train), "val_rows": len(val)}
    card |= {"train_characters": 0, "val_characters": 0, "train_tokens": None, "val_tokens": None}
    (folder / "snapshot.json").write_text(json.dumps(card))


@pytest.fixture
def wen(persona: Persona) -> Persona:
    train = [row(f"t{n}", reply) for n, reply in enumerate(TRAIN)]
    write_snapshot(persona.snapshots / "dialogue-one", train, [row(f"v{n}", reply) for n, reply in enumerate(HELD_OUT)])
    add_checkpoint(persona, "sft-1-e1", extra='snapshot = "dialogue-one"\n')
    add_checkpoint(persona, "sft-1-e2", extra='snapshot = "dialogue-one"\n')
    return persona


def test_units_are_words_and_single_characters_of_han() -> None:
    assert units("I don't KNOW, 十一级 steps!") == ["i", "don't", "know", "十", "一", "级", "steps"]
    assert units("“Ｔｅａ”…") == ["tea"] and units("") == []


def test_the_longest_shared_run_is_the_one_that_brute_force_finds() -> None:
    replies = [list("abcabd"), list("xbcabq"), list("zz")]
    train = ["qbcabz", "abd", "xzzy"]
    found = _Longest(replies).shared(train)

    def brute() -> int:
        runs = {"".join(r[i:j]) for r in replies for i in range(len(r)) for j in range(i + 1, len(r) + 1)}
        return max(len(run) for run in runs if any(run in t for t in train))

    assert len(found) == brute() == 4 and "".join(found) == "bcab"
    assert _Longest([list("ab"), list("cd")]).shared(["abcd"]) in (list("ab"), list("cd")), "a run ends with its reply"


def test_what_is_copied_is_found_and_what_is_not_is_not(wen: Persona) -> None:
    material = Material(wen)
    copied = about("c", "", ["Oh. " + TRAIN[0], "秤旁边最爱收东西，它以为都是来称的！"], ["stop", "length"], material)
    assert copied.copied == pytest.approx((8 + 9) / (9 + 9), abs=0.01) and copied.longest == 16
    assert copied.longest_text == "秤旁边最爱收东西它以为都是来称的"
    assert (copied.cut_off.k, copied.cut_off.n) == (1, 2)
    own = about("c", "", ["Something else that nobody in this town has ever said to anyone before."], ["stop"], material)
    assert own.copied == 0 and own.longest < 3


def test_repetition_variety_and_stock_phrases(wen: Persona) -> None:
    material = Material(wen)
    stuck = about("c", "", ["the bell rang again " * 10], ["length"], material)
    fresh = about("c", "", ["Each of these seven words differs entirely."], ["stop"], material)
    assert stuck.repeats == pytest.approx(1 - 4 / 37, abs=1e-4) and fresh.repeats == 0
    assert stuck.distinct_1 == pytest.approx(4 / 40) and fresh.distinct_1 == fresh.distinct_2 == 1.0
    robot = about(
        "c", "", ["I'm sorry to hear that. As an AI language model, I can't help with a tapestry of unspoken feelings."], ["stop"], material
    )
    assert robot.assistant and robot.slop and robot.assistant > 100 and robot.slop == pytest.approx(1000 * 2 / robot.units, abs=0.01)
    assert fresh.assistant == fresh.slop == 0
    chinese = about("c", "", ["作为一个AI语言模型，我很遗憾听到这个。她嘴角微微上扬。"], ["stop"], material)
    assert chinese.assistant and chinese.slop


def test_length_is_held_against_her_own_lines_of_the_same_language(wen: Persona) -> None:
    material = Material(wen)
    assert about("c", "", ["one two three four five six"], ["stop"], material).length_ratio == pytest.approx(6 / 12)
    both = about("c", "", ["one two three four five six", "秤" * 32], ["stop", "stop"], material)
    assert both.length_ratio == pytest.approx((6 / 12 + 32 / 16) / 2)
    assert about("c", "", ["шесть слов по русски здесь стоит"], ["stop"], material).length_ratio is None


def test_no_snapshot_and_no_replies_are_said_and_not_guessed(persona: Persona) -> None:
    empty = about("c", "", [], [], Material(persona))
    assert (empty.copied, empty.length_ratio, empty.distinct_1, empty.assistant, empty.cut_off.n) == (None, None, None, None, 0)
    assert [(c.checkpoint, c.replies and c.replies.replies, c.likelihood) for c in company(persona, [get_checkpoint(persona, "base")])] == [
        ("base", 0, None)
    ]


def test_lines_that_any_checkpoint_was_trained_on_are_not_held_out(wen: Persona) -> None:
    assert [line.text for line in Material(wen).held_out] == HELD_OUT
    write_snapshot(wen.snapshots / "dialogue-older", [row("v0", HELD_OUT[0])], [])
    (wen.snapshots / "dialogue-one").touch()
    assert [line.text for line in Material(wen).held_out] == HELD_OUT, "a snapshot that no checkpoint read does not matter"
    add_checkpoint(wen, "sft-0-e1", extra='snapshot = "dialogue-older"\n')
    assert [line.text for line in Material(wen).held_out] == HELD_OUT[1:]


def test_replies_are_those_of_the_checkpoint_as_it_is_now_each_once(wen: Persona) -> None:
    review = open_review(wen, ["sft-1-e1", "sft-1-e2"])
    for _ in range(2):
        played(wen, review, {"sft-1-e1": "Tea first.", "sft-1-e2": "No."})
    played(wen, review, {"sft-1-e1": "Half a", "sft-1-e2": "No."}, prompt="And now?", finish="error")
    assert sorted(map(len, spoken(wen).values())) == [1, 1]
    add_checkpoint(wen, "sft-1-e2", extra='snapshot = "dialogue-one"\n[digests]\n"model.safetensors" = "new"\n')
    found = replies_of(wen, [get_checkpoint(wen, name) for name in ("sft-1-e1", "sft-1-e2")])
    assert [(r.checkpoint, r.replies) for r in found] == [("sft-1-e1", 1), ("sft-1-e2", 0), (CHARACTER, 2)]


def test_what_was_made_is_kept_until_the_data_changes(wen: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    review = open_review(wen, ["sft-1-e1", "sft-1-e2"])
    played(wen, review, {"sft-1-e1": "Tea first.", "sft-1-e2": "No."})
    both = [get_checkpoint(wen, name) for name in ("sft-1-e1", "sft-1-e2")]
    made: list[str] = []
    real = about

    def counting(checkpoint: str, *rest: object) -> object:
        made.append(checkpoint)
        return real(checkpoint, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(company_module, "about", counting)
    first = company(wen, both)
    assert made == ["sft-1-e1", "sft-1-e2", CHARACTER]
    assert company(wen, both) == first and len(made) == 3
    played(wen, review, {"sft-1-e1": "Sit.", "sft-1-e2": "No."}, prompt="Again?")
    company(wen, both)
    assert made[3:] == ["sft-1-e1", "sft-1-e2"]
    assert len(list((wen.private / "company").iterdir())) == 3, "older numbers of the same checkpoint are dropped"


def served(folder: Path, endpoint: Endpoint) -> Server:
    (folder / "key").write_text("k")
    return Server("scorer", "embedded", endpoint.url, {"sft-1-e1": "one", "sft-1-e2": "two"}, folder=str(folder))


def test_surprise_and_lore_come_from_the_engine_and_are_kept(wen: Persona, tmp_path: Path) -> None:
    """Every character is a token of 0.5 nats, "!" of a whole one: the sums can be done by hand."""
    wen.probes.write_text(
        '{"id":"q1","kind":"cloze","prompt":"Steps?","answer":"Eleven.","wrong":["Nine!"]}\n'
        '{"id":"q2","kind":"cloze","prompt":"Goose?","answer":"Deputy!","wrong":["Bob.","Ann."]}\n{"id":"o","kind":"open","prompt":"Tea?"}\n'
    )
    checkpoint = get_checkpoint(wen, "sft-1-e1")
    with Endpoint(nats={"one": 0.5}) as endpoint:
        found = asyncio.run(likelihood(wen, served(tmp_path, endpoint), checkpoint))
    assert (found.lore_right.k, found.lore_right.n, found.lore_chance) == (1, 2, pytest.approx((1 / 2 + 1 / 3) / 2, abs=1e-4))
    tokens = sum(map(len, HELD_OUT))
    assert found.tokens == tokens and found.lines == 2 and found.surprise == pytest.approx(0.5 * (tokens + 1) / tokens, abs=1e-4)
    assert found.surprise_low is not None and found.surprise_high is not None and found.surprise_low < found.surprise < found.surprise_high
    assert company(wen, [checkpoint])[0].likelihood == found
    wen.probes.write_text("")
    assert company(wen, [checkpoint])[0].likelihood is None, "other questions, so the old numbers are not shown"


def test_held_out_lines_are_taken_evenly() -> None:
    lines = [Line((), str(n)) for n in range(10)]
    assert [line.text for line in spread(lines, 5)] == ["0", "2", "4", "6", "8"] and spread(lines, 20) == lines
