"""Long text, wrapped to the screen and scrolled by key. Only the lines on screen are drawn; wrapping a book happens off the event loop."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from studio.tui.look import COMPONENTS, Line, Span, content, strip_of, wrap
from studio.tui.scrolling import moves, scrolled_css

AT_ONCE = 60_000
"""Characters that are wrapped on the spot (about 20 ms); longer texts are wrapped by a thread."""


class Hung(Widget):
    """Some lines, as high as they need; what follows a label goes on below itself."""

    DEFAULT_CSS = "Hung { height: auto; text-wrap: nowrap; }"

    def __init__(self, lines: Sequence[Line] = (), id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.lines = list(lines)

    def show(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)
        self.refresh(layout=True)

    def _wrapped(self, width: int) -> list[list[Span]]:
        return [row for line in self.lines for row in wrap(line, width)]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self._wrapped(width)))

    def render(self) -> Content:
        return content(*self._wrapped(self.size.width))


class Pager(ScrollView, can_focus=True, inherit_bindings=False):
    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = scrolled_css("Pager")
    BINDINGS: ClassVar[list[BindingType]] = moves(back="pageup,ctrl+u,b", on="pagedown,ctrl+d,space")

    class Wrapped(Message):
        """The thread is done: the rows for a width."""

        def __init__(self, ticket: int, rows: list[list[Span]]) -> None:
            super().__init__()
            self.ticket, self.rows = ticket, rows

    def __init__(self, lines: Sequence[Line] = (), id: str | None = None, at_end: bool = False) -> None:
        super().__init__(id=id)
        self.lines = list(lines)
        self.at_end = at_end
        """Whether the end is kept in view (a log), as long as nobody scrolled up."""
        self.rows: list[list[Span]] = []
        self._ticket = 0
        self._width = 0

    def show(self, lines: Sequence[Line], top: bool = False) -> None:
        """Show other lines; ``top`` goes back to the beginning."""
        if list(lines) == self.lines and self.rows:
            return
        self.lines = list(lines)
        if top:
            self.scroll_to(y=0, animate=False, force=True)
        self._wrap()

    def on_resize(self, event: events.Resize) -> None:
        if self.size.width != self._width:
            self._wrap()

    def _wrap(self) -> None:
        self._width = width = self.size.width
        if width < 3:
            return
        self._ticket += 1
        ticket, lines = self._ticket, self.lines
        if sum(len(line) if isinstance(line, str) else 80 for line in lines) <= AT_ONCE:
            self._take([row for line in lines for row in wrap(line, width - 2)])
            return

        def work() -> None:
            rows = [row for line in lines for row in wrap(line, width - 2)]
            try:
                self.post_message(self.Wrapped(ticket, rows))
            except RuntimeError:  # the app is gone
                pass

        threading.Thread(target=work, daemon=True).start()

    def on_pager_wrapped(self, message: Wrapped) -> None:
        message.stop()
        if message.ticket == self._ticket:
            self._take(message.rows)

    def _take(self, rows: list[list[Span]]) -> None:
        was_at_end = self.scroll_y >= self.max_scroll_y - 1
        self.rows = rows
        self.virtual_size = Size(max(1, self.size.width), len(rows))
        if self.at_end and was_at_end:
            self.call_after_refresh(self.scroll_to, y=max(0, len(rows) - self.size.height), animate=False, force=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        index = round(self.scroll_y) + y
        row = self.rows[index] if index < len(self.rows) else []
        return strip_of(self, [(" ", "plain"), *row], self.size.width)

    def action_move(self, by: int) -> None:
        self.scroll_to(y=self.scroll_y + by, animate=False)

    def action_page(self, by: int) -> None:
        self.scroll_to(y=self.scroll_y + by * max(1, self.size.height - 1), animate=False)

    def action_jump(self, to: int) -> None:
        self.scroll_to(y=self.max_scroll_y if to else 0, animate=False)

    def find(self, text: str) -> bool:
        """Scroll to the next row below the top that contains ``text``, beginning again at the end. Whether there is one."""
        wanted = text.casefold()
        start = round(self.scroll_y) + 1
        order = [*range(start, len(self.rows)), *range(min(start, len(self.rows)))]
        for index in order:
            if wanted in "".join(part for part, _ in self.rows[index]).casefold():
                self.scroll_to(y=index, animate=False, force=True)
                return True
        return False
