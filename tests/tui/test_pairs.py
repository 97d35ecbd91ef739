"""The preference pairs by keyboard: checked, found, judged, mended, turned round, built; chosen and rejected stand side by side."""

from __future__ import annotations

from pathlib import Path

from studio.persona.folder import Persona
from studio.preference import store
from studio.snapshots import all_snapshots
from studio.tui.app import StudioApp
from studio.tui.screens.pair import PairScreen
from studio.tui.screens.pairs import PairsScreen
from tests.preference.test_editing import fill
from tests.preference.test_pairs import said as side
from tests.preference.test_pairs import voted

from .places import press, said, settled


def by_line(persona: Persona) -> dict[int, store.Pair]:
    return {row.line: row for row in store.rows(persona)}


async def test_pairs_are_looked_through_and_put_right(persona: Persona, tmp_path: Path) -> None:
    fill(persona, tmp_path)
    voted(persona, "1", side("sft-2-e1", "Since dusk."), side("base", "I am sorry."))
    app = StudioApp(persona)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "v", "v")
        assert "1 new pair of the votes" in said(app)
        text = await press(pilot)
        assert isinstance(app.screen, PairsScreen) and "15 pairs" in text and "Is lamp 11 lit?" in text
        assert "⚑" in text, "what is wrong with them is looked for by itself"
        text = await press(pilot, "f")
        assert "flag:contradiction" in text and "flag:length" in text
        await press(pilot, "escape", "slash")
        await pilot.press(*"flag", "colon", *"contradiction")
        text = await press(pilot, "enter")
        assert "2 pairs of 15" in text
        text = await press(pilot, "down", "enter")
        assert isinstance(app.screen, PairScreen)
        assert "2 of 2 pairs.jsonl:13" in " ".join(text.split()) and "⚑ contradicts" in text
        row = next(line for line in text.split("\n") if "✓ chosen" in line)
        assert "✗ rejected" in row, "side by side"
        await press(pilot, "x", "q", "escape")
        assert by_line(persona)[13].state == "rejected"

        await press(pilot, "end", "up", "e")
        await press(pilot, "home", "ctrl+k", *"Black.", "f2")
        assert "would be the same text" in said(app)
        await press(pilot, "e", "home", "ctrl+k", *"Strong.", "f2")
        assert (by_line(persona)[14].better, by_line(persona)[14].edited) == ("Strong.", True)
        text = await press(pilot, "s")
        assert by_line(persona)[14].better == "Black." and "✎ edited by hand" in text
        await press(pilot, "tab", "e", "home", "ctrl+k", *"Hm.", "f2")
        assert by_line(persona)[14].worse == "Hm."
        await press(pilot, "u", "u")
        assert by_line(persona)[14].better == "Strong."
        text = await press(pilot, "right")
        assert "review-1.1, voted, names hidden: sft-2-e1 over base" in " ".join(text.split())
        await press(pilot, "right")
        assert "This is the last pair." in said(app)
        text = await press(pilot, "q", "b")
        assert "The preference is frozen" in text and "1 pairs left out that were rejected" in text
        assert all_snapshots(persona, "preference")
    assert not app.crash


async def test_none_yet_and_only_to_read(persona: Persona) -> None:
    app = StudioApp(persona, readonly=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        text = await press(pilot, "3", "v")
        assert "There are no pairs yet: v makes them of the votes, a adds a file." in text
        await press(pilot, "v", "a", "b", "c", "x", "u")
        assert isinstance(app.screen, PairsScreen) and said(app).count("The app was opened to read only.") == 6
        text = await press(pilot, "q", "7", "p")
        assert isinstance(app.screen, PairsScreen)
