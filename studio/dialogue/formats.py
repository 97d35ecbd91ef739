"""Conversations out of files: OpenAI ``messages`` and ShareGPT, as JSON lines or one JSON array.

Every row that is not kept is counted under its reason, with its line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from studio.decoding import UndecodableText, decode
from studio.errors import StudioError
from studio.reports import AddReport, Fault

FORMATS = ("messages", "sharegpt")

_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}


class Message(msgspec.Struct, omit_defaults=True):
    role: str
    """``system``, ``user`` or ``assistant`` (the character)."""
    content: str
    name: str = ""


class Conversation(msgspec.Struct):
    messages: list[Message]
    line: int
    """Line (or index in an array, from 1) in the file it came from."""


class BadRow(Exception):
    """Why a row cannot be kept: ``reason`` is counted, the message is shown."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_file(path: Path, report: AddReport, asked: str = "", roles: Mapping[str, str] | None = None) -> Iterator[Conversation]:
    """The good conversations of a file; the others go into ``report`` with their reasons.

    ``roles`` gives the role of messages by their ``name``, before their own.
    """
    for line, raw in read_objects(path, report):
        try:
            kind = asked or detect(raw)
            told(report, kind)
            yield Conversation(_mend(messages_of(raw, kind, roles or {}), report), line)
        except BadRow as bad:
            report.drop(bad.reason, Fault(str(path), line, str(bad)))


def read_objects(path: Path, report: AddReport) -> Iterator[tuple[int, Any]]:
    """``(line, object)`` of a file of JSON lines or one array; each is counted, what is no JSON goes into ``report``."""
    name = str(path)
    try:
        text, encoding = decode(path.read_bytes())
    except UndecodableText as error:
        report.read += 1
        report.drop("not readable as text", Fault(name, error.line, str(error)))
        return
    except OSError as error:
        raise StudioError(f"{path} cannot be read: {error.strerror}.") from error
    if encoding != "utf-8":
        report.changed[f"read as {encoding}, stored as UTF-8"] += 1
    if not text.strip():
        report.read += 1
        report.drop("empty file", Fault(name, 0, "the file is empty"))
        return
    for line, raw in _objects(text):
        report.read += 1
        if isinstance(raw, BadRow):
            report.drop(raw.reason, Fault(name, line, str(raw)))
        else:
            yield line, raw


def told(report: AddReport, kind: str) -> None:
    """Note the format of a row: all that were met, in their order."""
    if kind not in report.format.split(", "):
        report.format = f"{report.format}, {kind}" if report.format else kind


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    """``(line, object)``: elements of one JSON array, or one object a line. A line that is no JSON gives a BadRow."""
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(msgspec.json.decode(text), 1)
            return
        except msgspec.DecodeError:
            pass  # perhaps JSON lines that begin with an array, or a cut file: told line by line below
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            yield number, BadRow("not JSON", f"the line is not whole JSON ({error}); it may be half-written")


def detect(raw: Any) -> str:
    if isinstance(raw, dict):
        if "messages" in raw:
            return "messages"
        if "conversations" in raw:
            return "sharegpt"
    raise BadRow("unknown format", "neither 'messages' nor 'conversations' in this row; only messages and ShareGPT rows are read")


def messages_of(raw: Any, kind: str, roles: Mapping[str, str]) -> list[Message]:
    """The messages of one row of that format. Raises BadRow."""
    listed = raw.get("messages" if kind == "messages" else "conversations") if isinstance(raw, dict) else None
    if not isinstance(listed, list) or not listed:
        raise BadRow("no messages", "the list of messages is missing or empty")
    found = [Message("system", raw["system"])] if kind == "sharegpt" and isinstance(raw.get("system"), str) and raw["system"].strip() else []
    return found + [message_of(entry, kind, roles) for entry in listed]


def message_of(entry: Any, kind: str, roles: Mapping[str, str]) -> Message:
    """One message of that format. Raises BadRow."""
    if not isinstance(entry, dict):
        raise BadRow("broken message", "a message is no JSON object")
    role, content = (entry.get("role"), entry.get("content")) if kind == "messages" else (entry.get("from"), entry.get("value"))
    role = _SHAREGPT_ROLES.get(str(role).lower(), "") if kind == "sharegpt" else role
    if role not in ("system", "user", "assistant"):
        raise BadRow("unknown role", f"the role {entry.get('role', entry.get('from'))!r} is none of system, user, assistant (ShareGPT: human, gpt)")
    if not isinstance(content, str):
        raise BadRow("message without text", f"a {role} message holds {type(content).__name__} instead of text")
    name = entry.get("name")
    name = name if isinstance(name, str) else ""
    return Message(roles.get(name, role), content, name)


def tidy(text: str) -> str:
    """Text as it is stored: NFC, no white space around it, no lone surrogates."""
    return unicodedata.normalize("NFC", text).strip().encode("utf-8", "replace").decode()


def joined(messages: list[Message], report: AddReport) -> list[Message]:
    """The turns tidied: empty ones are dropped, neighbours of one side joined, each counted. Raises BadRow for a system message inside."""
    kept: list[Message] = []
    for message in messages:
        content = tidy(message.content)
        if not content:
            report.changed["empty turn left out"] += 1
            continue
        if message.role == "system" and kept:
            raise BadRow("system message inside", "a system message stands after the first turn; a chat template cannot place it")
        if kept and kept[-1].role == message.role:
            kept[-1] = Message(message.role, f"{kept[-1].content}\n\n{content}", message.name)
            report.changed["turns of one side joined"] += 1
        else:
            kept.append(Message(message.role, content, message.name))
    return kept


def _mend(messages: list[Message], report: AddReport) -> list[Message]:
    """The turns joined, those after her last cut off and counted. Raises BadRow if she never speaks."""
    kept = joined(messages, report)
    while kept and kept[-1].role == "user":
        kept.pop()
        report.changed["unanswered last turn cut off"] += 1
    if not any(message.role == "assistant" for message in kept):
        raise BadRow("she never speaks", "there is no assistant turn with text in this row; nothing could be learned from it")
    if not any(message.role == "user" for message in kept):
        raise BadRow("one-sided", "there is no user turn with text in this row")
    return kept
