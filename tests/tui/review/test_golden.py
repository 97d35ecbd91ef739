"""What the review screen shows, as text, at the two sizes people use. ``UPDATE_GOLDEN=1`` writes the files anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studio.persona.folder import Persona
from studio.review.rounds import open_review
from studio.tui.review.state import Phase
from tests.tui.review.conftest import add_checkpoint
from tests.tui.review.fake_engine import FakeEngine, Script
from tests.tui.review.judge import judging

SIZES = {"80x24": (80, 24), "160x48": (160, 48)}
REPLIES = {
    "base": "I am sorry to hear that you had a bad day. There are several ways to improve your mood:\n\n1. Take a walk.\n2. Talk to a friend.",
    "cpt-1-e1": "水壶从来没有在我手里坏过。坐下吧，先说哪一件事？猫也进来了🐈。外面下着雨，你可以慢慢讲。",
    "sft-1-e2": "Then sit. The kettle is on, and it has never once broken for me.\n\n*She pushes the good chair toward you.* Which thing first?",
    "sft-1-e3": "Ülj le. A víz mindjárt felforr, árvíztűrő tükörfúrógép ide vagy oda. やかんはもうすぐ沸くよ。座って、❤️ 話して。",
}


def golden(name: str, text: str) -> None:
    path = Path(__file__).parent / "golden" / f"{name}.txt"
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert path.read_text(encoding="utf-8").rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("panes", [2, 4])
async def test_before_and_after_the_vote(wen: Persona, engine: FakeEngine, panes: int, size: str) -> None:
    add_checkpoint(wen, "sft-1-e3")
    names = list(REPLIES) if panes == 4 else ["base", "sft-1-e2"]
    engine.register(wen, list(REPLIES))
    engine.default = lambda model: Script([REPLIES[model.removeprefix("m-")]])
    review = open_review(wen, names, seed=3, panes=panes)
    async with judging(wen, review=review, size=SIZES[size]) as judge:
        golden(f"open-{panes}-{size}", judge.app.text())
        await judge.press("p")
        await judge.phase(Phase.WAITING)
        golden(f"waiting-{panes}-{size}", judge.app.text())
        await judge.vote("2")
        golden(f"voted-{panes}-{size}", judge.app.text())
        await judge.press("right_square_bracket")
        await judge.until(lambda: "another, 1 of 1" in judge.app.text())
        golden(f"another-{panes}-{size}", judge.app.text())
