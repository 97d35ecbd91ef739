"""The lore by keyboard: read with its changes, cleaned after a look, dropped, declared a translation, stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.lore.parallel import declared
from studio.lore.sources import add
from studio.persona.folder import Persona
from studio.tui.app import StudioApp
from studio.tui.screens.lore import LoreScreen
from studio.tui.screens.stoppable import Stopped

from .places import press, screen_text, settled

SAID = "The keeper of the lost property office wrote the kite down in the book that lay on the desk by the window."


@pytest.fixture
def mended(persona: Persona, tmp_path: Path) -> Persona:
    (tmp_path / "orm.txt").write_text(f'Orm[edit]\n\n{SAID}\n\nRetrieved from "https://x"\n\n{SAID}\n\n' + "=-" * 40 + "\n")
    add(persona, [tmp_path / "orm.txt"])
    return persona


async def test_what_was_changed_is_marked_and_shown_in_full(mended: Persona) -> None:
    app = StudioApp(mended)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "2")
        app.screen.query_one("#files").select("orm.txt")
        shown = await press(pilot, "enter")
        assert "▎ Orm\n" in shown and "✗ wiki: 1 line left out here" in shown and "[edit]" not in shown
        shown = await press(pilot, "t")
        assert "− Orm[edit]" in shown and "+ Orm\n" in shown and "− Retrieved from" in shown
    assert not app.crash


async def test_a_large_file_is_read_in_parts(persona: Persona) -> None:
    (persona.lore / "long.txt").write_text("".join(f"Line {n} of a book that has no end, or none that anybody has seen.\n\n" for n in range(12_000)))
    app = StudioApp(persona)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "2")
        app.screen.query_one("#files").select("long.txt")
        shown = await press(pilot, "enter")
        assert "part 1 of 3" in shown and "Line 0 of" in shown
        shown = await press(pilot, "J", "J")
        assert "part 3 of 3" in shown and "Line 0 of" not in shown
        assert "Line 11999 of" in await press(pilot, "J", "end")
    assert not app.crash


async def test_cleaning_is_looked_at_switched_and_done(mended: Persona) -> None:
    (mended.lore / "pier.md").unlink()
    app = StudioApp(mended)
    before = (mended.lore / "orm.txt").read_text()
    async with app.run_test(size=(110, 40)) as pilot:
        await settled(pilot)
        shown = await press(pilot, "2", "w")
        assert "orm.txt:7" in shown and "symbols" in shown and "nothing is changed yet" in shown
        app.screen.query_one("#steps").select("symbols")
        shown = await press(pilot, "space")
        assert "orm.txt:7" not in shown
        await press(pilot, "space")
        shown = await press(pilot, "tab", "end", "enter")
        assert "after: left out" in shown
        await press(pilot, "q")
        await press(pilot, "s", "n")
        assert (mended.lore / "orm.txt").read_text() == before
        await press(pilot, "s", "y")
    assert "=-" not in (mended.lore / "orm.txt").read_text() and (mended.lore / "orm.txt").read_text().count(SAID) == 1
    assert not app.crash


async def test_dropped_and_declared(mended: Persona) -> None:
    app = StudioApp(mended)
    async with app.run_test(size=(100, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "2")
        app.screen.query_one("#files").select("pier.md")
        await press(pilot, "p", "down", "enter")
        assert sorted(declared(mended)[0]) == ["pier.md", "码头.txt"]
        shown = await press(pilot, "v")
        assert "declared" in shown and "English" in shown and "Chinese" in shown
        await press(pilot, "v")
        app.screen.query_one("#files").select("orm.txt")
        await press(pilot, "d", "y")
        assert "orm.txt" not in screen_text(app) or not (mended.lore / "orm.txt").exists()
    assert not (mended.lore / "orm.txt").exists() and list(mended.sources.glob("*-orm.txt"))
    assert not app.crash


async def test_a_wish_to_stop_ends_the_work_and_nothing_else(mended: Persona) -> None:
    app = StudioApp(mended)
    async with app.run_test(size=(100, 24)) as pilot:
        await settled(pilot)
        assert "Nothing is going on" not in await press(pilot, "2")
        await press(pilot, "escape")
        screen = app.screen
        assert isinstance(screen, LoreScreen)
        screen.stopping.set()
        with pytest.raises(Stopped):
            screen.progress("read", 1, 2)
        screen.say("Stopped; the rest is as it was.")
        await settled(pilot)
        assert not screen.stopping.is_set()
    assert not app.crash
