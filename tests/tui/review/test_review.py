"""The review as a person sits before it."""

from __future__ import annotations

import threading

import msgspec
import pytest

from studio.persona.folder import Persona
from studio.review.rounds import Sampling, all_reviews, rounds
from studio.review.votes import votes
from studio.tui.review.ranking import RankingPanel
from studio.tui.review.screen import ReviewScreen
from studio.tui.review.state import Phase
from tests.tui.review.fake_engine import KEY, FakeEngine, Script
from tests.tui.review.judge import Host, Judge, judging

TWO = ["base", "sft-1-e2"]


def vote_lines(persona: Persona) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in persona.votes.read_bytes().splitlines()] if persona.votes.exists() else []


async def test_blind_until_the_vote_and_one_vote_is_one_line(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.press("p")
        await judge.phase(Phase.WAITING)
        seen = judge.app.text()
        assert "I had a bad day." in seen and "Sit down. The kettle is on." in seen
        assert "sft-1-e2" not in seen and "base" not in seen
        assert len(rounds(wen, all_reviews(wen)[0])) == 1 and vote_lines(wen) == []
        await judge.vote(judge.key_of("sft-1-e2"))
        assert "sft-1-e2 ✓ more her" in judge.app.text()
        await judge.press("1", "2", "x")
        assert "has its vote" in judge.app.text()
    (line,) = vote_lines(wen)
    assert line["verdict"] in "12" and line["blind"] is True and line["source"] == "probe:p1"


async def test_both_sides_get_the_same_prompt_and_sampler_and_their_own_seed(wen: Persona, engine: FakeEngine) -> None:
    wen.manifest.character.system_prompt = "You keep lost things."
    async with judging(wen, TWO) as judge:
        await judge.ask("tea")
        first, second = engine.requests
        assert (
            first["messages"]
            == second["messages"]
            == [
                {"role": "system", "content": "You keep lost things."},
                {"role": "user", "content": "tea"},
            ]
        )
        assert first["max_tokens"] == second["max_tokens"] and first["temperature"] == second["temperature"]
        assert first["seed"] != second["seed"]
        await judge.press("r")
        await judge.until(lambda: len(engine.requests) == 4)
        assert engine.requests[2]["messages"] == first["messages"] and engine.requests[2]["seed"] not in (first["seed"], second["seed"])


async def test_no_vote_while_a_reply_is_written(wen: Persona, engine: FakeEngine) -> None:
    gate = threading.Event()
    engine.scripts["m-base"] = Script(["Slowly, ", "slowly."], gate=gate)
    async with judging(wen, TWO) as judge:
        await judge.press("p")
        await judge.until(lambda: judge.screen.state.round)
        for key in ("1", "2", "equals_sign", "x", "left", "right"):
            await judge.press(key)
        assert "have to be complete" in judge.app.text()
        gate.set()
        await judge.phase(Phase.WAITING)
        assert vote_lines(wen) == []
        await judge.vote("equals_sign")
    assert vote_lines(wen)[0]["verdict"] == "tie"


async def test_tie_both_bad_skip_and_undo(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("0")
        await judge.ask("two")
        await judge.vote("x")
        assert "neither" in judge.app.text()
        await judge.press("u")
        await judge.phase(Phase.WAITING)
        assert "you: two" in judge.app.text() and "base" not in judge.app.text()
        await judge.vote("left")
        await judge.ask("three")
        await judge.press("s")
        await judge.until(lambda: judge.screen.query_one("#field").display)
    assert [v.verdict for v in votes(wen)] == ["tie", "1", "skip"]
    assert [line["kind"] for line in vote_lines(wen)] == ["vote", "vote", "undo", "vote", "vote"]


async def test_tags_go_with_the_coming_vote_only(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.press("t", "3", "7", "enter")
        assert "tags: repeats, lovely line" in judge.app.text()
        await judge.vote("1")
        await judge.ask("two")
        await judge.vote("1")
    assert [v.tags for v in votes(wen)] == [["repeats", "lovely line"], []]


async def test_going_on_from_the_winner(wen: Persona, engine: FakeEngine) -> None:
    engine.scripts["m-sft-1-e2"] = Script(["Then sit."])
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote(judge.key_of("sft-1-e2"))
        await judge.press("c")
        assert "Wen: Then sit." in judge.app.text()
        await judge.press(*"two", "enter")
        await judge.phase(Phase.WAITING)
        assert [m["content"] for m in engine.requests[-1]["messages"]] == ["one", "Then sit.", "two"]
        await judge.vote("equals_sign")
        await judge.press("c")
        assert "needs a reply that won" in judge.app.text()
        await judge.ask("fresh")
        assert [m["content"] for m in engine.requests[-1]["messages"]] == ["fresh"]


async def test_an_engine_that_dies_leaves_its_part_and_no_vote(wen: Persona, engine: FakeEngine) -> None:
    engine.scripts["m-base"] = Script(["The water stood on", " never sent"], dies_after=1)
    async with judging(wen, TWO) as judge:
        await judge.ask("flood")
        assert judge.screen.state.phase is Phase.FAILED
        seen = judge.app.text()
        assert "The water stood on" in seen and "cut off: the engine failed" in seen and "r asks again" in seen
        await judge.press("1")
        assert vote_lines(wen) == []
        assert sorted(side.finish for side in rounds(wen, all_reviews(wen)[0])[0].sides) == ["error", "stop"]
        del engine.scripts["m-base"]
        await judge.press("r")
        await judge.phase(Phase.WAITING)
        await judge.vote("1")
    assert [v.round for v in votes(wen)] == ["review-1.2"]


async def test_a_reply_that_names_a_checkpoint_does_not_count(wen: Persona, engine: FakeEngine) -> None:
    engine.scripts["m-base"] = Script(["I am not sft-1-e2."])
    async with judging(wen, TWO) as judge:
        await judge.ask("who")
        assert "names itself: will not count" in judge.app.text()
        await judge.vote("1")
        assert "does not count" in judge.app.text()
    assert votes(wen)[0].blind is False


HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J\x1b]2;owned\x07 [/] [@click=app.quit]x[/] [whispers] \u202eabc\u200f {{user}} \x00\x9b31m\r\n<think>hm</think>"


async def test_hostile_replies_are_drawn_harmless_and_stored_raw(wen: Persona, engine: FakeEngine) -> None:
    engine.default = lambda model: Script([HOSTILE, " مرحبا שלום " * 5, "a\u0301\u200d" * 50])
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        seen = judge.app.text()
        assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u202e\u200f" for c in seen)
        assert "[@click=app.quit]x[/]" in seen and "[whispers]" in seen
        await judge.vote("1")
    assert rounds(wen, all_reviews(wen)[0])[0].sides[0].reply.startswith(HOSTILE)


async def test_a_reply_of_twenty_thousand_tokens(wen: Persona, engine: FakeEngine) -> None:
    engine.default = lambda model: Script(["word " * 100] * 200)
    async with judging(wen, TWO) as judge:
        await judge.ask("long")
        assert all(len(pane.raw) == 100_000 for pane in judge.screen.panes)
        await judge.pilot.resize_terminal(60, 20)
        await judge.vote("2")


async def test_forty_columns_and_back(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO, size=(40, 30)) as judge:
        await judge.ask("one")
        one, two = judge.screen.panes
        assert one.region.y < two.region.y and one.region.width == two.region.width == 40
        assert judge.app.text().count("Sit down. The kettle") == 2
        await judge.pilot.resize_terminal(40, 20)
        await judge.until(lambda: not two.display)
        assert "1 of 2 on screen" in judge.app.text()
        await judge.press("tab", "tab")
        assert two.display and not one.display
        await judge.pilot.resize_terminal(80, 24)
        await judge.until(lambda: one.display and one.region.y == two.region.y)
        assert one.region.width == two.region.width == 40
        assert judge.app.text().count("Sit down. The kettle is on.") == 2
        await judge.vote("1")


async def test_opening_again_goes_on_with_the_round_that_waits(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.press("p")
        await judge.phase(Phase.WAITING)
        shown = judge.sides()
    asked = len(engine.requests)
    async with judging(wen) as judge:
        await judge.phase(Phase.WAITING)
        assert "I had a bad day." in judge.app.text() and "Sit down." in judge.app.text()
        assert judge.sides() == shown and len(engine.requests) == asked
        await judge.vote("1")
        await judge.press("p")
        await judge.phase(Phase.WAITING)
        assert "Who is Deputy?" in judge.app.text()
        await judge.vote("1")
        await judge.press("p")
        await judge.until(lambda: "All 2 probes were used" in judge.app.text())
    assert len(all_reviews(wen)) == 1 and len(votes(wen)) == 2


async def test_three_checkpoints_are_reviewed_in_pairs_and_ranked(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, ["base", "cpt-1-e1", "sft-1-e2"]) as judge:
        for number in range(4):
            await judge.ask(f"q{number}")
            await judge.vote(judge.key_of("sft-1-e2") if "sft-1-e2" in judge.sides() else "equals_sign")
        await judge.press("k")
        panel = judge.app.screen
        assert isinstance(panel, RankingPanel)
        await judge.until(lambda: panel.ranked)
        await judge.until(lambda: "●" in judge.app.text())
        seen = judge.app.text()
        assert "sft-1-e2" in seen and "P(" in seen and "4 blind votes" in seen and "─●─" in seen
        await judge.press("k")
        assert judge.app.screen is judge.screen


async def test_without_a_review_one_chooses_the_checkpoints(wen: Persona, engine: FakeEngine) -> None:
    screen = ReviewScreen(wen)
    app = Host(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        judge = Judge(app, screen, pilot)
        await judge.until(lambda: "Which checkpoints are compared?" in app.text())
        await judge.press("1", "enter")
        assert "Mark 2 to 8 checkpoints." in app.text()
        await judge.press("3", "enter", "2", "enter")
        await judge.phase(Phase.IDLE)
        await judge.until(lambda: screen.state.sitting)
    (review,) = all_reviews(wen)
    assert review.checkpoints == TWO and (review.panes, review.reveal, review.talk) == (2, "end", "shared")


async def test_a_review_of_other_checkpoints_asks_how_it_is_held(wen: Persona, engine: FakeEngine) -> None:
    ids = ["base", "cpt-1-e1", "sft-1-e2"]

    async def opened(*keys: str) -> None:
        screen = ReviewScreen(wen, ids)
        app = Host(screen)
        async with app.run_test(size=(80, 24)) as pilot:
            judge = Judge(app, screen, pilot)
            if keys:
                await judge.until(lambda: "How is it held?" in app.text())
                await judge.press(*keys)
            await judge.until(lambda: screen.state.sitting and not screen.state.starting)
            assert "Three checkpoints" in app.text()

    await opened("1", "enter")
    await opened()
    (review,) = all_reviews(wen)
    assert review.panes == 3 and review.checkpoints == ids
    assert review.sampling == Sampling() and (review.reveal, review.talk) == ("vote", "shared")


async def test_an_engine_that_cannot_start_is_one_sentence_and_the_next_try_finds_one(wen: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pocket base is not made on this machine, so there is nothing to start."""
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", KEY)
    async with judging(wen, TWO) as judge:
        assert "not on this machine" in judge.app.text() and "engine ✗" in judge.app.text()
        await judge.press("p")
        await judge.phase(Phase.IDLE)
        assert rounds(wen, all_reviews(wen)[0]) == []
        with FakeEngine() as fake:
            fake.register(wen)
            await judge.press("p")
            await judge.phase(Phase.WAITING)
            assert "I had a bad day." in judge.app.text()
