"""SillyTavern chats (``.jsonl``): a header line, then one message a line. What the studio has no use for is carried along as it came."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import write_atomic
from studio.persona.folder import Persona
from studio.reports import AddReport, Fault
from studio.review.chats import Chat, ChatMessage, begin_chat

HIDDEN = "hidden"
"""Role of a message that SillyTavern shows and does not send (``is_system``)."""

LARGEST_CHAT = 256 * 2**20
"""Bytes of a chat file that are read at most."""


def read_text(value: Any) -> str:
    """A message's text: a string, or Chub's ``{"message": …}``."""
    if isinstance(value, dict):
        value = value.get("message")
    return value if isinstance(value, str) else ""


def import_chat(persona: Persona, path: Path) -> tuple[Chat, AddReport]:
    """Keep a SillyTavern chat among the persona's chats. Damaged lines are named and left out; StudioError if nothing is left."""
    report = AddReport(files=[str(path)])
    header: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    for number, raw in enumerate(_lines(path), 1):
        if not raw.strip():
            continue
        try:
            line = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            report.read += 1
            report.drop("damaged line", Fault(str(path), number, f"this line is no JSON ({error})"))
            continue
        if isinstance(line, dict) and "mes" not in line and ({"user_name", "character_name", "chat_metadata"} & line.keys()):
            header = header or line
            continue
        report.read += 1
        if not isinstance(line, dict) or "mes" not in line:
            report.drop("no message", Fault(str(path), number, "this line has no mes, so it is no message"))
            continue
        messages.append(line)
    if not messages:
        raise StudioError(f"{path} is no SillyTavern chat: no line of it has a message (mes).")
    chat = begin_chat(persona, "")
    chat.origin = {"sillytavern": header, "file": path.name}
    for message in messages:
        role = HIDDEN if message.get("is_system") else "user" if message.get("is_user") else "assistant"
        report.speakers[str(message.get("name") or role)] += 1
        chat.append(ChatMessage(role, read_text(message["mes"]), time.time(), finish="stop" if role == "assistant" else "", origin=message))
    report.kept = len(messages)
    return chat, report


def _lines(path: Path) -> list[bytes]:
    try:
        if path.stat().st_size > LARGEST_CHAT:
            raise StudioError(f"{path} has more than {LARGEST_CHAT >> 20} MB, which no chat needs; give a smaller file.")
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise StudioError(f"The chat {path} cannot be read: {error.strerror}.") from error


def to_lines(persona: Persona, chat: Chat) -> list[dict[str, Any]]:
    """The chat as SillyTavern writes it. A message that came from there and was not changed goes back exactly as it came."""
    character = persona.manifest.character
    came = chat.origin.get("sillytavern")
    lines: list[dict[str, Any]] = []
    if not isinstance(came, dict) or came:
        # A chat without a header (an old group chat) gets none.
        lines.append(came or {"user_name": character.user, "character_name": character.name, "create_date": _date(chat), "chat_metadata": {}})
    for message in chat.messages:
        if message.origin and read_text(message.origin.get("mes")) == message.content:
            lines.append(message.origin)
            continue
        if message.role == "system":
            continue
        mine = message.role == "user"
        line: dict[str, Any] = {
            "name": character.user if mine else character.name,
            "is_user": mine,
            "is_system": message.role == HIDDEN,
            "send_date": int(message.t * 1000),
            "mes": message.content,
            "extra": {"model": message.checkpoint} if message.checkpoint else {},
        }
        if not mine:
            line |= {"swipe_id": 0, "swipes": [message.content]}
        lines.append(line)
    return lines


def _date(chat: Chat) -> str:
    began = chat.messages[0].t if chat.messages else time.time()
    moment = time.localtime(began)
    return time.strftime("%Y-%m-%d@%Hh%Mm%Ss", moment)


def export_chat(persona: Persona, chat: Chat, path: Path) -> int:
    """Write the chat for SillyTavern; returns its messages."""
    lines = to_lines(persona, chat)
    write_atomic(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return sum("mes" in line for line in lines)
