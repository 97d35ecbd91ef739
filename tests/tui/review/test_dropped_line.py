"""The line drops between the replies and the vote: the round is on disk and waits."""

from __future__ import annotations

import os

from studio.persona.folder import Persona
from studio.review.rounds import all_reviews, rounds
from studio.review.votes import votes
from tests.tui.review.fake_engine import FakeEngine
from tests.tui.test_terminal import Terminal

APP = "import sys; from pathlib import Path; from studio.tui.app import run; sys.exit(run(Path(sys.argv[1]), review={ids!r}))"


def test_the_round_waits_for_the_next_session(wen: Persona, engine: FakeEngine) -> None:
    first = Terminal(APP.format(ids=["base", "sft-1-e2"]), wen.root)
    first.wait_for("How is it held?")
    first.press("\r")
    first.wait_for("first round")
    first.wait_for("●")
    first.press("p")
    first.wait_for("both bad")
    os.close(first.master)
    assert first.process.wait(60) != 0
    (review,) = all_reviews(wen)
    (waiting,) = rounds(wen, review)
    assert votes(wen) == []

    second = Terminal(APP.format(ids=[]), wen.root)
    second.wait_for("both bad")
    assert b"I had a bad day." in second.seen and b"The kettle" in second.seen
    second.press("1")
    second.wait_for("Saved")
    second.press("q")
    second.press("q")
    assert second.ended() == 0
    (vote,) = votes(wen)
    assert vote.round == waiting.id and len(engine.requests) == 2
