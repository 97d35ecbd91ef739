"""A conversation with one checkpoint."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from textual.pilot import Pilot

from studio.engines import servers
from studio.persona.folder import Persona
from studio.review.chats import read_chat
from studio.tui.chat.screen import ChatScreen
from tests.tui.review.fake_engine import FakeEngine, Script
from tests.tui.review.judge import Host


class Talk:
    def __init__(self, app: Host, screen: ChatScreen, pilot: Pilot[None]) -> None:
        self.app, self.screen, self.pilot = app, screen, pilot

    async def until(self, met: Callable[[], Any]) -> None:
        for _ in range(2000):
            if met():
                break
            await self.pilot.pause(0.01)
        else:
            raise AssertionError(f"it never came:\n{self.app.text()}")
        await self.pilot.pause()

    async def say(self, text: str) -> None:
        if not self.screen.query_one("#field").display:
            await self.pilot.press("i")
        await self.pilot.press(*("space" if c == " " else c for c in text), "enter")
        await self.quiet()

    async def quiet(self) -> None:
        await self.until(lambda: not self.screen.writing)


@asynccontextmanager
async def talking(persona: Persona) -> AsyncIterator[Talk]:
    (server,) = servers.running(persona)
    screen = ChatScreen(persona, server, "m-sft-1-e2")
    app = Host(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        talk = Talk(app, screen, pilot)
        await talk.until(lambda: screen.query_one("#field").display)
        yield talk


def on_disk(persona: Persona, chat: str = "chat-1") -> list[tuple[str, str, str]]:
    return [(m.role, m.content, m.finish) for m in read_chat(persona, chat).messages]


async def test_two_turns_again_and_a_new_one(wen: Persona, engine: FakeEngine) -> None:
    async with talking(wen) as talk:
        engine.scripts["m-sft-1-e2"] = Script(["Then ", "sit."])
        await talk.say("tea")
        assert "Then sit." in talk.app.text() and "you" in talk.app.text()
        engine.scripts["m-sft-1-e2"] = Script(["No.\x1b[2J"], finish="length")
        await talk.say("more")
        assert "Cut off at" in talk.app.text() and "␛[2J" in talk.app.text()
        assert [m["content"] for m in engine.requests[-1]["messages"]] == ["tea", "Then sit.", "more"]
        engine.scripts["m-sft-1-e2"] = Script(["Yes."])
        await talk.pilot.press("escape", "r")
        await talk.quiet()
        assert "No." not in talk.app.text()
        assert [m["content"] for m in engine.requests[-1]["messages"]] == ["tea", "Then sit.", "more"]
        await talk.pilot.press("escape", "n")
        await talk.until(lambda: talk.screen.chat and not talk.screen.chat.messages)
        await talk.pilot.press("escape")
        await talk.say("new")
    assert on_disk(wen) == [("user", "tea", ""), ("assistant", "Then sit.", "stop"), ("user", "more", ""), ("assistant", "Yes.", "stop")]
    assert on_disk(wen, "chat-2")[0] == ("user", "new", "")


async def test_a_stopped_and_a_broken_reply_are_kept(wen: Persona, engine: FakeEngine) -> None:
    engine.scripts["m-sft-1-e2"] = Script(["Slowly, ", "never"], gate=threading.Event())
    async with talking(wen) as talk:
        await talk.pilot.press("h", "enter")
        await talk.until(lambda: "Slowly," in talk.app.text())
        await talk.pilot.press("s")
        await talk.quiet()
        assert "Stopped" in talk.app.text()
        engine.scripts["m-sft-1-e2"] = Script(["The water", "x"], dies_after=1)
        await talk.say("b")
        assert "what had come is kept" in " ".join(talk.app.text().split())
    assert [(content, finish) for role, content, finish in on_disk(wen) if role == "assistant"] == [("Slowly, ", "stopped"), ("The water", "error")]


async def test_the_greeting_of_the_card_is_offered_and_copied(wen: Persona, engine: FakeEngine) -> None:
    card = {"name": "Wen", "description": "x", "first_mes": "Sit, {{user}}.", "alternate_greetings": ["{{char}} nods."]}
    wen.card.write_bytes(msgspec.json.encode(card))
    async with talking(wen) as talk:
        assert "Sit, You." in talk.app.text()
        await talk.pilot.press("escape", "r")
        assert "Wen nods." in talk.app.text() and "Sit, You." not in talk.app.text()
        await talk.say("tea")
        assert [m["role"] for m in engine.requests[-1]["messages"]] == ["assistant", "user"]
        await talk.pilot.press("escape", "y")
        await talk.until(lambda: "copied to the terminal" in talk.app.text())
        assert talk.app.clipboard == "Sit down. The kettle is on."
        assert (wen.private / "copied.txt").read_text() == "Sit down. The kettle is on."
    assert on_disk(wen)[0] == ("assistant", "Wen nods.", "")
