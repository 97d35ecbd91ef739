"""Text that arrives in pieces, drawn cheaply: rows are wrapped once, kept as finished strips, and only what changed is drawn.

A flush costs the same whether 250 or 20,000 tokens are shown already. Plain text throughout: a judge must see what the model wrote,
and nothing in it is obeyed.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import ClassVar, Self

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.filter import LineFilter
from textual.geometry import Region
from textual.reactive import var
from textual.strip import Strip
from textual.widget import Widget

from studio.text import clean
from studio.tui.look import COMPONENTS, KIND_CSS, kind_style
from studio.tui.wrapping import Wrapper

MEASURE = 92
"""Columns of text at most, however wide the pane: longer lines lose the eye."""

BAR = "▐"
"""The thumb of the scroll bar, in the last column of the pane."""

STEPS = 8
"""While text comes, the pane scrolls by this part of its height at a time: most flushes then draw a row or two and not all of them."""

BEYOND = -1
"""Stands for every row after the last: they are drawn alike."""

WHEEL = 3
"""Rows a turn of the mouse wheel moves."""

A_TURN = 0.00002
"""Seconds: any wait at all hands Python's lock to the thread that waits for it."""

_STRAY_JOINER = re.compile(r"(?<![\U0001F000-\U0001FAFF\u2190-\u2BFF\uFE0F])\u200D")
"""A zero-width joiner that joins no emoji: terminals and Rich disagree about the width of what it would join."""


def draw_now(panes: Iterable[StreamPane]) -> None:
    """Have what changed in these panes drawn before anything else is done.

    By itself a change is drawn when its widget, then the screen have nothing else to do, and then at the next frame: 4 ms after a
    reply's first piece, half of all that it waited. What is drawn is written by a thread of Textual's, which gets its turn here and not
    only when this one waits for something. ``_dirty_widgets`` and ``_on_timer_update`` are Textual 8.2.8's own.
    """
    waiting = list(panes)
    if waiting:
        screen = waiting[0].screen
        screen._dirty_widgets.update(waiting)
        screen._on_timer_update()
        time.sleep(A_TURN)


class StreamPane(Widget, can_focus=True, inherit_bindings=False):
    """A scrolling pane of plain text that follows its end until the reader scrolls away from it.

    It scrolls and draws its bar by itself: with Textual's scrolling every new row would lay the whole screen out anew, which cost
    four times as much as drawing all of it. Titles are set as ``Content``; the text is cleaned here and nowhere else has to be.
    """

    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = f"StreamPane {{ {KIND_CSS} }}"

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
        self.top = 0
        """The first row on screen."""
        self._wrapper = Wrapper(80)
        self._tail = ""
        self._strips: dict[tuple[int, bool], Strip] = {}
        """Finished lines of the widget, frame and all, by row and whether the thumb of the bar stands beside it."""
        self._frame: tuple[Strip, Strip, Sequence[LineFilter], Color] | None = None
        """What stands left and right of the content on each line, border and padding; what each line goes through, and the
        background that wants."""
        self._edges: dict[int, Strip] = {}
        """Finished lines above and below the content, titles and all."""
        self._styles: dict[str, Style] = {}
        """The style of each kind: asking for one costs more than drawing a line with it."""

    @property
    def rows(self) -> list[str]:
        """The rows as they stand on screen."""
        return self._wrapper.rows

    @property
    def raw(self) -> str:
        """The text as it came, blocks joined by line breaks."""
        return "\n".join("".join(pieces) for _, pieces in self._blocks)

    # -- the text ------------------------------------------------------------------------------------------------------------------

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
        self._blocks = [("plain", [text] if text else [])]
        self._restart()
        self.following = not from_top
        self.top = 0 if from_top else self._end
        self.refresh()

    def feed(self, text: str) -> None:
        """Add a piece of raw text. Call it in batches: a flush costs the same for one token as for a hundred."""
        if not text:
            return
        self._blocks[-1][1].append(text)
        thumb = self._thumb()
        before = len(self.rows)
        first = self._add(text)
        self._drop(range(first, before))
        height = self.size.height
        if self.following and self.top < self._end:
            self.top = self._end + (height // STEPS if self.writing else 0)
            self._redraw(0, height)
        else:
            self._redraw(first - self.top, min(height, len(self.rows) - self.top))
            if self._thumb() != thumb:
                self.refresh(Region(self.size.width - 1, 0, 1, height))

    def _redraw(self, start: int, end: int) -> None:
        """Have the lines of the content between two offsets drawn anew."""
        start = max(0, start)
        if start < end:
            self.refresh(Region(0, start, self.size.width, end - start))

    def _drop(self, rows: Iterable[int]) -> None:
        """Forget how these rows were drawn."""
        for row in rows:
            self._strips.pop((row, False), None)
            self._strips.pop((row, True), None)

    def _add(self, text: str) -> int:
        drawn = _STRAY_JOINER.sub("", self._tail + clean(text))[len(self._tail) :]
        self._tail = drawn[-1:] or self._tail
        return self._wrapper.feed(drawn)

    def _restart(self) -> None:
        """Wrap everything, for another text or another width."""
        self._wrapper = Wrapper(min(MEASURE, self.size.width - 1 if self.size.width else 80))
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
        last = len(self.rows) - 1
        self._drop([last])
        self._redraw(last - self.top, min(self.size.height, last + 1 - self.top))

    # -- scrolling -----------------------------------------------------------------------------------------------------------------

    @property
    def _end(self) -> int:
        """The offset at which the last row stands at the bottom."""
        return max(0, len(self.rows) - self.size.height)

    def _move(self, to: int) -> None:
        to = max(0, min(to, self._end))
        self.following = to == self._end
        if to != self.top:
            self.top = to
            self._redraw(0, self.size.height)

    def action_scroll_up(self) -> None:
        self._move(self.top - 1)

    def action_scroll_down(self) -> None:
        self._move(self.top + 1)

    def action_page_up(self) -> None:
        self._move(self.top - max(1, self.size.height - 1))

    def action_page_down(self) -> None:
        self._move(self.top + max(1, self.size.height - 1))

    def action_scroll_home(self) -> None:
        self._move(0)

    def action_scroll_end(self) -> None:
        self._move(self._end)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._move(self.top - WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._move(self.top + WHEEL)

    def on_resize(self) -> None:
        if self.size.width and min(MEASURE, max(2, self.size.width - 1)) != self._wrapper.width:
            place = self.top / max(1, len(self.rows))
            self._restart()
            self.top = round(place * len(self.rows))
        self.top = self._end if self.following else min(self.top, self._end)
        self._forget()
        self.refresh()

    # -- drawing -------------------------------------------------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        self._forget()
        super().notify_style_update()

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        if not regions:
            self._edges.clear()
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _forget(self) -> None:
        self._strips.clear()
        self._edges.clear()
        self._frame = None
        self._styles.clear()

    def _thumb(self) -> tuple[int, int]:
        """The lines on which the thumb of the scroll bar stands: first, and one past the last. Empty where all rows are on screen."""
        height, rows = self.size.height, len(self.rows)
        if rows <= height or not height:
            return (0, 0)
        length = max(1, height * height // rows)
        start = round(min(self.top, rows - height) * (height - length) / max(1, rows - height))
        return (start, start + length)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Finished lines, frame included: asking Textual for border and padding of each line costs more than the text."""
        width = self.outer_size.width
        first = self.gutter.top
        last = first + self.size.height
        begin, end = self._thumb()
        strips, edges, below = self._strips, self._edges, len(self.rows)
        found = []
        for y in crop.line_range:
            if first <= y < last:
                line = y - first
                row = line + self.top
                key = row if row < below else BEYOND, begin <= line < end
                found.append(strips.get(key) or self._line(*key))
            else:
                if y not in edges:
                    (edges[y],) = super().render_lines(Region(0, y, width, 1))
                found.append(edges[y])
        if crop.column_span != (0, width):
            found = [strip.crop(crop.x, crop.right) for strip in found]
        return found

    def _line(self, row: int, thumb: bool) -> Strip:
        """Draw a line of the widget and keep it."""
        if self._frame is None:
            width, gutter = self.outer_size.width, self.gutter
            (empty,) = super().render_lines(Region(0, gutter.top, width, 1))
            ends = empty.crop(0, gutter.left), empty.crop(width - gutter.right, width)
            self._frame = (*ends, self.get_line_filters(), self.background_colors[1])
        left, right, filters, background = self._frame
        content = self._draw_row(row, self.size.width - 1, thumb)
        for line_filter in filters:
            content = content.apply_filter(line_filter, background)
        strip = self._strips[row, thumb] = Strip.join([left, content, right])
        return strip

    def render_line(self, y: int) -> Strip:
        """A line of the content without text: the pattern for the frame."""
        return Strip.blank(self.size.width, self.rich_style)

    def _draw_row(self, row: int, width: int, thumb: bool) -> Strip:
        style = self._style("")
        bar = Segment(BAR, self._style("rule")) if thumb else Segment(" ", style)
        if row == BEYOND:
            return Strip([Segment(" " * max(0, width), style), bar], max(0, width) + 1)
        text = self.rows[row]
        if self.writing and row == len(self.rows) - 1:
            text = text.rstrip(" ") + ("▏" if cell_len(text.rstrip(" ")) < width else "")
        kind = self._kinds[bisect_right(self._kinds, row, key=itemgetter(0)) - 1][1]
        shown = Strip([Segment(text, self._style("" if kind == "plain" else kind))]).adjust_cell_length(width, style)
        return Strip([*shown, bar], width + 1)

    def _style(self, kind: str) -> Style:
        """The style of a kind; of the pane itself for an empty one."""
        style = self._styles.get(kind)
        if style is None:
            style = self._styles[kind] = kind_style(self, kind) if kind else self.rich_style
        return style
