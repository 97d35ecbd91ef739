"""A text while steps work on it: lines that remember their number, and every change with what stood there before."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection

import msgspec

SILENT = ("spaces",)
"""Counted but not kept one by one."""


class Change(msgspec.Struct, frozen=True):
    """One place that was changed."""

    step: str
    line: int
    """First line in the text before, 1-based."""
    at: int
    """Where it stands, or would stand, in the text after."""
    before: str
    after: str
    """Empty: left out."""


class Cleaned(msgspec.Struct):
    text: str
    changes: list[Change]
    counts: Counter[str]
    """Changes by step."""


class Draft:
    """A text as lines that remember their number, while steps work on it."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.origin = list(range(1, len(self.lines) + 1))
        self.changes: list[Change] = []
        self.counts: Counter[str] = Counter()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def note(self, step: str, origin: int, before: str, after: str) -> None:
        self.counts[step] += 1
        if step not in SILENT:
            self.changes.append(Change(step, origin, 0, before, after))

    def edit(self, index: int, line: str, step: str) -> None:
        self.note(step, self.origin[index], self.lines[index], line)
        self.lines[index] = line

    def drop(self, first: int, end: int, step: str) -> None:
        """Leave out the lines ``first`` to ``end - 1`` as one change."""
        before = "\n".join(self.lines[first:end])
        if before.strip():
            self.note(step, self.origin[first], before, "")
        if end < len(self.lines) and not self.lines[end].strip() and (not first or not self.lines[first - 1].strip()):
            end += 1  # the blank line that set it apart
        self.lines[first:end] = []
        self.origin[first:end] = []

    def drop_all(self, indexes: Collection[int], step: str, blanks: Collection[int] = ()) -> None:
        """Leave out lines one by one, many at once, and the blank lines ``blanks`` with them."""
        gone = {*indexes, *blanks}
        for index in sorted(indexes):
            self.note(step, self.origin[index], self.lines[index], "")
        kept: list[int] = []
        for index, line in enumerate(self.lines):
            after_gap = index - 1 in gone and not line.strip() and (not kept or not self.lines[kept[-1]].strip())
            if after_gap:
                gone.add(index)
            elif index not in gone:
                kept.append(index)
        self.lines, self.origin = [self.lines[i] for i in kept], [self.origin[i] for i in kept]

    def blocks(self) -> list[tuple[int, int]]:
        """``(first, end)`` of every run of lines without a blank one."""
        found: list[tuple[int, int]] = []
        first = -1
        for index, line in enumerate(self.lines):
            if not line or line.isspace():
                if first >= 0:
                    found.append((first, index))
                first = -1
            elif first < 0:
                first = index
        if first >= 0:
            found.append((first, len(self.lines)))
        return found

    def done(self) -> Cleaned:
        """The text, and the changes with their places in it."""
        place = {origin: number for number, origin in reversed(list(enumerate(self.origin, 1)))} if self.changes else {}
        known = sorted(place)
        placed = []
        for change in self.changes:
            after = bisect_left(known, change.line)
            at = place[known[after]] if after < len(known) else max(1, len(self.lines))
            placed.append(msgspec.structs.replace(change, at=at))
        placed.sort(key=lambda change: change.line)
        return Cleaned(self.text.strip("\n") + "\n" if self.text.strip() else "", placed, self.counts)
