"""Having a model write conversations, by key: asked for, told, stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from studio.dialogue.store import rows
from studio.persona.folder import Persona
from studio.tui.app import StudioApp
from tests.dialogue.test_synth import Writer, writer

from .places import press, said, screen_text, settled

__all__ = ["writer"]


async def test_conversations_are_written_by_key_and_it_can_be_stopped(persona: Persona, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.dialogue.synth.STREAMS", 1)
    Path(persona.lore / "pier.txt").write_text("The ferry of the island leaves at dusk, when the keeper has lit the lamp of the pier. " * 3)
    writer.script = ["good", "cut", "good"]
    app = StudioApp(persona)
    async with app.run_test(size=(110, 40)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3", "w")
        assert "Nothing is written unless it is asked for here" in text
        text = await press(pilot, "enter")
        app.screen.query_one(Input).value = f"{writer.url} Writer-1"
        assert "Give an address, a model and a number" in await press(pilot, "enter")
        app.screen.query_one(Input).value = f"{writer.url} Writer-1 3"
        text = await press(pilot, "enter")
        assert "1 not taken: cut off at the length limit" in text and "has not learned to answer" in text
        assert sum(row.made == "synthetic" for row in rows(persona)) == 2 and "2 conversations taken of 3 written now" in text
        await press(pilot, "escape", "w")
        app.screen.query_one(Input).value = f"{writer.url} Writer-1 9"
        with writer.lock:  # it writes, and writes
            await pilot.press("enter")
            while "Writing" not in screen_text(app):
                await pilot.pause(0.02)
            await press(pilot, "escape")
        assert any("Stopped. 0 of 6 conversations were written" in sentence for sentence in said(app).splitlines()) and "⚙ 2" in screen_text(app)
    assert not app.crash
