"""What stands in a record, made sure of: texts, names, ids, times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from studio.text import normal

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


@lru_cache(maxsize=4096)
def plain_name(name: str) -> tuple[str, str]:
    """``(name as it is shown, key)`` of a speaker."""
    shown = " ".join(CONTROL.sub("", strip_marks(name)).split())
    return shown, normal(shown)


_MARKS = dict.fromkeys((0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF))


def strip_marks(text: str) -> str:
    """``text`` without marks of writing direction, which phones put around names."""
    return text if text.isascii() else text.translate(_MARKS)


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def id_of(value: Any) -> str:
    """An id as text; services write them as numbers or strings."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def moment(value: Any, scale: float = 1.0) -> float:
    """Seconds since 1970 of a number (times ``scale``) or of digits; -1 if it is no time of ours."""
    try:
        seconds = float(value) * scale if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        return -1.0
    return seconds if 0 < seconds < 32_503_680_000 else -1.0


def iso_moment(value: Any) -> tuple[float, bool]:
    """``(seconds, has a zone)`` of ``2025-06-13T22:02:10[+02:00]``; -1 if it is none. Without a zone the time counts as if it were UTC."""
    try:
        found = datetime.fromisoformat(value.strip().replace("Z", "+00:00")) if isinstance(value, str) else None
        if found is None:
            return -1.0, False
        zoned = found.tzinfo is not None
        return max(-1.0, (found if zoned else found.replace(tzinfo=UTC)).timestamp()), zoned
    except (ValueError, OverflowError):
        return -1.0, False


def iso(at: float, zoned: bool) -> str:
    """The time as a row keeps it; empty if it is unknown."""
    if at < 0:
        return ""
    try:
        found = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return found.isoformat(timespec="seconds") if zoned else found.replace(tzinfo=None).isoformat(timespec="seconds")


def numbered(lines: str) -> Iterator[tuple[int, str]]:
    return enumerate(lines.split("\n"), 1)
