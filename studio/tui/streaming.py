"""Text that arrives in pieces, drawn cheaply: rows are wrapped once, kept as finished strips, and only the open last row changes.

A flush costs the same whether 250 or 20,000 tokens are shown already, because nothing but the last row is wrapped again.
Plain text throughout: a judge must see what the model wrote, and nothing in it is obeyed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from operator import itemgetter
from typing import ClassVar

from rich.cells import cell_len, split_graphemes
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from studio.text import clean
from studio.tui.look import COMPONENTS, KIND_CSS, kind_style

STEP = 8
"""Rows by which the scrollable height grows at a time: each change of it lays the screen out anew (36 ms a flush without, 10 ms with)."""

MEASURE = 92
"""Columns of text at most, however wide the pane: longer lines lose the eye."""

LONGEST_ROW = 16
"""A row is broken by force at this many characters a column: a thousand accents on one letter have the width of one."""

NOT_AT_START = frozenset("、。，．：；？！）］｝」』】》〉〕’”…‥ーっッゃゅょャュョ々,.:;?!)]}%°℃")
NOT_AT_END = frozenset("（［｛「『【《〈〔‘“([{")
"""Between wide characters a row may break anywhere, but not before or after these (the core of kinsoku, JIS X 4051)."""

_STRAY_JOINER = re.compile(r"(?<![\U0001F000-\U0001FAFF\u2190-\u2BFF\uFE0F])\u200D")
"""A zero-width joiner that joins no emoji: terminals and Rich disagree about the width of what it would join."""


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


class StreamPane(ScrollView, can_focus=True, inherit_bindings=False):
    """A scrolling pane of plain text that follows its end until the reader scrolls away from it.

    Titles are set as ``Content``; the text is cleaned here and nowhere else has to be.
    """

    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = f"""
    StreamPane {{
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 25%; scrollbar-color-hover: $foreground 45%; scrollbar-color-active: $foreground 45%;
        scrollbar-background: $background; scrollbar-background-hover: $background; scrollbar-background-active: $background;
        {KIND_CSS}
    }}
    """

    # The arrows left and right belong to whoever holds the pane: in a review they are votes.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False),
        Binding("down", "scroll_down", "Down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("home", "scroll_home", "Begin", show=False),
        Binding("end", "scroll_end", "End", show=False),
    ]

    writing: var[bool] = var(False)
    """Whether more may come: shows a cursor after the last character."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._blocks: list[tuple[str, list[str]]] = [("plain", [])]
        """Kind and pieces of each block; a block begins on a row of its own."""
        self._kinds: list[tuple[int, str]] = [(0, "plain")]
        """The first row of each block and its kind."""
        self.following = True
        self._wrapper = Wrapper(80)
        self._tail = ""
        self._strips: dict[int, Strip] = {}

    @property
    def rows(self) -> list[str]:
        """The rows as they stand on screen."""
        return self._wrapper.rows

    @property
    def raw(self) -> str:
        """The text as it came, blocks joined by line breaks."""
        return "\n".join("".join(pieces) for _, pieces in self._blocks)

    def begin(self, kind: str = "plain") -> None:
        """What is fed from now on is of another kind (see ``look.KINDS``) and begins on a new row."""
        if not self._blocks[-1][1]:
            self._blocks[-1] = (kind, [])
            self._kinds[-1] = (len(self.rows) - 1, kind)
        else:
            self._blocks.append((kind, []))
            self._begin(kind)

    def _begin(self, kind: str) -> None:
        self._wrapper.feed("\n")
        self._tail = ""
        self._kinds.append((len(self.rows) - 1, kind))

    def set_text(self, text: str, from_top: bool = False) -> None:
        """Replace everything; what comes next is followed unless ``from_top``."""
        self._blocks = [("plain", [])]
        self._restart()
        self.scroll_to(y=0, animate=False, force=True, immediate=True)
        self.following = not from_top
        self.feed(text)
        self._grow()
        self.refresh()

    def feed(self, text: str) -> None:
        """Add a piece of raw text. Call it in batches: a flush costs the same for one token as for a hundred."""
        if not text:
            return
        self._blocks[-1][1].append(text)
        first = self._add(text)
        height = self.size.height
        self._strips = {row: strip for row, strip in self._strips.items() if row < first}
        self._grow()
        if self.following:
            self.scroll_to(y=self._end, animate=False, force=True, immediate=True)
        top = max(0, first - self.scroll_offset.y)
        if top < height:
            self.refresh(Region(0, top, self.size.width, height - top))

    def _add(self, text: str) -> int:
        drawn = _STRAY_JOINER.sub("", self._tail + clean(text))[len(self._tail) :]
        self._tail = drawn[-1:] or self._tail
        return self._wrapper.feed(drawn)

    @property
    def _end(self) -> int:
        """The offset at which the last row stands at the bottom."""
        return max(0, len(self.rows) - self.size.height)

    def _grow(self) -> None:
        height = self.size.height
        needed = len(self.rows)
        if self.writing and needed > height:
            needed = height + -(-(needed - height) // STEP) * STEP
        elif self.writing:
            needed = height
        wanted = Size(self._wrapper.width, max(needed, 1))
        if wanted.height > self.virtual_size.height or not self.writing or wanted.width != self.virtual_size.width:
            self.virtual_size = wanted

    def _restart(self) -> None:
        self._wrapper = Wrapper(min(MEASURE, self.scrollable_content_region.width or 80))
        self._tail = ""
        self._strips.clear()
        self._kinds = []
        for number, (kind, pieces) in enumerate(self._blocks):
            if number:
                self._begin(kind)
            else:
                self._kinds.append((0, kind))
            self._add("".join(pieces))

    def watch_writing(self) -> None:
        self._strips.clear()
        self._grow()
        self.refresh()

    def on_resize(self) -> None:
        self._strips.clear()
        width = min(MEASURE, self.scrollable_content_region.width or 80)
        if width != self._wrapper.width:
            place = self.scroll_offset.y / max(1, len(self.rows))
            self._restart()
            if not self.following:
                self.scroll_to(y=round(place * len(self.rows)), animate=False, force=True)
        self._grow()
        # Textual 8.2.8 decided about the bar before this event, by the height there was then.
        self._refresh_scrollbars()
        if self.following:
            self.scroll_to(y=self._end, animate=False, force=True)
        self.refresh()

    def action_scroll_end(self) -> None:
        self.scroll_to(y=self._end, animate=False, force=True)
        self.following = True

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and round(new_value) < self._end:
            self.following = False
        elif round(new_value) >= self._end:
            self.following = True

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        strip = self._strips.get(row)
        if strip is None:
            # Asking for the style costs more than drawing (0.3 ms): only rows that are not drawn yet do.
            strip = self._strips[row] = self._draw_row(row, self.size.width, self.rich_style)
        return strip

    def _draw_row(self, row: int, width: int, style: Style) -> Strip:
        if row >= len(self.rows):
            return Strip.blank(width, style)
        text = self.rows[row]
        if self.writing and row == len(self.rows) - 1:
            text = text.rstrip(" ") + ("▏" if cell_len(text.rstrip(" ")) < width else "")
        kind = self._kinds[bisect_right(self._kinds, row, key=itemgetter(0)) - 1][1]
        return Strip([Segment(text, style if kind == "plain" else kind_style(self, kind))]).adjust_cell_length(width, style)
