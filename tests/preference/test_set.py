"""The preference set: files in with every drop counted, faults named by pair, frozen so that no prompt is on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.dialogue.formats import Message
from studio.errors import StudioError, UsageError
from studio.files import read_lines
from studio.persona.folder import Persona
from studio.preference import build, checks, store
from studio.preference.store import Origin, Pair, make_pair


def pair(prompt: str, better: str, worse: str, **more: object) -> Pair:
    made = make_pair([Message("user", prompt)], better, worse)
    for key, value in more.items():
        setattr(made, key, value)
    return made


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_the_forms_a_pair_can_have(persona: Persona, tmp_path: Path) -> None:
    user, good, bad = say("user", "Tea?"), say("assistant", "Black."), say("assistant", "As you wish!")
    rows: list[object] = [
        {"prompt": [say("system", "You are Wen."), user], "chosen": [good], "rejected": [bad]},
        {"prompt": "Bread?", "chosen": "Black.", "rejected": "As you wish!"},
        {"chosen": [user, good], "rejected": [user, bad]},
        {
            "conversations": [{"from": "human", "value": "Soup?"}],
            "chosen": {"from": "gpt", "value": "Hot."},
            "rejected": {"from": "gpt", "value": "Sure!"},
        },
    ]
    report = store.add(persona, [lines(tmp_path / "p.jsonl", rows)])
    assert (report.read, report.kept, report.format, report.dropped.total()) == (4, 4, "trl, sharegpt", 0)
    found = list(store.rows(persona))
    assert [[m.content for m in row.prompt] for row in found] == [["You are Wen.", "Tea?"], ["Bread?"], ["Tea?"], ["Soup?"]]
    assert [(row.better, row.worse) for row in found] == [("Black.", "As you wish!")] * 3 + [("Hot.", "Sure!")]
    assert [(row.source, row.line) for row in found] == [("p.jsonl", n) for n in (1, 2, 3, 4)]
    index = [value for _, value in read_lines(persona.sources / "index.jsonl")]
    assert index[0]["kind"] == "preference" and (persona.sources / index[0]["original"]).is_file()


def test_every_drop_has_a_reason_and_a_line(persona: Persona, tmp_path: Path) -> None:
    good = {"prompt": "Tea?", "chosen": "Black.", "rejected": "As you wish!"}
    rows: list[object] = [
        good,
        '{"prompt": "Te',
        {"messages": []},
        good | {"rejected": "Black. "},
        good | {"rejected": " "},
        good | {"prompt": None, "chosen": [say("assistant", "a")], "rejected": [say("assistant", "b")]},
        good | {"chosen": [say("assistant", "a"), say("user", "b"), say("assistant", "c")]},
        good | {"prompt": [say("user", "Tea?"), say("assistant", "Yes?")]},
        good | {"prompt": [say("user", "Tea?"), say("system", "x"), say("user", "y")]},
        good | {"prompt": [say("tool", "x")]},
        good | {"prompt": 7},
        good,
    ]
    report = store.add(persona, [lines(tmp_path / "p.jsonl", rows)])
    assert (report.read, report.kept) == (12, 1)
    assert report.dropped == {
        "not JSON": 1, "unknown format": 1, "identical replies": 1, "empty reply": 1, "no prompt": 1, "more than one reply": 1,
        "prompt without the user's turn": 1, "system message inside": 1, "unknown role": 1, "no messages": 1, "duplicate": 1,
    }  # fmt: skip
    assert [fault.line for fault in report.faults] == list(range(2, 13))
    with pytest.raises(UsageError):
        store.add(persona, [tmp_path / "p.jsonl"], asked="csv")


def test_faults_are_named_by_pair(persona: Persona) -> None:
    found = [
        pair("a?", "As an AI language model, I sit.", "Sit."),
        pair("b?", "I am Qwen.", "Sit."),
        pair("c?", "sft-1-e1 says so.", "Sit.", origin=Origin("review-1", "review-1.7", "v", "vote", True, "sft-1-e1", "base")),
        pair("d?", "Hello {{user}}.", "Sit."),
        pair("e?", "Sit and", "Oh no.", cut=["chosen"]),
        pair("f?", "Sit.", "Stand.", cut=["rejected"]),
        pair("g?", "SIT.", "Sit."),
        pair("h?", "Sit.", "Eat."),
        pair("H?", "Eat.", "Sit."),
        pair("i?", "Sit.", "Eat."),
        pair("i?", "Sit.", "eat."),
        pair("j?", "Fine.", "Eat."),
        pair("k?", "", "Eat."),
        pair("l?", "As\ufffd it is.", "Eat."),
        # What would be wrong in the chosen reply is what the rejected one is rejected for.
        pair("m?", "Sit.", "As an AI language model, I am Qwen, {{user}}."),
    ]
    store.append(persona, found)
    told = [fault.what for fault in checks.check(persona)]
    expected = [
        (0, "assistant-speak"), (1, "names a model"), (2, "names itself"), (3, "placeholder"), (4, "chosen reply was cut off"),
        (5, "rejected reply was cut off"), (6, "are the same, but for case"), (7, f"contradicts {found[8].id}"), (8, f"contradicts {found[7].id}"),
        (10, f"says the same as {found[9].id}"), (12, "chosen reply is empty"), (13, "was lost"),
    ]  # fmt: skip
    assert len(told) == len(expected)
    for (index, words), what in zip(expected, told, strict=True):
        assert what.startswith(found[index].id) and words in what
    assert "(review-1.7)" in told[2]


def test_length_bias_is_told_where_it_is_more_than_chance(persona: Persona) -> None:
    def biased(longer: int, total: int) -> list[str]:
        for shard in store.shards(persona):
            shard.unlink()
        long, short = "Sit down here and drink. ", "Sit."
        store.append(persona, [pair(f"{i}?", *((long, short) if i < longer else (short, long))) for i in range(total)])
        return [fault.what for fault in checks.check(persona) if "length bias" in fault.what]

    (fault,) = biased(18, 20)
    assert "longer reply was chosen in 90% of 20 pairs" in fault and "6.25 times" in fault
    assert store.get_row(persona, fault.rpartition(" ")[2])
    assert "shorter reply was chosen in 80% of 40" in biased(8, 40)[0]
    assert not biased(11, 20) and not biased(3, 4)
    assert checks.stats(persona)["longer_chosen"] == 0.75


def test_one_prompt_is_never_on_both_sides(persona: Persona) -> None:
    found = [pair(f"Question {i // 3}?", f"Answer {i}.", "Hm.") for i in range(60)]
    # A reply that won goes on as the talk of the next prompts: all of them must be on one side.
    for place in ("window", "stove", "door", "stairs", "river", "gate", "well", "bridge"):
        said = f"Sit by the {place}, the one that does not rattle, and drink this first."
        found.append(pair(f"Where by the {place}?", said, "Anywhere."))
        talk = [Message("user", f"Where by the {place}?"), Message("assistant", said), Message("user", "Here?")]
        found += [make_pair(talk, f"There, {i}.", "Yes.") for i in range(2)]
    store.append(persona, found)
    for seed in range(8):
        snapshot = build.build(persona, seed=seed)
        halves = {h: [r for _, r in read_lines(persona.snapshots / snapshot.id / f"{h}.jsonl")] for h in ("train", "val")}
        prompts = {h: {row["prompt"][0]["content"] for row in rows} for h, rows in halves.items()}
        assert prompts["val"] and not prompts["train"] & prompts["val"]
        assert len(halves["train"]) + len(halves["val"]) == 84
    assert build.build(persona, seed=3).id == build.build(persona, seed=3).id != snapshot.id


def test_what_is_frozen_is_what_trainers_read(persona: Persona) -> None:
    store.append(persona, [pair(f"{i}?", "Sit.", "Oh no.", line=i, source="x.jsonl") for i in range(20)])
    persona.manifest.character.system_prompt = "You are Wen."
    snapshot = build.build(persona)
    row = next(r for _, r in read_lines(persona.snapshots / snapshot.id / "train.jsonl"))
    assert row["prompt"][0] == say("system", "You are Wen.") and row["prompt"][1]["role"] == "user"
    assert (row["chosen"], row["rejected"]) == ([say("assistant", "Sit.")], [say("assistant", "Oh no.")])
    assert (row["source"], row["cut"]) == ("x.jsonl", []) and row["id"].startswith("p")
    # The prompt is read before both replies.
    assert snapshot.train_characters + snapshot.val_characters == sum(2 * (12 + len(f"{i}?")) + len("Sit.Oh no.") for i in range(20))


def test_contradictions_are_left_out_and_counted(persona: Persona) -> None:
    store.append(persona, [*(pair(f"{i}?", "Sit.", "Oh no.") for i in range(10)), pair("3?", "Oh no.", "Sit.")])
    snapshot = build.build(persona)
    assert snapshot.notes["pairs left out that contradict each other"] == 2
    assert snapshot.train_rows + snapshot.val_rows == 9


def test_the_same_refusal_a_hundred_times_does_not_prevent_a_split(persona: Persona) -> None:
    refusal = "I am sorry to hear that. Is there anything else I can help you with?"
    store.append(persona, [pair(f"{i}?", f"Sit down, number {i}.", refusal) for i in range(20)])
    snapshot = build.build(persona)
    assert snapshot.val_rows == 2
    assert [number for what, number in snapshot.notes.items() if "too common" in what] == [20]


def test_too_little_is_told(persona: Persona) -> None:
    with pytest.raises(StudioError, match="studio review pairs"):
        build.build(persona)
    store.append(persona, [pair("a?", "Sit.", w) for w in ("Oh.", "Hm.")])
    with pytest.raises(StudioError, match="all belong to one prompt"):
        build.build(persona)


def test_a_damaged_shard_is_named_with_its_line(persona: Persona) -> None:
    store.append(persona, [pair("a?", "Sit.", "Oh.")])
    shard = persona.preference / "0001.jsonl"
    shard.write_text(shard.read_text() + "{half\n")
    with pytest.raises(StudioError, match=r"0001\.jsonl:2"):
        list(store.rows(persona))
