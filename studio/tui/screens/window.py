"""The rows of a table of which only those on screen are read, whatever kind they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Generic

from studio.dialogue.filtering import parse
from studio.dialogue.flags import Flag, Flagged, standing
from studio.dialogue.index import R, RowIndex
from studio.errors import StudioError
from studio.tui.table import Row


class Window(Sequence[Any], Generic[R]):
    """Rows of the table, by index; None where nothing was read yet."""

    def __init__(
        self,
        lookup: RowIndex[R],
        wanted: str,
        keys: Any,
        said: dict[str, list[Flagged]],
        marked: set[str],
        draw: Callable[[R, bool], Row],
        widest: int,
    ) -> None:
        """``widest``: the column in which a row that cannot be read says so."""
        self.lookup, self.wanted, self.keys, self.said, self.marked, self.draw = lookup, wanted, keys, said, marked, draw
        self.widest = widest
        self.layout = lookup.layout
        self.drawn: dict[int, Row] = {}

    def __len__(self) -> int:
        return self.layout.size if self.keys is None else len(self.keys)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self.drawn.get(index)
        if row is not None and row.key in self.marked:
            signs = row.cells[0]
            text, kind = signs if isinstance(signs, tuple) else (signs, "plain")
            return row._replace(cells=(("◉" + text[:2], "accent" if kind == "plain" else kind), *row.cells[1:]))
        return row

    def key(self, index: int) -> int:
        return self.layout.key(index) if self.keys is None else int(self.keys[index])

    def renew(self, identity: str, otherwise: int) -> int:
        """Find the rows again after some were moved; where the row with that id is now, else the one at ``otherwise``."""
        self.keys = self.lookup.find(parse(self.wanted))
        self.layout = self.lookup.layout
        self.drawn.clear()
        key = self.lookup.keys_of([identity]).get(identity)
        if key is None:
            return max(0, min(otherwise, len(self) - 1))
        at = self.layout.before(key) if self.keys is None else bisect_left(self.keys, key)
        return max(0, min(at, len(self) - 1))

    def row(self, index: int) -> R:
        """The row there. StudioError if it cannot be read."""
        (row,) = self.lookup.read([self.key(index)])
        if isinstance(row, StudioError):
            raise row
        return row

    def read(self, first: int, number: int) -> dict[int, Row]:
        wanted = range(max(0, first), min(first + number, len(self)))
        rows = self.lookup.read([self.key(i) for i in wanted])
        return {i: self.drawn_row(row) for i, row in zip(wanted, rows, strict=True)}

    def drawn_row(self, row: R | StudioError) -> Row:
        if isinstance(row, StudioError):
            return Row("", (("✗", "bad"), *[""] * (self.widest - 1), ("damaged: ⏎ says where", "bad")))
        return self.draw(row, bool(self.flags_of(row)))

    def flags_of(self, row: R) -> list[Flag]:
        """What the checks found in this row as it is now."""
        return standing(self.said.get(row.id, ()), row)
