"""Plain text, of any encoding that can be told."""

from __future__ import annotations

from studio.decoding import UndecodableText, decode
from studio.lore.readers import Reading, Unreadable


def decoded(raw: bytes) -> tuple[str, str]:
    """``(text, encoding)``; Unreadable with the line of the first bad byte."""
    try:
        return decode(raw)
    except UndecodableText as error:
        raise Unreadable("not readable as text", str(error), error.line) from error


def read(raw: bytes, name: str) -> Reading:
    text, encoding = decoded(raw)
    return Reading(text, "text", encoding)
