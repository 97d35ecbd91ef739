"""Text wrapped to a width in cells as it arrives: what stood is never wrapped again, whatever comes after it."""

from __future__ import annotations

from rich.cells import cell_len, split_graphemes

LONGEST_ROW = 16
"""A row is broken by force at this many characters a column: a thousand accents on one letter have the width of one."""

NOT_AT_START = frozenset("、。，．：；？！）］｝」』】》〉〕’”…‥ーっッゃゅょャュョ々,.:;?!)]}%°℃")
NOT_AT_END = frozenset("（［｛「『【《〈〔‘“([{")
"""Between wide characters a row may break anywhere, but not before or after these (the core of kinsoku, JIS X 4051)."""


class Wrapper:
    """Text wrapped to a width in cells, piece by piece; the rows do not depend on how the text was cut into pieces.

    Words are kept whole where they fit, wide characters break by themselves, grapheme clusters are never cut. Spaces at the end
    of a row hang over its edge and are dropped.
    """

    def __init__(self, width: int) -> None:
        self.width = max(2, width)
        self.rows: list[str] = [""]
        """All rows; the last one is open."""

    def feed(self, text: str) -> int:
        """Add text; the index of the first row that changed."""
        first = len(self.rows) - 1
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if number:
                self.rows.append("")
            if line:
                self.rows[-1] += line
                self._break()
        return first

    def _break(self) -> None:
        """Break the open row until it fits."""
        row = self.rows.pop()
        while (at := self._overflow(row)) is not None:
            cut = self._opportunity(row, at)
            self.rows.append(row[:cut].rstrip(" "))
            row = row[cut:]
        self.rows.append(row)

    def _overflow(self, row: str) -> int | None:
        """Where the first grapheme that no longer fits begins; None if all do. Spaces never overflow."""
        if len(row) <= self.width and row.isascii():
            return None
        limit = LONGEST_ROW * self.width
        head = row[: limit + 1]
        if head.isascii():
            at = self.width
            while at < len(head) and head[at] == " ":
                at += 1
            return at if at < len(head) else (limit if len(head) > limit else None)
        cells = 0
        for start, end, size in split_graphemes(head)[0]:
            cells += size
            if cells > self.width and not head[start:end].startswith(" "):
                return start if start else end
        return limit if len(head) > limit else None

    def _opportunity(self, row: str, at: int) -> int:
        """The last place up to ``at`` where the row may break; ``at`` itself if a word is longer than the row."""
        if row[at - 1] == " ":
            return at
        if row[: at + 1].isascii():
            cut = row.rfind(" ", 0, at) + 1
            return cut if row[:cut].strip(" ") else at
        spans = split_graphemes(row[:at])[0]
        cuts = [start for start, _, _ in spans[1:]] + [at]
        for (start, end, size), cut in zip(reversed(spans), reversed(cuts), strict=True):
            before, after = row[start:end], row[cut]
            if before.endswith(" ") and row[:cut].strip(" "):
                return cut
            if 2 in (size, cell_len(after)) and after not in NOT_AT_START and before[-1] not in NOT_AT_END and after != " ":
                return cut
        return at
