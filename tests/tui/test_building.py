"""Building the dialogue by keyboard: the split is asked where there is a choice, the data card is shown, Escape leaves no snapshot."""

from __future__ import annotations

import json
from pathlib import Path

from studio.dialogue.adding import add
from studio.dialogue.editing import Editor
from studio.dialogue.store import rows
from studio.persona.folder import Persona
from studio.snapshots import all_snapshots
from studio.tui.app import StudioApp
from studio.tui.screens.snapshots import card_lines

from .places import press, said, screen_text, settled


def another(persona: Persona, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    messages = ([{"role": "user", "content": f"Who keeps kite {n}?"}, {"role": "assistant", "content": f"I do. Entry {n}, paper."}] for n in range(8))
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in messages))
    add(persona, [path])


async def test_the_split_is_asked_and_the_card_shown(persona: Persona, tmp_path: Path) -> None:
    another(persona, tmp_path)
    Editor(persona).tag([next(rows(persona)).id], ["group:a"])
    app = StudioApp(persona)
    async with app.run_test(size=(110, 44)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3", "b")
        assert "What is held out? 10% of the rows, seed 17" in text
        assert "rows by chance" in text and "whole sources" in text and "whole groups" in text and "the newest" not in text
        await press(pilot, "escape")
        assert not all_snapshots(persona, "dialogue")
        text = await press(pilot, "b", "down", "enter")
        (made,) = all_snapshots(persona, "dialogue")
        assert made.card["split"]["by"] == "source"
        assert "The dialogue is frozen" in text and f"snapshots/{made.id}/card.md" in text and "Held out: whole sources" in text
        assert "other.jsonl" in text and "|" not in text and made.id in await press(pilot, "q")
        await press(pilot, "b", "home", "enter", "q")
        newer = all_snapshots(persona, "dialogue")[-1]
        text = await press(pilot, "n")
        assert text.index(newer.id) < text.index(made.id) and "2 snapshots of the dialogue" in text and "sources" in text
        text = await press(pilot, "down", "enter")
        assert made.id in text and "Held out: whole sources" in text, "the card of an older one"
    assert not app.crash


async def test_nothing_is_asked_without_a_choice_and_escape_stops(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "3")
        screen = app.screen
        told = screen._progress  # type: ignore[attr-defined]

        def stopped(stop, doing="", stops=True):  # type: ignore[no-untyped-def]
            stop.set()
            return told(stop, doing, stops)

        screen._progress = stopped  # type: ignore[attr-defined]
        await press(pilot, "b")
        assert "Stopped; no snapshot was made." in said(app) and not all_snapshots(persona, "dialogue")
        assert not list(persona.snapshots.glob(".*")), "nothing half-made is left"
        screen._progress = told  # type: ignore[attr-defined]
        await press(pilot, "b")
        assert "Held out: drawn by chance" in screen_text(app)


def test_a_card_is_set_in_columns() -> None:
    lines = card_lines("# Mira: d-1\n\n| | train | val |\n|---|--:|--:|\n| 水\\|边 | 1,200 | 3 |\n\n* 2 `rejected`\n")
    told = [line if isinstance(line, str) else "".join(part for part, _ in line) for line in lines]
    assert told[:5] == ["Mira: d-1", "", "          train   val", "  水|边   1,200     3", ""] and told[5] == "  · 2 `rejected`"
