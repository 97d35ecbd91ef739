"""What one does with a round that has its vote: correct it, take another reply, go on, branch off, look into it."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Input

from studio.dialogue import embedding
from studio.dialogue.formats import Message
from studio.dialogue.store import Row, row_id, rows
from studio.home import home
from studio.jobs import processes
from studio.persona.folder import Persona
from studio.review.rounds import all_reviews, open_review
from studio.review.rounds import rounds as rounds_of
from studio.review.votes import betters, votes
from studio.shards import append_rows
from studio.snapshots import Snapshot
from studio.tui.review.inspecting import Inspector
from studio.tui.review.state import Phase
from studio.tui.review.writing import Writing
from tests.tui.review.conftest import add_checkpoint
from tests.tui.review.fake_engine import FakeEngine, Script
from tests.tui.review.judge import Judge, judging

TWO = ["base", "sft-1-e2"]


async def write(judge: Judge, text: str, *, clear: bool = True) -> None:
    """Type into the editor that is open, and save."""
    await judge.until(lambda: isinstance(judge.app.screen, Writing))
    if clear:
        await judge.press("f7", "delete")
    await judge.press(*("space" if c == " " else "full_stop" if c == "." else c for c in text), "ctrl+s")


async def test_what_she_should_have_said_is_kept_and_goes_on(wen: Persona, engine: FakeEngine) -> None:
    engine.scripts["m-sft-1-e2"] = Script(["Sit.\x1b[2J"])
    async with judging(wen, TWO) as judge:
        await judge.press("e")
        await judge.ask("one")
        await judge.press("e")
        assert "after the vote" in judge.app.text()
        await judge.vote(judge.key_of("sft-1-e2"))
        await judge.press("e")
        await judge.until(lambda: isinstance(judge.app.screen, Writing))
        assert "Sit.␛[2J" in judge.app.text() and "\x1b" not in judge.app.text()
        await judge.press("escape")
        assert betters(wen) == []
        await judge.press("e")
        await write(judge, "Then sit.")
        await judge.until(lambda: betters(wen) and "as you wrote it" in judge.app.text())
        assert "Then sit." in judge.app.text()
        await judge.press("c", "x", "enter")
        await judge.phase(Phase.WAITING)
        assert [m["content"] for m in engine.requests[-1]["messages"]] == ["one", "Then sit.", "x"]
    ((vote, entry),) = betters(wen)
    assert (entry.text, entry.how, vote.sides[entry.side].checkpoint) == ("Then sit.", "edited", "sft-1-e2")
    assert vote.sides[entry.side].reply == "Sit.\x1b[2J"


async def test_a_changed_text_is_not_lost_by_one_escape(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("1")
        await judge.press("e")
        await judge.until(lambda: isinstance(judge.app.screen, Writing))
        await judge.press("x", "escape")
        assert isinstance(judge.app.screen, Writing) and "Escape once more" in judge.app.text()
        await judge.press("ctrl+s")
        await judge.until(lambda: betters(wen))


async def test_after_both_bad_the_reply_one_goes_to_can_be_corrected(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("x")
        await judge.press("e")
        assert "tab goes to the one you mean" in judge.app.text()
        await judge.press("tab", "tab", "e")
        await write(judge, "Mine.")
        await judge.until(lambda: betters(wen))
    ((_, entry),) = betters(wen)
    assert (entry.side, entry.text) == (1, "Mine.")


async def test_another_reply_is_taken_or_left(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote(judge.key_of("base"))
        first = engine.requests[-2:]
        engine.scripts["m-base"] = Script(["Another", " one."])
        await judge.press("right_square_bracket")
        await judge.until(lambda: "another, 1 of 1" in judge.app.text())
        assert "Another one." in judge.app.text() and betters(wen) == []
        asked = engine.requests[-1]
        assert asked["model"] == "m-base" and asked["seed"] not in {r["seed"] for r in first} and asked["messages"] == first[0]["messages"]
        await judge.press("left_square_bracket")
        assert "Another one." not in judge.app.text()
        await judge.press("left_square_bracket", "y")
        assert "Her own reply stands there" in judge.app.text() and len(engine.requests) == 3
        await judge.press("right_square_bracket", "y")
        await judge.until(lambda: betters(wen))
        await judge.until(lambda: "taken instead" in judge.app.text())
    ((vote, entry),) = betters(wen)
    assert (entry.text, entry.how) == ("Another one.", "swiped") and vote.sides[entry.side].checkpoint == "base"


async def test_an_engine_that_dies_over_another_reply_leaves_the_vote(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("1")
        engine.default = lambda model: Script(["Half", " never"], dies_after=1)
        await judge.press("right_square_bracket")
        await judge.until(lambda: "broke off" in judge.app.text())
        assert judge.screen.state.phase is Phase.VOTED and judge.app.text().count("Sit down. The kettle is on.") == 2
        gate = threading.Event()
        engine.default = lambda model: Script(["Slow", " ly"], gate=gate)
        await judge.press("right_square_bracket")
        await judge.until(lambda: "Slow" in judge.app.text())
        await judge.press("u")
        assert "s stops it" in judge.app.text()
        await judge.press("s")
        assert judge.screen.state.phase is Phase.VOTED and judge.app.text().count("Sit down. The kettle is on.") == 2
        gate.set()
    assert len(votes(wen)) == 1 and betters(wen) == []


async def test_each_keeps_its_own_talk(wen: Persona, engine: FakeEngine) -> None:
    review = open_review(wen, TWO, talk="own")
    engine.scripts |= {"m-base": Script(["I am base."]), "m-sft-1-e2": Script(["I am she."])}
    async with judging(wen, review=review) as judge:
        await judge.ask("one")
        await judge.vote("equals_sign")
        await judge.press("c")
        assert "own talk" in judge.app.text()
        await judge.press(*"two", "enter")
        await judge.phase(Phase.WAITING)
    sent = {asked["model"]: [m["content"] for m in asked["messages"]] for asked in engine.requests[-2:]}
    assert sent == {"m-base": ["one", "I am base.", "two"], "m-sft-1-e2": ["one", "I am she.", "two"]}
    last = rounds_of(wen, review)[-1]
    assert {side.checkpoint: side.own[1]["content"] for side in last.sides} == {"base": "I am base.", "sft-1-e2": "I am she."}


async def test_a_branch_begins_at_an_earlier_turn(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        engine.default = lambda model: Script(["First."])
        await judge.ask("one")
        await judge.vote("1")
        await judge.press("c", *"two")
        engine.default = lambda model: Script(["Second."])
        await judge.press("enter")
        await judge.phase(Phase.WAITING)
        await judge.press("b")
        assert "has its vote" in judge.app.text()
        await judge.vote("1")
        await judge.press("b")
        await judge.until(lambda: "Go on from which turn?" in judge.app.text())
        await judge.press("down", "enter", *"other", "enter")
        await judge.phase(Phase.WAITING)
    assert [m["content"] for m in engine.requests[-1]["messages"]] == ["one", "First.", "other"]


async def test_a_note_goes_with_the_vote(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.press("n", *"warm", "enter")
        assert "note: warm" in judge.app.text()
        await judge.vote("1")
        await judge.ask("two")
        await judge.vote("1")
    assert [vote.note for vote in votes(wen)] == ["warm", ""]


async def test_names_stay_hidden_where_only_the_ranking_shows_them(wen: Persona, engine: FakeEngine) -> None:
    review = open_review(wen, TWO, reveal="end")
    async with judging(wen, review=review, size=(160, 48)) as judge:
        await judge.ask("one")
        for key in ("1", "d"):
            await judge.press(key)
            await judge.phase(Phase.VOTED)
            assert "sft-1-e2" not in judge.app.text() and "base" not in judge.app.text()
        assert isinstance(judge.app.screen, Inspector) and "once the names are shown" in judge.app.text()
        await judge.press("d", "s")
        await judge.press("escape", "u")
        await judge.phase(Phase.WAITING)
        await judge.vote("equals_sign")
        assert "Saved: 1 and 2 equal" in judge.app.text()
        await judge.press("k")
        await judge.until(lambda: "sft-1-e2" in judge.app.text())


async def test_what_was_really_sent_stands_in_the_details(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO, size=(160, 48)) as judge:
        await judge.ask("one")
        await judge.press("d")
        blind = judge.app.text()
        assert "temperature 0.8" in blind and "user: one" in blind
        sides = judge.screen.state.round.sides  # type: ignore[union-attr]
        assert not any(side.checkpoint in blind or side.digest in blind or str(side.seed) in blind for side in sides)
        await judge.press("d")
        await judge.vote("1")
        await judge.press("d")
        await judge.until(lambda: "outside endpoint" in judge.app.text())
        seen = judge.app.text()
        for side in sides:
            assert side.digest in seen and f"seed {side.seed}" in seen and side.checkpoint in seen


async def test_another_system_prompt_for_the_coming_rounds(wen: Persona, engine: FakeEngine) -> None:
    wen.manifest.character.system_prompt = "Old."
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("1")
        await judge.press("m")
        await write(judge, "New.")
        await judge.ask("two")
        await judge.vote("1")
        await judge.press("m")
        await write(judge, "")
        await judge.ask("three")
    systems = [[m["content"] for m in r.messages if m["role"] == "system"] for r in rounds_of(wen, all_reviews(wen)[0])]
    assert systems == [["Old."], ["New."], []] and wen.manifest.character.system_prompt == "Old."


async def test_the_cards_fields_can_be_told_and_are_recorded_with_the_vote(wen: Persona, engine: FakeEngine) -> None:
    wen.card.write_bytes(msgspec.json.encode({"name": "Wen", "description": "{{char}} keeps lost things.", "scenario": "Rain.", "first_mes": "Sit."}))
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("1")
        await judge.press("m", "down", "enter")  # a card without a prompt of its own offers its fields
        await judge.until(lambda: "keeps lost things" in judge.app.text())
        await judge.press("ctrl+s")
        await judge.ask("two")
        await judge.vote("1")
    told = [m["content"] for m in votes(wen)[-1].messages if m["role"] == "system"]
    assert told == ["Wen keeps lost things.\n\nRain."]


def held_out(persona: Persona) -> None:
    """A frozen dialogue whose held-out part is one conversation."""
    folder = persona.snapshots / "dialogue-0"
    folder.mkdir(parents=True)
    texts = (("user", "Who"), ("assistant", "Wen"), ("user", "And now"), ("assistant", "Sit."))
    row = {"id": "7", "messages": [{"role": role, "content": text} for role, text in texts]}
    (folder / "val.jsonl").write_bytes(msgspec.json.encode(row) + b"\n")
    (folder / "snapshot.json").write_bytes(msgspec.json.encode(Snapshot("dialogue-0", "dialogue", {}, 1, 0.1, 0, 1, 0, 20, None, None)))


async def test_where_prompts_come_from(wen: Persona, engine: FakeEngine) -> None:
    wen.card.write_bytes(msgspec.json.encode({"name": "Wen", "description": "x", "first_mes": "Sit, {{user}}."}))
    async with judging(wen, TWO) as judge:

        async def choose(number: int) -> None:
            await judge.press("a")
            await judge.until(lambda: "Where does the prompt come from?" in judge.app.text())
            await judge.press(*["down"] * number, "enter")

        await choose(1)
        await judge.until(lambda: isinstance(judge.app.screen, Writing))
        await judge.press("a", "enter", "b", "ctrl+s")
        await judge.phase(Phase.WAITING)
        assert engine.requests[-1]["messages"][-1]["content"] == "a\nb"
        await judge.vote("1")
        await choose(2)
        await judge.until(lambda: "Which probe?" in judge.app.text())
        await judge.press("down", "enter")
        await judge.phase(Phase.WAITING)
        assert "Who is Deputy?" in judge.app.text()
        await judge.vote("1")
        await choose(3)
        await judge.until(lambda: "studio dialogue build" in " ".join(judge.app.text().split()))
        held_out(wen)
        await choose(3)
        await judge.until(lambda: "Which conversation?" in judge.app.text())
        await judge.press("enter")
        await judge.phase(Phase.WAITING)
        assert [m["content"] for m in engine.requests[-1]["messages"]] == ["Who", "Wen", "And now"]
        await judge.vote("1")
        await choose(4)
        await judge.until(lambda: judge.screen.query_one("#field").display)
        assert "Wen: Sit, You." in judge.app.text()
        await judge.press(*"hm", "enter")
        await judge.phase(Phase.WAITING)
        assert [m["content"] for m in engine.requests[-1]["messages"]] == ["Sit, You.", "hm"]
    assert [r.source for r in rounds_of(wen, all_reviews(wen)[0])] == ["scene", "probe:p2", "dialogue:7", "greeting"]


async def test_a_talk_worth_keeping_becomes_dialogue_once(wen: Persona, engine: FakeEngine) -> None:
    """The whole talk with the correction at its end, and where it came from; nobody's win keeps nothing."""
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("1")
        await judge.press("e")
        await write(judge, "Then sit.")
        await judge.until(lambda: "as you wrote it" in judge.app.text())
        await judge.press("f")
        await judge.until(lambda: "new in the dialogue" in judge.app.text())
        await judge.press("f")
        await judge.until(lambda: "stands in the dialogue already" in judge.app.text())
        await judge.press("i", "t", "w", "o", "enter")
        await judge.phase(Phase.WAITING)
        await judge.vote("x")
        await judge.press("f")
        await judge.until(lambda: "no talk to keep" in judge.app.text())
    (row,) = rows(wen)
    assert [m.content for m in row.messages if m.role != "system"] == ["one", "Then sit."]
    assert row.source == "review" and any(tag.startswith("round:review-1.") for tag in row.tags)


async def test_a_reply_leads_to_the_rows_it_is_from(wen: Persona, engine: FakeEngine) -> None:
    """Of a checkpoint trained on preferences too: the dialogue is the one its parent learned from. What both say is marked."""
    said = "The kettle is older than the bakery, and kinder."
    talk = [Message("user", "Tea?"), Message("assistant", f"Sit. {said}")]
    append_rows(
        wen.dialogue, [Row(row_id(talk), talk, "tea.jsonl", 3), Row("d2", [Message("user", "Bus?"), Message("assistant", "Nine.")], "x.jsonl", 1)]
    )
    snapshot = wen.snapshots / "dialogue-1"
    snapshot.mkdir(parents=True)
    (snapshot / "train.jsonl").write_text(
        json.dumps({"id": "d9", "messages": [{"role": "user", "content": "Old?"}, {"role": "assistant", "content": said}]})
    )
    for name, parent, data in (("sft-7-e1", "base", "dialogue-1"), ("dpo-8-e1", "sft-7-e1", "preference-1")):
        add_checkpoint(wen, name)
        card = f'id = "{name}"\nname = "{name}"\nstage = "sft"\nparent = "{parent}"\nsnapshot = "{data}"\n'
        (wen.checkpoints / name / "checkpoint.toml").write_text(card)
    engine.register(wen, ["base", "dpo-8-e1"])
    engine.default = lambda model: Script([f"Well. {said}"])
    async with judging(wen, ["base", "dpo-8-e1"], size=(100, 30)) as judge:
        await judge.ask("one")
        await judge.vote(judge.key_of("dpo-8-e1"))
        await judge.press("o")
        await judge.until(lambda: "d9 · " in judge.app.text())
        assert "The rows of dialogue-1" in judge.app.text() and "100%" not in judge.app.text()
        await judge.press("o", "tab")
        while judge.screen.state.at is None or judge.sides()[judge.screen.state.at] != "base":
            await judge.press("tab")
        await judge.press("o")
        await judge.until(lambda: "tea.jsonl:3" in judge.app.text())
        assert "the dialogue as it is (2 replies)" in judge.app.text() and "Nine." not in judge.app.text()


MODEL = """
import json, os, struct, sys, time
folder, texts, path = sys.argv[1:]
open(os.path.join(folder, "pid"), "w").write(str(os.getpid()))
while "slow" in folder:
    print('{"done": 0}', flush=True)
    time.sleep(0.02)
with open(path, "ab") as file:
    for line in map(json.loads, open(texts)):
        file.write(bytes.fromhex(line["key"]) + struct.pack("<2e", *((1, 0) if "ferry" in line["text"] else (0, 1))))
print('{"dims": 2}')
"""
"""Stands in for the process of a model, to which what speaks of the ferry is alike."""


async def test_nearest_in_meaning_by_a_model_and_given_up_in_the_middle(
    wen: Persona, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("good", "slow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"hidden_size": 2}')
        (tmp_path / name / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(embedding, "python", lambda module, *arguments: [sys.executable, "-c", MODEL, *arguments])
    home().mkdir(exist_ok=True)
    (home() / "config.toml").write_text(f'[nearest]\nmodel = "{tmp_path / "good"}"\n')
    talks = [[Message("user", "Late?"), Message("assistant", "The ferry is.")], [Message("user", "Bus?"), Message("assistant", "Nine, by the pier.")]]
    append_rows(wen.dialogue, [Row(row_id(talk), talk, "x.jsonl", n) for n, talk in enumerate(talks, 1)])
    engine.default = lambda model: Script(["By the pier? No ferry tonight."])
    async with judging(wen, TWO, size=(100, 30)) as judge:
        await judge.ask("one")
        await judge.vote("1")
        await judge.press("o")
        await judge.until(lambda: "x.jsonl:2" in judge.app.text() and "e: nearest in meaning" in judge.app.text())
        assert judge.app.text().index("x.jsonl:2") < judge.app.text().index("x.jsonl:1")
        await judge.press("e", "enter")
        await judge.until(lambda: "1.00 alike in meaning" in judge.app.text())
        assert judge.app.text().index("x.jsonl:1") < judge.app.text().index("x.jsonl:2")

        await judge.press("e")
        judge.app.screen.query_one(Input).value = str(tmp_path / "slow")
        await judge.press("enter")
        await judge.until(lambda: "texts read by the model: 0 %" in judge.app.text())
        await judge.press("escape")
        await judge.until(lambda: not processes.is_running(int((tmp_path / "slow" / "pid").read_text())))
