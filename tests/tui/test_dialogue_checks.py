"""The checks by keyboard: what they flag is counted, looked at, put aside; thresholds move; personal data goes; each taken back."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from textual.widgets import Input

from studio.dialogue import checks
from studio.dialogue.editing import Editor
from studio.dialogue.flags import ran
from studio.dialogue.judging import scores
from studio.dialogue.store import rows
from studio.persona.folder import Persona
from studio.tui.app import StudioApp
from studio.tui.screens.dialogue import DialogueScreen
from studio.tui.screens.dialogue_checks import ChecksScreen
from studio.tui.table import Table
from tests.review.endpoint import Endpoint

from .places import press, said, screen_text, settled, type_text


def give(persona: Persona, *texts: str) -> None:
    """Put these into her first replies of the first rows."""
    for row, text in zip(list(rows(persona)), texts, strict=False):
        Editor(persona).rewrite(row.id, 1, text)


def select(app: StudioApp, key: str) -> None:
    app.screen.query_one(Table).select(key)


async def test_checks_are_made_moved_and_what_they_flag_is_rejected(persona: Persona) -> None:
    give(persona, "As an AI language model, I cannot do that.", "Write to mira.lamp@gmail.com and ask her.")
    app = StudioApp(persona)
    async with app.run_test(size=(110, 44)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3", "c")
        assert "flagged by" in text and "checked now" in text, "the first time they run by themselves"
        assert set(ran(persona)) >= {"mail", "near-duplicate"}
        select(app, "mail")
        await press(pilot, "t")
        await type_text(pilot, "x")
        await press(pilot, "enter")
        assert "'1x' is not a number." in screen_text(app)
        await press(pilot, "backspace", "backspace")
        await type_text(pilot, "2")
        await press(pilot, "enter")
        assert checks.load_settings(persona).thresholds == {"mail": 2} and ran(persona)["mail"].offenders == 0
        await press(pilot, "enter")
        assert "mail has flagged no row." in said(app)
        await press(pilot, "t", "backspace", "enter")
        assert checks.load_settings(persona).thresholds == {} and ran(persona)["mail"].offenders == 1
        text = await press(pilot, "x")
        assert "Reject 1 row that mail flagged?" in text
        await press(pilot, "n")
        assert not any(row.state for row in rows(persona))
        await press(pilot, "x", "y")
        assert [row.line for row in rows(persona) if row.state == "rejected"] == [2]
        await press(pilot, "x")
        assert "All rows that mail flagged are rejected already." in said(app)
        await press(pilot, "u")
        assert not any(row.state for row in rows(persona))
        await press(pilot, "space")
        assert checks.load_settings(persona).off == ["mail"] and "mail" not in ran(persona)
        select(app, "mail")
        await press(pilot, "space")
        assert checks.load_settings(persona).off == [] and ran(persona)["mail"].offenders == 1
        select(app, "mail")
        text = await press(pilot, "enter")
        assert isinstance(app.screen, DialogueScreen) and "flag:mail   1 row of 40" in text and "What is lamp 1 for?" in text
    assert not app.crash


async def test_checks_stop_by_escape_and_keys_answer_meanwhile(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "c")
        before = ran(persona)
        began, go_on = threading.Event(), threading.Event()
        screen = app.screen
        assert isinstance(screen, ChecksScreen)
        tell = screen.progress

        def held(what: str, done: int, whole: int) -> None:
            began.set()
            assert go_on.wait(20)
            tell(what, done, whole)

        before_it = screen.query_one(Table).cursor
        screen.progress = held  # type: ignore[method-assign]
        await pilot.press("r")
        while not began.is_set():
            await pilot.pause(0.01)
        await pilot.press("down", "down", "r")
        await pilot.pause()
        assert screen.query_one(Table).cursor == before_it + 2 and "Work is going on: Escape stops it." in said(app)
        await pilot.press("escape")
        assert "Stopping" in screen_text(app) and app.screen is screen
        go_on.set()
        await settled(pilot)
        assert "Stopped;" in said(app) and ran(persona) == before, "no check is kept of a run that was stopped"
        await press(pilot, "escape")
        assert isinstance(app.screen, DialogueScreen)


async def test_personal_data_is_shown_first_replaced_and_taken_back(persona: Persona) -> None:
    give(persona, "Write to mira.lamp@gmail.com.", "Call her: mira.lamp@gmail.com, or Anna.")
    old = [row.messages[1].content for row in rows(persona)][:2]
    app = StudioApp(persona)
    async with app.run_test(size=(110, 30)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3", "c", "w")
        assert "2 places in 2 rows would become marks such as [mail]" in text and "[mail]" in text
        text = await press(pilot, "p")
        assert "would become pseudonyms" in text and "person1@example.org" in text
        await press(pilot, "n")
        await type_text(pilot, "Anna = Robin")
        text = await press(pilot, "enter")
        assert "3 places in 2 rows" in text and "Robin" in text
        assert [row.messages[1].content for row in rows(persona)][:2] == old, "only told so far"
        text = await press(pilot, "s")
        assert "Replace 2 mail, 1 name in 2 rows?" in text
        await press(pilot, "y")
        assert [row.messages[1].content for row in rows(persona)][:2] == ["Write to person1@example.org.", "Call her: person1@example.org, or Robin."]
        assert "u takes it back" in said(app) and "personal data replaced" in said(app)
        await press(pilot, "u")
        assert [row.messages[1].content for row in rows(persona)][:2] == old
        await press(pilot, "escape", "escape")
        assert isinstance(app.screen, DialogueScreen)
    assert not app.crash


async def test_a_model_judges_where_one_says_and_goes_on_where_it_was_stopped(persona: Persona) -> None:
    go_on, asked = threading.Event(), threading.Event()

    class Grader(Endpoint):
        def answer(self, path: str, request: dict[str, Any]) -> bytes:
            asked.set()
            assert go_on.wait(20)
            marks = '{"vocabulary": 2, "prose": 7, "context": 7}'
            return json.dumps({"choices": [{"message": {"content": marks}, "finish_reason": "stop"}]}).encode()

    app = StudioApp(persona)
    with Grader() as endpoint:
        async with app.run_test(size=(110, 44)) as pilot:
            await settled(pilot)
            await press(pilot, "3", "c", "m")
            app.screen.query_one(Input).value = "nowhere"
            text = await press(pilot, "enter")
            assert "Give an address and a model's name" in text
            app.screen.query_one(Input).value = "http://grader.example/v1 m"
            text = await press(pilot, "enter")
            assert "They LEAVE THIS MACHINE and go to grader.example." in text and "all 40" in text
            await press(pilot, "escape", "m")
            app.screen.query_one(Input).value = f"{endpoint.url} m"
            text = await press(pilot, "enter")
            assert "They stay on this machine" in text and not endpoint.requests, "asked for nothing yet"
            await pilot.press("down", "enter")
            while not asked.is_set():
                await pilot.pause(0.01)
            await pilot.press("escape")
            await settled(pilot)
            assert "0 of 20 rows were judged and are kept." in said(app), "no answer is waited for"
            go_on.set()
            await press(pilot, "m")
            app.screen.query_one(Input).value = f"{endpoint.url} m"
            await press(pilot, "enter", "down", "enter")
            assert "20 rows judged by m." in said(app) and len(scores(persona)) == 20
            assert ran(persona)["judge-vocabulary"].offenders == 20 and ran(persona)["judge-prose"].offenders == 0
            await press(pilot, "m")
            app.screen.query_one(Input).value = f"{endpoint.url} m"
            text = await press(pilot, "enter")
            assert "all 20" in text and "20 it has judged already" in text
    assert not app.crash


async def test_nothing_is_written_when_opened_to_read(persona: Persona, tmp_path: Path) -> None:
    app = StudioApp(persona, readonly=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "c", "r", "t", "space", "x", "u")
        assert said(app).count("The app was opened to read only.") == 5
    assert not ran(persona) and not (persona.root / "checks.toml").exists()
