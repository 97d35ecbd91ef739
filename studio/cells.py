"""Tables for terminals: text measured in cells, of which Han takes two."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from studio.text import one_line


def shortened(name: str, cells: int) -> str:
    """A name in at most so many cells, cut in its middle: both ends of a checkpoint's name tell it apart."""
    if cell_len(name) <= cells:
        return name
    tail = name
    while cell_len(tail) > (cells - 1) // 2:
        tail = tail[1:]
    return set_cell_size(name, max(0, cells - 1 - cell_len(tail))).rstrip() + "…" + tail


def padded(text: str, cells: int, right: bool = False) -> str:
    """``text`` in exactly so many cells, cut in its middle if it has to be."""
    shown = shortened(text, cells)
    room = " " * (cells - cell_len(shown))
    return room + shown if right else shown + room


def fitted(headers: Sequence[str], rows: Sequence[Sequence[str]], right: str, room: int) -> list[str]:
    """Lines of a table within ``room`` cells: first its gaps give way, then its first column. ``right`` has an ``r`` for each
    right-aligned column."""
    cells = [list(headers), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(headers))]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= room else 1
    widths[0] = max(6, min(widths[0], room - sum(widths[1:]) - gap * (len(widths) - 1)))
    return [(" " * gap).join(padded(cell, widths[i], right[i] == "r") for i, cell in enumerate(row)).rstrip() for row in cells]
