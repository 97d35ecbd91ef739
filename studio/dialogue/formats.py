"""Conversations as the studio stores them, and the forms of training data that come closest: OpenAI ``messages`` and ShareGPT.

Files of JSON lines or of one array; every row that is not kept is counted under its reason, with its line.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from studio.decoding import UndecodableText, decode
from studio.errors import StudioError
from studio.reports import AddReport, Fault

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


class BadRow(Exception):
    """Why a row cannot be kept: ``reason`` is counted, the message is shown."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


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
    for line, raw in json_objects(text.encode("utf-8", "replace")):
        report.read += 1
        if isinstance(raw, BadRow):
            report.drop(raw.reason, Fault(name, line, str(raw)))
        else:
            yield line, raw


def told(report: AddReport, kind: str) -> None:
    """Note the format of a row: all that were met, in their order."""
    if kind not in report.format.split(", "):
        report.format = f"{report.format}, {kind}" if report.format else kind


_NOT_WHOLE = object()


def json_value(raw: bytes, otherwise: Any = _NOT_WHOLE) -> Any:
    """The value these bytes are. What is no JSON, or nested beyond reason, gives ``otherwise``; without one, BadRow."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if otherwise is not _NOT_WHOLE:
            return otherwise
        raise BadRow("not JSON", f"this is not whole JSON ({error}); it may be half-written") from error
    except RecursionError as error:
        if otherwise is not _NOT_WHOLE:
            return otherwise
        raise BadRow("not JSON", "the JSON is nested deeper than any conversation") from error


def json_objects(data: bytes, most_lines: int = 0) -> Iterator[tuple[int, Any]]:
    """``(line, object)``: elements of one JSON array (numbered from 1), or one object a line. What is no JSON gives a BadRow.

    ``most_lines``: after so many lines or elements the rest is not looked at; 0: all.
    """
    if data.lstrip()[:1] == b"[":
        try:
            elements = msgspec.json.decode(data, type=list[msgspec.Raw])
        except RecursionError:
            yield 1, BadRow("not JSON", "the JSON is nested deeper than any conversation")
            return
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not _is_json(_first_line(data)):
                yield _line_of(error, data), BadRow("not JSON", f"this is no whole JSON array ({error}); it may be half-written")
                return
            # else JSON lines that begin with an array: told line by line below
        else:
            for number, element in enumerate(elements, 1):
                yield number, _value_or_bad(bytes(element))
                if number == most_lines:
                    return
            return
    start = number = 0
    while start < len(data):
        number += 1
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if line := data[start:end].strip():
            yield number, _value_or_bad(line)
        if number == most_lines:
            return
        start = end + 1


def _value_or_bad(raw: bytes) -> Any:
    try:
        return json_value(raw)
    except BadRow as bad:
        return bad


def _is_json(raw: bytes) -> bool:
    return json_value(raw, None) is not None


def _first_line(data: bytes) -> bytes:
    return data.lstrip().partition(b"\n")[0]


_BYTE = re.compile(r"byte (\d+)")


def _line_of(error: Exception, data: bytes) -> int:
    """The line the parser stopped at, from the byte it names; the last one if it ran out of data."""
    found = _BYTE.search(str(error))
    return data.count(b"\n", 0, int(found[1]) if found else len(data)) + 1


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
        said = str(entry.get("role", entry.get("from")))[:24]
        raise BadRow("unknown role", f"the role {said!r} is none of system, user, assistant (ShareGPT: human, gpt)")
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    if content is None and kind == "sharegpt":
        content = ""  # such sets hold null where a turn was lost; it counts as an empty turn
    if not isinstance(content, str):
        raise BadRow("message without text", f"a {role} message holds {type(content).__name__} instead of text")
    name = entry.get("name")
    name = name if isinstance(name, str) else ""
    return Message(roles.get(name, role), content, name)


def tidy(text: str) -> str:
    """Text as it is stored: NFC, no white space around it, no lone surrogates."""
    return unicodedata.normalize("NFC", text).strip().encode("utf-8", "replace").decode()


def joined(messages: list[Message], changed: Counter[str]) -> list[Message]:
    """The turns tidied: empty ones are dropped, neighbours of one side joined, each counted. Raises BadRow for a system message inside."""
    kept: list[Message] = []
    texts: list[list[str]] = []
    for message in messages:
        content = tidy(message.content)
        if not content:
            changed["empty turn left out"] += 1
            continue
        if message.role == "system" and kept:
            raise BadRow("system message inside", "a system message stands after the first turn; a chat template cannot place it")
        if kept and kept[-1].role == message.role:
            texts[-1].append(content)
            kept[-1].name = message.name
            changed["turns of one side joined"] += 1
        else:
            texts.append([content])
            kept.append(Message(message.role, "", message.name))
    for message, parts in zip(kept, texts, strict=True):
        message.content = "\n\n".join(parts)
    return kept


def mend(messages: list[Message], changed: Counter[str]) -> list[Message]:
    """The turns joined, those after her last cut off and counted. Raises BadRow if she never speaks."""
    kept = joined(messages, changed)
    while kept and kept[-1].role == "user":
        kept.pop()
        changed["unanswered last turn cut off"] += 1
    if not any(message.role == "assistant" for message in kept):
        raise BadRow("she never speaks", "there is no assistant turn with text in this row; nothing could be learned from it")
    if not any(message.role == "user" for message in kept):
        raise BadRow("one-sided", "there is no user turn with text in this row")
    return kept
