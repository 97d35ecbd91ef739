"""The chat screen: one checkpoint, streamed; everything said is on disk before the next thing is."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import Static

from studio.errors import StudioError
from studio.persona.cards import Card, read_card
from studio.persona.folder import Persona
from studio.review.chats import Chat, begin_chat
from studio.text import count, one_line
from studio.tui.actions import bindings_of
from studio.tui.clipboard import copied, to_file_and_tmux
from studio.tui.look import content
from studio.tui.review.lines import KeyHints, TwoSided
from studio.tui.review.prompt import PromptField
from studio.tui.scrolling import PANES
from studio.tui.streaming import StreamPane
from studio.tui.threads import ThreadedScreen, Trouble

if TYPE_CHECKING:
    from studio.engines.servers import Server

TICKS = 20


class Answered(Message):
    """A reply has ended: ``stop``, ``length``, ``stopped`` or ``error``; it is on disk."""

    def __init__(self, finish: str, error: str, left_out: int) -> None:
        super().__init__()
        self.finish, self.error, self.left_out = finish, error, left_out


class ChatScreen(ThreadedScreen):
    """Talk with ``model`` of ``server``, which serves the checkpoint of that name."""

    rows_of = "chat"
    TITLE = "Chat"
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("chat"), *PANES]
    CSS = """
    ChatScreen { layout: vertical; background: $background; }
    ChatScreen TwoSided { margin: 0 1 1 1; }
    ChatScreen StreamPane { height: 1fr; width: 100%; padding: 0 0 0 2; background: $background; color: $foreground; }
    ChatScreen PromptField { margin: 1 1 0 1; }
    ChatScreen #status { height: auto; max-height: 3; margin: 0 2; }
    """

    def __init__(self, persona: Persona, server: Server, model: str) -> None:
        super().__init__()
        self.persona = persona
        self.server = server
        self.model = model
        self.checkpoint = next((name for name, served in server.models.items() if served == model), model)
        self.chat: Chat | None = None
        self.greetings: list[str] = []
        """What the card offers to begin with; the last one is empty: none."""
        self.greeting = 0
        self.writing = False
        self.pieces: deque[str] = deque()
        self.said = ""
        self.bad = False

    @property
    def her(self) -> str:
        return one_line(self.persona.manifest.character.name)

    def compose(self) -> ComposeResult:
        if hasattr(self.app, "pulse"):
            from studio.tui.bars import TopBar

            yield TopBar()
        yield TwoSided(id="head")
        yield StreamPane(id="talk")
        yield PromptField(f"Write to {self.her}; Enter sends, Escape leaves", id="field")
        yield Static(" ", id="status", markup=False)
        yield KeyHints("chat")

    def on_mount(self) -> None:
        from studio.engines.client import Sampler

        self.sampler = Sampler()
        self.ticker = self.set_interval(1 / TICKS, self._tick, pause=True)
        self.in_thread(self._read_card, self._begin)

    # -- drawing -------------------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        kept = f"{self.chat.id} · " if self.chat and self.chat.id else ""
        turns = len(self.chat.messages) if self.chat else 0
        left = [("Chat", "strong"), (f"  {self.her} as ", "muted"), (one_line(self.checkpoint), "plain")]
        right = [
            (f"{kept}{count(turns, 'message')} · {one_line(self.server.engine)}{', filtered' if self.server.filtered else ''} ", "muted"),
            ("●", "good"),
        ]
        self.query_one("#head", TwoSided).show(left, right)
        self.query_one("#status", Static).update(content([(self.said or " ", "bad" if self.bad else "muted")]))
        self.query_one(KeyHints).show([name for name in ("stop", "focus_input", "again", "copy", "fresh") if not self.why_not(name)])

    def _say(self, sentence: str, bad: bool = False) -> None:
        self.said, self.bad = sentence, bad
        self._draw()

    def _draw_talk(self) -> None:
        """The whole conversation anew; while a reply is written only its pieces are added."""
        pane = self.query_one("#talk", StreamPane)
        pane.set_text("")
        if self.chat and not self.chat.messages and (offered := self._greeting()):
            self._speak("assistant", offered)
        for message in self.chat.messages if self.chat else ():
            self._speak(message.role, message.content)

    def _speak(self, role: str, text: str) -> None:
        pane = self.query_one("#talk", StreamPane)
        if pane.raw:
            pane.begin("plain")
            pane.feed(" ")
        pane.begin("strong" if role == "assistant" else "accent")
        pane.feed(self.her if role == "assistant" else "you")
        pane.begin("plain")
        pane.feed(text)

    def _tick(self) -> None:
        if self.pieces:
            text = "".join(self.pieces)
            self.pieces.clear()
            self.query_one("#talk", StreamPane).feed(text)

    def why_not(self, action: str) -> str:
        """Why an action cannot be done now; empty if it can."""
        messages = self.chat.messages if self.chat else []
        if action == "stop":
            return "" if self.writing else "No reply is being written."
        if self.writing and action != "copy":
            return "She is still writing; s stops her."
        if action == "again" and not messages and len(self.greetings) < 2:
            return "Nothing was said yet that could be answered again."
        if action == "copy" and not any(m.role == "assistant" for m in messages):
            return "There is no reply to copy yet."
        return ""

    def _refused(self, action: str) -> bool:
        if why := self.why_not(action):
            self._say(why)
        return bool(why)

    # -- work off the event loop ---------------------------------------------------------------------------------------------------

    def on_trouble(self, message: Trouble) -> None:
        message.stop()
        self._say(message.sentence, bad=True)

    def _read_card(self) -> Card | None:
        return read_card(self.persona.card) if self.persona.card.is_file() else None

    def _begin(self, card: Card | None) -> None:
        """A fresh conversation, with the card's greeting offered as its first message."""
        self.chat = begin_chat(self.persona, self.checkpoint, msgspec.to_builtins(self.sampler))
        if card:
            self.greetings = [*card.greetings(self.persona.manifest.character.user), ""]
        self.greeting = 0
        self._offer()
        self.action_focus_input()

    def _greeting(self) -> str:
        return self.greetings[self.greeting] if self.greetings else ""

    def _offer(self) -> None:
        self._draw_talk()
        if len(self.greetings) > 1:
            kind = "Her greeting from the card." if self._greeting() else "Without a greeting."
            self._say(
                f"{kind} r (outside the field): {'another, or none' if len(self.greetings) > 2 else 'none' if self._greeting() else 'with it'}."
            )
        else:
            self._draw()

    def _answer(self, said: str = "", retake: bool = False) -> None:
        """Ask for a reply to ``said``, or (``retake``) once more for the last reply."""
        assert self.chat is not None
        chat, greeting = self.chat, "" if self.chat.messages else self._greeting()
        self.writing, self.said = True, ""
        pane = self.query_one("#talk", StreamPane)
        if retake:
            before = chat.messages[:-1] if chat.messages[-1].role == "assistant" else chat.messages
            pane.set_text("")
            for message in before:
                self._speak(message.role, message.content)
        else:
            self._speak("user", said)
        pane.writing = True
        self._speak("assistant", "")
        self._draw()
        self.ticker.resume()
        self.run_worker(self._stream(chat, greeting, said, retake), group="answer", exclusive=True)

    async def _stream(self, chat: Chat, greeting: str, said: str, retake: bool) -> None:
        from studio.engines.client import stream_chat, trim_history

        reply, finish, error, left_out = "", "", "", 0

        def keep_question() -> None:
            if greeting:
                chat.add("assistant", greeting)
            if retake and chat.messages and chat.messages[-1].role == "assistant":
                chat.retake()
            if said:
                chat.add("user", said)

        try:
            await asyncio.to_thread(keep_question)
            messages = chat.for_model(self.persona.manifest.character.system_prompt)
            if self.server.context:
                messages, left_out = await trim_history(self.server, self.model, messages, self.server.context - self.sampler.max_tokens)
            async for delta in stream_chat(self.server, self.model, messages, self.sampler):
                reply += delta.text
                self.pieces.append(delta.text)
                finish = delta.finish_reason or finish
        except StudioError as failure:
            finish, error = "error", str(failure)
        except asyncio.CancelledError:
            finish = "stopped"
        if reply:
            # Shielded by being a plain call: a reply that was stopped is kept too.
            try:
                chat.add("assistant", reply, finish or "stop")
            except StudioError as failure:
                error = str(failure)
        self.post_message(Answered(finish, error, left_out))

    def on_answered(self, message: Answered) -> None:
        message.stop()
        self._tick()
        self.ticker.pause()
        self.writing = False
        self.query_one("#talk", StreamPane).writing = False
        parts = [message.error] if message.error else []
        if message.finish == "length":
            parts.append(f"Cut off at {self.sampler.max_tokens} tokens.")
        if message.finish == "stopped":
            parts.append("Stopped; what was written is kept.")
        if message.left_out:
            parts.append(f"Left out, because the engine has no more room: the oldest {count(message.left_out, 'message')}.")
        self._say(" ".join(parts), bad=bool(message.error))
        if message.finish in ("stop", "length") and not message.error:
            self.action_focus_input()

    # -- actions -------------------------------------------------------------------------------------------------------------------

    def action_focus_input(self) -> None:
        if not self._refused("focus_input"):
            self.query_one(PromptField).open()

    def on_prompt_field_sent(self, message: PromptField.Sent) -> None:
        if self.chat is not None and not self.writing:
            self._answer(message.text)

    def action_again(self) -> None:
        if self._refused("again") or self.chat is None:
            return
        if not self.chat.messages:
            self.greeting = (self.greeting + 1) % len(self.greetings)
            self._offer()
        elif any(m.role == "user" for m in self.chat.messages):
            self._answer(retake=True)

    def action_stop(self) -> None:
        if not self._refused("stop"):
            self.workers.cancel_group(self, "answer")

    def action_copy(self) -> None:
        if self._refused("copy") or self.chat is None:
            return
        text = next(m.content for m in reversed(self.chat.messages) if m.role == "assistant")
        file = self.persona.private / "copied.txt"

        def done(tmux: bool) -> None:
            self.app.copy_to_clipboard(text)
            self._say(copied("The last reply", tmux, file))

        self.in_thread(lambda: to_file_and_tmux(text, file), done)

    def action_fresh(self) -> None:
        if not self._refused("fresh"):
            self.in_thread(self._read_card, self._begin)

    def action_scroll(self, way: str) -> None:
        getattr(self.query_one("#talk", StreamPane), f"action_{way}")()
