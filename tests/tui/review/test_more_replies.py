"""Three and four replies, rounds that were written ahead, and days on which something breaks."""

from __future__ import annotations

import pytest

from studio.checkpoints.store import get_checkpoint
from studio.cli.main import main
from studio.engines.keys import set_key
from studio.files import append_line
from studio.persona.folder import Persona, open_persona
from studio.review.ahead import Reply, add_prompts
from studio.review.prompts import written
from studio.review.rounds import Review, Side, digest, open_review, rounds
from studio.review.votes import votes
from studio.tui.review.panes import grid
from studio.tui.review.state import Phase
from tests.tui.review.conftest import add_checkpoint
from tests.tui.review.fake_engine import KEY, FakeEngine, Script
from tests.tui.review.judge import judging

FOUR = ["base", "cpt-1-e1", "sft-1-e2", "sft-1-e3"]
TWO = ["base", "sft-1-e2"]


@pytest.fixture
def four(wen: Persona, engine: FakeEngine) -> Review:
    add_checkpoint(wen, "sft-1-e3")
    engine.register(wen, FOUR)
    engine.default = lambda model: Script([f"Reply of number {FOUR.index(model[2:])}."])
    return open_review(wen, FOUR, panes=4)


def written_ahead(persona: Persona, review: Review, prompts: int) -> None:
    for prompt in add_prompts(persona, review, written(persona, [f"Question {n}." for n in range(prompts)])):
        for name in review.checkpoints:
            side = Side(name, digest(get_checkpoint(persona, name)), f"Answer to {prompt.messages[-1]['content']}", "stop")
            append_line(persona.reviews / review.id / "replies.jsonl", Reply(prompt.id, side))


@pytest.mark.parametrize(
    ("count", "size", "wanted"),
    [
        (2, (80, 17), (2, 1)),
        (2, (40, 30), (1, 2)),
        (2, (40, 15), (1, 1)),
        (4, (160, 40), (4, 1)),
        (4, (80, 17), (2, 1)),
        (4, (80, 30), (2, 2)),
        (4, (130, 30), (2, 2)),
        (3, (120, 20), (3, 1)),
        (3, (20, 5), (1, 1)),
    ],
)
def test_replies_are_switched_before_they_are_shrunk(count: int, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert grid(count, *size) == wanted


async def test_four_side_by_side(wen: Persona, four: Review, engine: FakeEngine) -> None:
    async with judging(wen, review=four, size=(160, 48)) as judge:
        await judge.ask("tea")
        seen = judge.app.text()
        assert all(f"Reply of number {n}." in seen for n in range(4)) and not any(name in seen for name in FOUR)
        await judge.press("right", "right", "right")
        assert judge.screen.state.phase is Phase.WAITING
        await judge.vote("enter")
        assert votes(wen)[-1].verdict == "3"
        assert all(f"{n + 1} · {name}" in judge.app.text() for n, name in enumerate(judge.sides()))
        await judge.press("u")
        await judge.phase(Phase.WAITING)
        await judge.vote("4")
        await judge.ask("more")
        await judge.vote("x")
        assert "none of" in judge.app.text()
    assert [vote.verdict for vote in votes(wen)] == ["4", "both_bad"]


async def test_four_at_eighty_columns_are_seen_two_at_a_time(wen: Persona, four: Review, engine: FakeEngine) -> None:
    async with judging(wen, review=four) as judge:
        await judge.ask("tea")
        seen = judge.app.text()
        assert "1–2 of 4 on screen" in seen and sum(f"Reply of number {n}." in seen for n in range(4)) == 2
        await judge.press("tab", "tab", "tab")
        seen += judge.app.text()
        assert "3–4 of 4 on screen" in judge.app.text() and all(f"Reply of number {n}." in seen for n in range(4))
        await judge.pilot.resize_terminal(40, 16)
        await judge.until(lambda: "3 of 4 on screen" in " ".join(judge.app.text().split()))
        await judge.pilot.resize_terminal(160, 48)
        await judge.until(lambda: all(f"Reply of number {n}." in judge.app.text() for n in range(4)))
        await judge.vote("3")


async def test_number_three_of_two_is_no_vote(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("tea")
        await judge.press("3", "4")
        assert "none of them is number 4" in judge.app.text() and votes(wen) == []


async def test_rounds_written_ahead_need_no_engine(wen: Persona) -> None:
    """The next one is dealt while the names are read, and once only."""
    review = open_review(wen, TWO)
    written_ahead(wen, review, 3)
    async with judging(wen, review=review) as judge:
        assert "no engine" in judge.app.text()
        for number in range(3):
            await judge.press("enter")
            await judge.phase(Phase.WAITING)
            assert "Answer to Question" in judge.app.text()
            await judge.vote("1")
            if number < 2:
                await judge.until(lambda: judge.screen.state.sitting.waiting)  # type: ignore[union-attr]
        await judge.press("enter")
        await judge.until(lambda: "Every prompt that all have answered has its vote" in judge.app.text())
    assert len(votes(wen)) == len(rounds(wen, review)) == 3 and len({r.prompt for r in rounds(wen, review)}) == 3


async def test_replies_are_written_ahead_at_a_key(wen: Persona, engine: FakeEngine) -> None:
    """Two lines of one's own and the probes, answered by a real run of the queue; then there is a round to vote on at once."""
    engine.default = lambda model: Script([f"Written by {model}."])
    for name in ("near", "far"):
        assert main(["-p", str(wen.root), "external", "add", name, "--url", engine.base_url, "--model", f"m-{name}"]) == 0
    set_key(engine.base_url, KEY)
    wen = open_persona(wen.root)
    review = open_review(wen, ["near", "far"])
    async with judging(wen, review=review) as judge:
        await judge.press("w")
        await judge.until(lambda: "the probes (2)" in judge.app.text())
        await judge.press("down", "down", "enter")
        await judge.press("T", "e", "a", "enter", "C", "a", "k", "e", "ctrl+s")
        await judge.until(lambda: judge.screen.state.pooled)
        assert "of 4 written" in judge.app.text()
        await judge.until(lambda: judge.screen.state.pooled is None)
        await judge.press("enter")
        await judge.phase(Phase.WAITING)
        assert judge.screen.state.round.ahead and judge.screen.state.round.prompt in ("Tea", "Cake")  # type: ignore[union-attr]
        await judge.press("s", "w")
        await judge.until(lambda: "2 prompts, 4 of 4 replies are here" in " ".join(judge.app.text().split()))
        assert "nothing is missing" in judge.app.text()


async def test_one_checkpoint_that_cannot_be_served_is_one_sentence_and_what_is_written_goes_on(
    wen: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing serves here, and the pocket base is not made on this machine."""
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", KEY)
    review = open_review(wen, TWO)
    written_ahead(wen, review, 2)
    async with judging(wen, review=review) as judge:
        await judge.press("enter")
        await judge.phase(Phase.WAITING)
        await judge.vote("1")
        await judge.press("right_square_bracket")
        await judge.until(lambda: judge.screen.state.engine_problem)
        assert judge.screen.state.phase is Phase.VOTED
        assert judge.screen.state.engine_problem[:40] in " ".join(judge.app.text().split())
        await judge.press("enter")
        await judge.phase(Phase.WAITING)
        await judge.vote("2")
    assert len(votes(wen)) == 2


async def test_a_torn_last_line_costs_nothing(wen: Persona, engine: FakeEngine) -> None:
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("1")
    for path in (wen.votes, next(wen.reviews.glob("review-*/rounds.jsonl"))):
        with path.open("ab") as file:
            file.write(b'{"kind":"vote","id":"to')
    async with judging(wen) as judge:
        await judge.phase(Phase.IDLE)
        assert "1 vote" in judge.app.text()
        await judge.ask("two")
        await judge.vote("2")
    assert [vote.verdict for vote in votes(wen)] == ["1", "2"]


async def test_what_no_longer_fits_is_left_out_and_said(wen: Persona, engine: FakeEngine) -> None:
    engine.default = lambda model: Script(["long " * 8000])
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        await judge.vote("1")
        await judge.press("c", *"two", "enter")
        await judge.phase(Phase.WAITING)
        assert "2 earlier messages left out" in judge.app.text()
    assert [m["content"] for m in engine.requests[-1]["messages"]] == ["two"]


async def test_right_to_left_and_wide_text_stay_within_their_frames(wen: Persona, engine: FakeEngine) -> None:
    engine.default = lambda model: Script(["שלום עולם, מה שלומך? ", "水壶叫了，先喝茶。", "👩‍👩‍👧🇭🇺❤️ ", "Árvíztűrő tükörfúrógép. "] * 30)
    async with judging(wen, TWO) as judge:
        await judge.ask("one")
        from rich.cells import cell_len

        assert all(cell_len(line) == 80 for line in judge.app.text().split("\n"))
        assert sum(line.count("│") == 4 for line in judge.app.text().split("\n")) > 8
