"""What the screens show, as text, at the two sizes people use."""

from __future__ import annotations

import re

import pytest

from studio.persona.folder import Persona
from studio.tui.app import StudioApp

from .places import golden, press, screen_text, settled

SIZES = {"80x24": (80, 24), "160x48": (160, 48)}

WAYS = {
    "persona": (),
    "lore": ("2",),
    "lore-reader": ("2", "enter"),
    "dialogue": ("3",),
    "dialogue-reader": ("3", "enter"),
    "dialogue-preview": ("3", "p"),
    "dialogue-tokens": ("3", "p", "t"),
    "train": ("4",),
    "run": ("4", "enter"),
    "checkpoints": ("5",),
    "card": ("5", "down", "down", "enter"),
    "marked": ("5", "down", "space", "space"),
    "serve": ("6",),
    "review": ("7",),
    "help": ("question_mark",),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WAYS)
async def test_screen(persona: Persona, name: str, size: str) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=SIZES[size]) as pilot:
        await settled(pilot)
        text = await press(pilot, *WAYS[name])
    assert not app.crash
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "hh:mm:ss", text)  # times of events
    text = re.sub(r"\d+ d  cpt-1", "old  cpt-1", text)  # days since the fixture's run
    text = re.sub(r"\b([0-9a-f]{16})…", "digest…", text)
    text = re.sub(r"\d+(\.\d)? (k?B)\b", "size", text)
    golden(f"{name}-{size}", "\n".join(line.rstrip() for line in text.split("\n")))


async def test_resize_to_a_very_narrow_terminal(persona: Persona) -> None:
    """Each screen is opened in a terminal that is hardly wide enough, made smaller, and by turns wide again."""
    app = StudioApp(persona)
    async with app.run_test(size=(40, 12)) as pilot:
        await settled(pilot)
        for number, (name, way) in enumerate(WAYS.items()):
            if name in ("dialogue-tokens", "marked"):  # screens that were there already
                continue
            await press(pilot, *way)
            for size in ((20, 6), (200, 50) if number % 4 == 0 else (40, 12)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                assert all(len(line) <= size[0] for line in screen_text(app).split("\n"))
            while len(app.screen_stack) > 1:
                await press(pilot, "q")
    assert not app.crash


async def test_both_themes_and_back(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        before = screen_text(app)
        assert await press(pilot, "f9") == before
        assert app.theme in ("studio-light", "studio-light-16")
        await press(pilot, "f9")
        assert app.theme in ("studio-dark", "studio-dark-16")
