"""Adding a chat from the app: what the file leaves open is asked, what would be read is shown, then it is added."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
from textual.widgets import Input

from studio.dialogue.store import rows
from studio.persona.folder import Persona
from studio.progress import Progress
from studio.tui.app import StudioApp
from studio.tui.dialogs import Ask, complete
from studio.tui.screens.adding import guessed
from studio.tui.screens.dialogue import DialogueScreen
from studio.tui.screens.material import paths_of
from studio.tui.table import Table

from .places import press, said, screen_text, settled, type_text
from .test_hostile_text import EVIL, assert_harmless

CHATS = Path(__file__).parents[1] / "dialogue" / "importers" / "fixtures" / "whatsapp"


def chat(tmp_path: Path, name: str) -> Path:
    return Path(shutil.copy(CHATS / f"{name}.txt", tmp_path / "chat.txt"))


def chats(persona: Persona) -> list[list[str]]:
    return [[f"{m.role[0]}:{m.content}" for m in row.messages] for row in rows(persona) if row.source == "chat.txt"]


async def test_who_is_who_is_asked_and_the_first_rows_are_shown(persona: Persona, tmp_path: Path) -> None:
    path = chat(tmp_path, "zh_CN")
    app = StudioApp(persona)
    async with app.run_test(size=(110, 44)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "a")
        await type_text(pilot, str(path))
        text = await press(pilot, "enter")
        assert "Who is who in chat.txt?" in text and "汤姆" in text and "米拉" in text
        text = await press(pilot, "enter")
        assert "Say who is the character" in text, "without a character it does not go on"
        text = await press(pilot, "m", "down", "c", "enter")
        assert "What would be added from chat.txt" in text and "1 row, made of 4 of 7 messages" in text
        assert "第九盏在生气" in text and "✗ media" in text and not chats(persona)
        text = await press(pilot, "w", "u", "O", "enter")
        assert "left out" in text and "There is nothing in it" not in text
        await press(pilot, "enter")
        assert "There is nothing in it that could be added" in said(app)
        await press(pilot, "w", "m", "enter", "enter")
        assert "1 row added." in said(app) and "41 conversations" in screen_text(app)
    assert chats(persona) == [["u:灯亮着吗？", "a:亮着。\n第九盏在生气。", "u:为什么？", "a:因为下雨。"]]


def test_who_it_might_be_is_suggested() -> None:
    speakers = [("Tom", 400, "user"), ("Wen 🧳", 370, "user"), ("WEN", 30, "user"), ("Otto", 3, "user")]
    assert [role for _, _, role in guessed(speakers, "Wen Tolliver")] == ["me", "character", "character", "user"]
    assert guessed(speakers, "Mira") == speakers
    assert [role for _, _, role in guessed([("Tom", 9, "user"), ("Wen", 8, "user"), ("Otto", 7, "user")], "Wen")] == ["user", "character", "user"]


async def test_dates_that_nobody_can_tell_are_asked_and_cuts_can_be_changed(persona: Persona, tmp_path: Path) -> None:
    path = chat(tmp_path, "ambiguous")
    app = StudioApp(persona)
    async with app.run_test(size=(110, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "a")
        await type_text(pilot, str(path))
        text = await press(pilot, "enter")
        assert "How are dates like 3/4/25 meant?" in text
        text = await press(pilot, "enter")
        assert "2025-04-03 22:02" in text and "(by the persona's name)" in text
        await press(pilot, "c")
        await type_text(pilot, "x")
        assert "Give three numbers" in await press(pilot, "enter")
        await press(pilot, "escape", "q")
        assert not chats(persona), "left without adding"


async def test_names_and_messages_of_a_chat_are_data(persona: Persona, tmp_path: Path) -> None:
    path = tmp_path / "[bold]chat.json"
    messages = [
        {"type": "message", "date_unixtime": str(1_749_841_200 + n), "from": f"{n % 2} {EVIL}", "from_id": f"user{n % 2}", "text": f"{EVIL}\n{EVIL}"}
        for n in range(4)
    ]
    path.write_text(json.dumps({"name": EVIL, "type": "personal_chat", "id": 1, "messages": messages}), encoding="utf-8")
    app = StudioApp(persona)
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "a")
        app.screen.query_one(Input).value = str(path)
        assert "Who is who" in await press(pilot, "enter")
        assert_harmless(app)
        text = await press(pilot, "c", "enter")
        assert "of 4 messages" in text
        assert_harmless(app)
        await press(pilot, "pagedown")
        assert_harmless(app)


def many(tmp_path: Path, name: str, number: int) -> Path:
    path = tmp_path / name
    rows_of_it = ([{"role": "user", "content": f"{name} {n}?"}, {"role": "assistant", "content": f"Answer {n} of {name}."}] for n in range(number))
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in rows_of_it))
    return path


async def test_adding_tells_how_far_it_is_and_stops_with_nothing_written(persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = many(tmp_path, "many.jsonl", 1200)
    before = {file: file.read_bytes() for file in persona.root.rglob("*") if file.is_file() and ".studio" not in file.parts}
    began, go_on = threading.Event(), threading.Event()
    told = DialogueScreen._progress

    def held(self: DialogueScreen, stop: threading.Event, doing: str = "", stops: bool = True) -> Progress:
        tell = told(self, stop, doing, stops)

        def progress(what: str, done: int, whole: int) -> None:
            tell(what, done, whole)
            if doing and done and not began.is_set():
                began.set()
                assert go_on.wait(20)

        return progress

    monkeypatch.setattr(DialogueScreen, "_progress", held)
    app = StudioApp(persona)
    async with app.run_test(size=(110, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "a")
        await type_text(pilot, str(path))
        await pilot.press("enter")
        while not began.is_set():
            await pilot.pause(0.01)
        for _ in range(100):
            await pilot.pause(0.01)
            if "%" in screen_text(app):
                break
        text = screen_text(app)
        assert "… Looking into many.jsonl · many.jsonl, 256 read: 21 %   Escape stops" in text
        await pilot.press("down", "a")
        await pilot.pause()
        assert app.screen.query_one(Table).cursor == 1 and "Work is going on" in said(app), "keys answer meanwhile"
        await pilot.press("escape")
        go_on.set()
        await settled(pilot)
        assert "Stopped; nothing was added." in said(app) and "40 conversations" in screen_text(app)
        after = {file: file.read_bytes() for file in persona.root.rglob("*") if file.is_file() and ".studio" not in file.parts}
        assert after == before
        await press(pilot, "a")
        await type_text(pilot, str(path))
        assert "1,240 conversations" in await press(pilot, "enter")
    assert not app.crash


async def test_several_paths_are_added_at_once(persona: Persona, tmp_path: Path) -> None:
    (tmp_path / "in there").mkdir()
    one, two = many(tmp_path, "one.jsonl", 3), many(tmp_path / "in there", "two.jsonl", 4)
    assert paths_of(f' {one} "{two}"') == [one, two] and paths_of(str(two)) == [two] == paths_of(f" {two} ")
    assert complete(f"{one} {tmp_path}/on") == f"{one} {one}" and complete(f"{tmp_path}/in there/t") == str(two)
    app = StudioApp(persona)
    async with app.run_test(size=(110, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "a")
        app.screen.query_one(Input).value = f'{one} "{two}" {tmp_path}/none'
        await press(pilot, "enter")
        assert isinstance(app.screen, Ask), "one of them does not exist: nothing is added"
        app.screen.query_one(Input).value = f'{one} "{two}"'
        assert "47 conversations" in await press(pilot, "enter")
