"""What commands print: tables for people on stdout, one JSON document for tools, progress and errors on stderr."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.cells import cell_len, set_cell_size

from studio.text import clean, one_line


def say(text: str = "") -> None:
    """A line for people."""
    print(clean(text), flush=True)


def progress(text: str) -> None:
    """A line about what is going on; never part of a result."""
    print(clean(text), file=sys.stderr, flush=True)


def json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], right: str = "") -> None:
    """An aligned table; cells too wide for the terminal are cut in the last column. ``right`` has an ``r`` for each right-aligned column."""
    texts = [[one_line("" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row] for row in rows]
    if not texts:
        return
    widths = [max(cell_len(row[i]) for row in [list(headers), *texts]) for i in range(len(headers))]
    room = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000
    widths[-1] = max(8, min(widths[-1], room - sum(widths[:-1]) - 2 * (len(widths) - 1)))
    for row in [list(headers), *texts]:
        cells = []
        for i, cell in enumerate(row):
            padding = " " * max(0, widths[i] - cell_len(cell))
            aligned = padding + cell if i < len(right) and right[i] == "r" else cell + padding
            cells.append(aligned if cell_len(cell) <= widths[i] else set_cell_size(cell, widths[i] - 1) + "…")
        print("  ".join(cells).rstrip())


def side_by_side(titles: Sequence[str], texts: Sequence[str], width: int) -> None:
    """Texts in columns of equal width, wrapped, each under its title."""
    from rich.text import Text

    each = max(16, (width - 3 * (len(texts) - 1)) // len(texts))
    columns = []
    from rich.console import Console

    console = Console(width=each, file=sys.stderr, color_system=None)
    for title, text in zip(titles, texts, strict=True):
        lines = [line.plain.rstrip() for line in Text(clean(text)).wrap(console, each)]
        columns.append([set_cell_size(title, each), "─" * each, *lines])
    height = max(map(len, columns))
    for i in range(height):
        print(" │ ".join(set_cell_size(column[i] if i < len(column) else "", each) for column in columns).rstrip())


def width() -> int:
    """Columns to print in: the terminal's, 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns
