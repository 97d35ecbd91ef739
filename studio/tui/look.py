"""How things look: two calm themes, the few kinds of text, and lines that are safe to draw.

Text of any origin becomes drawable here and in ``table`` and ``pager``: cleaned of controls, never read as markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from studio.text import clean, one_line

DARK = Theme(
    name="studio-dark",
    primary="#8fb0d0",
    secondary="#a9b5c0",
    accent="#d9a86c",
    success="#8fbf8f",
    warning="#d9b36c",
    error="#e07a6f",
    foreground="#d6d3cd",
    background="#16181b",
    surface="#2b3641",
    panel="#24282d",
    dark=True,
)
LIGHT = Theme(
    name="studio-light",
    primary="#2c5d8a",
    secondary="#51606e",
    accent="#9a5b12",
    success="#2f7a3a",
    warning="#8a5a00",
    error="#b3261e",
    foreground="#23262a",
    background="#faf8f4",
    surface="#d6dfe8",
    panel="#e7e3db",
    dark=False,
)

DARK_16 = Theme(
    name="studio-dark-16",
    primary="#55ffff",
    secondary="#aaaaaa",
    accent="#ffff55",
    success="#55ff55",
    warning="#aa5500",
    error="#ff5555",
    foreground="#aaaaaa",
    background="#000000",
    surface="#0000aa",
    panel="#000000",
    dark=True,
)
"""For terminals of 16 colours: the exact values of the ANSI palette, so that kinds stay apart when each is moved to its nearest."""
LIGHT_16 = Theme(
    name="studio-light-16",
    primary="#0000aa",
    secondary="#555555",
    accent="#aa00aa",
    success="#00aa00",
    warning="#aa5500",
    error="#aa0000",
    foreground="#000000",
    background="#ffffff",
    surface="#55ffff",
    panel="#ffffff",
    dark=False,
)

KINDS = ("plain", "muted", "strong", "good", "warn", "bad", "accent", "rule", "loss", "special")
"""The kinds of text. Each also says by a word, a sign or an attribute what its colour says."""

KIND_CSS = """
    &> .kind--plain { color: $foreground; }
    &> .kind--muted { color: $foreground 60%; }
    &> .kind--strong { color: $foreground; text-style: bold; }
    &> .kind--good { color: $success; }
    &> .kind--warn { color: $warning; }
    &> .kind--bad { color: $error; text-style: bold; }
    &> .kind--accent { color: $accent; }
    &> .kind--rule { color: $foreground 35%; }
    &> .kind--loss { color: $success; text-style: underline; }
    &> .kind--special { color: $foreground 60%; text-style: reverse; }
    &> .kind--cursor { background: $surface; }
"""
COMPONENTS = {*(f"kind--{kind}" for kind in KINDS), "kind--cursor"}

Span: TypeAlias = "tuple[str, str]"
"""A text and its kind."""
Line: TypeAlias = "str | Sequence[Span]"
"""One line to draw: plain text, or spans."""

CONTENT_STYLES = {
    "plain": "",
    "muted": "$foreground 60%",
    "strong": "bold",
    "good": "$success",
    "warn": "$warning",
    "bad": "bold $error",
    "accent": "$accent",
    "rule": "$foreground 25%",
    "loss": "underline $success",
    "special": "reverse",
}


def spans(line: Line) -> list[Span]:
    return [(line, "plain")] if isinstance(line, str) else list(line)


def content(*lines: Line) -> Content:
    """Lines as a Textual ``Content``: cleaned, and never markup."""
    parts: list[tuple[str, str] | str] = []
    for number, line in enumerate(lines):
        if number:
            parts.append("\n")
        parts += [(clean(text), CONTENT_STYLES[kind]) if CONTENT_STYLES[kind] else clean(text) for text, kind in spans(line)]
    return Content.assemble(*parts)


def kind_style(widget: Widget, kind: str, cursor: bool = False) -> Style:
    """The Rich style of a kind on a widget that has ``COMPONENTS``; on the cursor's row with its tint behind."""
    own = widget.get_component_rich_style(f"kind--{kind}")
    behind = widget.get_component_rich_style("kind--cursor") if cursor else widget.rich_style
    return Style(color=own.color, bgcolor=behind.bgcolor, bold=own.bold, underline=own.underline, reverse=own.reverse)


def fit(text: str, width: int, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells; cut text ends in ``…``."""
    have = cell_len(text)
    if have > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - have) + text if right else text + " " * (width - have)


def strip_of(widget: Widget, line: Line, width: int, cursor: bool = False) -> Strip:
    """One drawn line of exactly ``width`` cells."""
    segments = [Segment(one_row(text), kind_style(widget, kind, cursor)) for text, kind in spans(line) if text]
    return Strip(segments).adjust_cell_length(width, kind_style(widget, "plain", cursor))


def one_row(text: str) -> str:
    """Clean text with its spaces kept, line breaks shown as a space."""
    return clean(text).replace("\n", " ")


_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]|[^\s\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+\s*|\s+")


def breaks(text: str, width: int) -> list[int]:
    """Offsets at which ``text`` (one line) is broken to stay within ``width`` cells. Han and kana may break anywhere."""
    if len(text) <= width and text.isascii():
        return []
    found: list[int] = []
    used = 0
    for match in _WORD.finditer(text):
        word = match[0]
        length = len(word.rstrip()) if word.isascii() else cell_len(word.rstrip())
        if used and used + length > width:
            found.append(match.start())
            used = 0
        if length > width:
            at = used
            for offset, character in enumerate(word):
                cells = cell_len(character)
                if at + cells > width:
                    found.append(match.start() + offset)
                    at = 0
                at += cells
            used = at
        else:
            used += length + len(word) - len(word.rstrip())
    return [offset for offset in found if offset]


def wrap(line: Line, width: int) -> list[list[Span]]:
    """A line as as many lines as it needs, its kinds kept; what follows a label goes on below itself. Text is cleaned here."""
    pieces = [(clean(text), kind) for text, kind in spans(line)]
    text = "".join(piece for piece, _ in pieces)
    label = _label(pieces, width)
    rows: list[list[Span]] = []
    offset = 0
    for logical in text.split("\n"):
        ends = breaks(logical, max(1, width))
        if label and ends:
            first = ends[0]
            ends = [first, *(first + more for more in breaks(logical[first:], max(1, width - label)))]
        cuts = [0, *ends, len(logical)]
        for number, (a, b) in enumerate(pairwise(cuts)):
            row = _cut(pieces, offset + a, offset + b)
            rows.append([(" " * label, "plain"), *row] if number and label else row)
        offset += len(logical) + 1
    return rows


def _label(pieces: Sequence[Span], width: int) -> int:
    """Cells of the first span where it is a label: a word with a gap behind it or a sign with a space, and others follow. 0 without one."""
    if len(pieces) < 2 or "\n" in pieces[0][0] or not (pieces[0][0].endswith("  ") or (len(pieces[0][0]) == 2 and pieces[0][0].endswith(" "))):
        return 0
    cells = cell_len(pieces[0][0])
    return cells if cells <= width // 3 else 0


def _cut(pieces: Iterable[Span], start: int, end: int) -> list[Span]:
    """The spans between two offsets of the joined text."""
    row: list[Span] = []
    at = 0
    for text, kind in pieces:
        a, b = max(start, at), min(end, at + len(text))
        if a < b:
            row.append((text[a - at : b - at], kind))
        at += len(text)
    return row


def ago(seconds: float) -> str:
    """How long ago, in one short word: ``now``, ``5 min``, ``3 h``, ``12 d``."""
    if seconds < 60:
        return "now"
    for unit, length in (("min", 60), ("h", 3600), ("d", 86400)):
        if seconds < length * {"min": 60, "h": 48, "d": 10**9}[unit]:
            return f"{int(seconds // length)} {unit}"
    raise AssertionError


def short_path(path: Path | str) -> str:
    """A path with ``~`` for the person's home; a hub id or another name stays as it is."""
    text = one_line(str(path))
    home = str(Path.home())
    return f"~{text[len(home) :]}" if text == home or text.startswith(f"{home}/") else text
