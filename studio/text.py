"""Text from outside, made safe to draw. Stored text stays raw; what reaches a terminal goes through ``clean``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+(?:['’][^\W_]+)*")
"""A word, or a single character of Han, kana or hangul."""

_TABLE: dict[int, str | None] = dict.fromkeys((*range(32), 127, *range(128, 160)))
_TABLE |= {ord("\n"): "\n", ord("\t"): "    ", 0x1B: "␛"}
_TABLE |= dict.fromkeys((8206, 8207, *range(8234, 8239), *range(8294, 8298)))
_TABLE |= dict.fromkeys(range(55296, 57344), "�")


def clean(text: str) -> str:
    """``text`` without anything a terminal obeys: C0, DEL, C1 and bidi controls dropped, ESC shown as ␛.

    Safe on split chunks of a stream, under 1 µs a token.
    """
    return text.translate(_TABLE)


def one_line(text: str) -> str:
    """``clean`` text on a single line, for tables and titles."""
    return " ".join(clean(text).split())


def normal(text: str) -> str:
    """The form in which two texts count as the same: NFKC, case folded, white space collapsed. For keys only, never stored."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold().split())


def units(text: str) -> list[str]:
    """Words, and the single characters of Han, kana and hangul, in the form in which they count as the same."""
    return UNIT.findall((text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold())


def joined_units(run: Sequence[str]) -> str:
    """Units as text: spaces between words only."""
    return re.sub(r"(?<=[\u3040-\u9fff\uac00-\ud7af]) (?=[\u3040-\u9fff\uac00-\ud7af])", "", " ".join(run))


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 row``, ``12,345 rows``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(bytes_: float) -> str:
    """Bytes for people: ``512 B``, ``1.5 MB``, ``8.2 GB`` (powers of 1000, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000 or unit == "GB":
            return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
