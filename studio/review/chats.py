"""Chats with one checkpoint, kept line by line as they are said.

``chats/<id>.jsonl`` grows only: a header (``kind: chat``), then messages (``kind: message``). A reply that is asked again is taken back
by a line of its own (``kind: retake``) and never by deleting one. The file begins with the first message: an empty chat leaves none.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import append_line, read_lines
from studio.persona.folder import Persona


class ChatHeader(msgspec.Struct, tag="chat", tag_field="kind"):
    id: str
    checkpoint: str
    t: float
    sampler: dict[str, Any] = {}
    origin: dict[str, Any] = {}
    """What came with it from elsewhere, kept to be given back."""


class ChatMessage(msgspec.Struct, tag="message", tag_field="kind"):
    role: str
    content: str
    t: float
    checkpoint: str = ""
    """Who answered; empty for what the person or the card said."""
    finish: str = ""
    """``stop``, ``length``, ``stopped`` (by the person), ``error``; empty for what was not generated."""
    origin: dict[str, Any] = {}
    """The message as it came from elsewhere."""


class Retake(msgspec.Struct, tag="retake", tag_field="kind"):
    """Takes the last message back."""

    t: float


class Chat:
    """One conversation and its file."""

    def __init__(self, persona: Persona, checkpoint: str, sampler: dict[str, Any] | None = None) -> None:
        self.persona = persona
        self.checkpoint = checkpoint
        self.sampler = sampler or {}
        self.origin: dict[str, Any] = {}
        self.path: Path | None = None
        """None until something is said."""
        self.messages: list[ChatMessage] = []

    @property
    def id(self) -> str:
        return self.path.stem if self.path else ""

    def add(self, role: str, content: str, finish: str = "") -> ChatMessage:
        """Append a message; it is on disk when this returns."""
        return self.append(ChatMessage(role, content, time.time(), self.checkpoint if finish else "", finish))

    def append(self, said: ChatMessage) -> ChatMessage:
        append_line(self._file(), said)
        self.messages.append(said)
        return said

    def retake(self) -> None:
        """Take the last message back."""
        if not self.messages:
            raise StudioError("Nothing was said yet, so nothing can be taken back.")
        append_line(self._file(), Retake(time.time()))
        self.messages.pop()

    def for_model(self, system: str = "") -> list[dict[str, str]]:
        """The conversation as it is sent, with the system prompt if there is one."""
        return [
            *([{"role": "system", "content": system}] if system else []),
            *({"role": m.role, "content": m.content} for m in self.messages if m.role != "hidden"),
        ]

    def _file(self) -> Path:
        if self.path is None:
            self.path = _new_file(self.persona)
            append_line(self.path, ChatHeader(self.path.stem, self.checkpoint, time.time(), self.sampler, self.origin))
        return self.path


def _new_file(persona: Persona) -> Path:
    """``chat-N.jsonl`` that nobody else has."""
    with persona.exclusive():
        persona.chats.mkdir(exist_ok=True)
        numbers = [int(n) for path in persona.chats.glob("chat-*.jsonl") if (n := path.stem.removeprefix("chat-")).isdigit()]
        path = persona.chats / f"chat-{max(numbers, default=0) + 1}.jsonl"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def begin_chat(persona: Persona, checkpoint: str, sampler: dict[str, Any] | None = None) -> Chat:
    """A new, empty chat."""
    return Chat(persona, checkpoint, sampler)


def read_chat(persona: Persona, chat_id: str) -> Chat:
    """A chat as it stands. Torn lines are left out."""
    path = persona.chats / f"{chat_id}.jsonl"
    if not path.is_file():
        raise StudioError(f"There is no chat {chat_id!r} in {persona.name}.")
    chat = Chat(persona, "")
    chat.path = path
    for _, value in read_lines(path):
        try:
            entry = msgspec.convert(value, ChatHeader | ChatMessage | Retake)
        except msgspec.ValidationError:
            continue
        if isinstance(entry, ChatHeader):
            chat.checkpoint, chat.sampler, chat.origin = entry.checkpoint, entry.sampler, entry.origin
        elif isinstance(entry, ChatMessage):
            chat.messages.append(entry)
        elif chat.messages:
            chat.messages.pop()
    return chat


def all_chats(persona: Persona) -> list[Chat]:
    """Every chat that was begun, the oldest first."""
    if not persona.chats.is_dir():
        return []
    names = [path.stem for path in persona.chats.glob("chat-*.jsonl")]
    return [read_chat(persona, name) for name in sorted(names, key=lambda name: (len(name), name))]
