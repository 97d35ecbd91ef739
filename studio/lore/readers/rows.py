"""JSON lines of ``{"text": …}`` (or bare strings): one document each."""

from __future__ import annotations

from typing import Any

import msgspec

from studio.lore.readers import Reading, Unreadable
from studio.lore.readers.plain import decoded

NAMES = ("text", "content", "body")
MOST_UNREAD = 1000
"""Bad lines named at most."""


def read(raw: bytes, name: str) -> Reading:
    text, encoding = decoded(raw)
    if text.lstrip()[:1] == "[":
        from studio.lore.readers.books import from_json

        return from_json(text, encoding, name)
    reading = Reading("", "jsonl", encoding)
    parts: list[str] = []
    dialogue = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = msgspec.json.decode(line.encode("utf-8", "surrogatepass"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _unread(reading, number, f"no JSON ({str(error)[:100]})")
            continue
        if isinstance(value, dict) and (isinstance(value.get("messages"), list) or isinstance(value.get("conversations"), list)):
            dialogue += 1
        document = document_of(value)
        if document is None:
            _unread(reading, number, 'no {"text": …} in this line')
        elif document.strip():
            parts.append(document.strip())
        else:
            reading.changed["empty rows left out"] += 1
    if not parts and dialogue:
        raise Unreadable("dialogue, not lore", "its rows are conversations; add them with: studio dialogue add")
    if not parts:
        place, why = reading.unread[0] if reading.unread else (0, "the file holds no rows")
        raise Unreadable("no text in it", f'{why}; rows of lore are {{"text": "…"}}', place)
    reading.text = "\n\n".join(parts) + "\n"
    return reading


def document_of(value: Any) -> str | None:
    """The text of one row, under its title if it has one; None if there is none in it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return None
    text = next((value[key] for key in NAMES if isinstance(value.get(key), str)), None)
    title = value.get("title")
    if text is not None and isinstance(title, str) and title.strip() and not text.lstrip().startswith(("#", title.strip())):
        return f"# {' '.join(title.split())}\n\n{text}"
    return text


def _unread(reading: Reading, line: int, why: str) -> None:
    reading.changed["rows that are no text left out"] += 1
    if len(reading.unread) < MOST_UNREAD:
        reading.unread.append((line, why))
