"""A conversation turn by turn: one of them is under the cursor, marked at its edge; only the lines on screen are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from studio.tui.look import COMPONENTS, Line, Span, kind_style, strip_of, wrap
from studio.tui.scrolling import moves, scrolled_css


class Turns(ScrollView, can_focus=True, inherit_bindings=False):
    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = scrolled_css("Turns")
    BINDINGS: ClassVar[list[BindingType]] = moves()

    class Moved(Message):
        """The cursor stands on another turn."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.turns: list[list[Line]] = []
        self.cursor = 0
        self.rows: list[tuple[int, list[Span]]] = []
        """Drawn lines, each with its turn."""

    def show(self, turns: Sequence[Sequence[Line]], top: bool = False) -> None:
        """Show other turns; ``top`` begins at the first, else the cursor stays at its place."""
        self.turns = [list(turn) for turn in turns]
        self.cursor = 0 if top else max(0, min(self.cursor, len(self.turns) - 1))
        self._wrap()
        if top:
            self.scroll_to(y=0, animate=False, force=True)
        else:
            self._follow()
        self.post_message(self.Moved())

    def on_resize(self, event: events.Resize) -> None:
        self._wrap()
        self._follow()

    def _wrap(self) -> None:
        width = max(4, self.size.width - 3)
        self.rows = [(number, row) for number, turn in enumerate(self.turns) for line in turn for row in wrap(line, width)]
        self.virtual_size = Size(max(1, self.size.width), len(self.rows))
        self.refresh()

    def _edges(self, turn: int) -> tuple[int, int]:
        """First line of a turn, and the one after its last."""
        lines = [y for y, (number, _) in enumerate(self.rows) if number == turn]
        return (lines[0], lines[-1] + 1) if lines else (0, 0)

    def _follow(self) -> None:
        first, end = self._edges(self.cursor)
        top, height = round(self.scroll_y), max(1, self.size.height)
        if first < top or end - first > height:
            self.scroll_to(y=first, animate=False, force=True)
        elif end > top + height:
            self.scroll_to(y=end - height, animate=False, force=True)

    def action_move(self, by: int) -> None:
        first, end = self._edges(self.cursor)
        top, height = round(self.scroll_y), max(1, self.size.height)
        # A turn longer than the screen is read to its end first.
        if by > 0 and end > top + height:
            self.scroll_to(y=min(top + height // 2, end - height), animate=False, force=True)
        elif by < 0 and first < top:
            self.scroll_to(y=max(first, top - height // 2), animate=False, force=True)
        else:
            self.go(self.cursor + by)

    def action_page(self, by: int) -> None:
        top, height = round(self.scroll_y), max(1, self.size.height)
        y = max(0, min(top + by * (height - 1), max(0, len(self.rows) - height)))
        if y == top:
            self.go(0 if by < 0 else len(self.turns) - 1)
            return
        self.scroll_to(y=y, animate=False, force=True)
        if self.rows:
            self.cursor = self.rows[min(y if by < 0 else y + height // 2, len(self.rows) - 1)][0]
            self.refresh()
            self.post_message(self.Moved())

    def action_jump(self, to: int) -> None:
        self.go(to if to >= 0 else len(self.turns) - 1)

    def go(self, to: int) -> None:
        to = max(0, min(to, len(self.turns) - 1))
        if to != self.cursor:
            self.cursor = to
            self._follow()
            self.refresh()
            self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        if (y := round(self.scroll_y) + event.y) < len(self.rows):
            self.go(self.rows[y][0])

    def render_line(self, y: int) -> Strip:
        index = round(self.scroll_y) + y
        width = self.size.width
        if index >= len(self.rows):
            return strip_of(self, "", width)
        turn, row = self.rows[index]
        edge = Segment("▌ " if turn == self.cursor and row else "  ", kind_style(self, "accent" if self.has_focus else "rule"))
        return Strip([edge, *strip_of(self, row, max(1, width - 2))])

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
