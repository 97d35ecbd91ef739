"""Two to four replies beside each other, on top of each other, or in turn where there is no room."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message

from studio.tui.streaming import StreamPane

MOST = 4
LEAST_COLUMNS = 38
"""Columns a reply needs, frame included, to be read and not deciphered."""
LEAST_ROWS = 10
"""Rows it needs beside others; with fewer, replies are shown in turn."""


class Panes(Container):
    """Shows as many replies at a time as there is room for; ``go`` brings one on screen."""

    DEFAULT_CSS = """
    Panes { layout: grid; width: 100%; height: 1fr; grid-size: 2; }
    Panes StreamPane { width: 1fr; height: 1fr; }
    """

    class Arranged(Message):
        """Other replies are on screen than before."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.count = 2
        self.at = 0
        """The first of the replies that are on screen together."""
        self.together = 2
        """How many are on screen at a time."""
        self._panes = [StreamPane(id=f"pane-{number}") for number in range(1, MOST + 1)]

    def compose(self) -> ComposeResult:
        yield from self._panes

    @property
    def all(self) -> list[StreamPane]:
        """The panes in use, on screen or not."""
        return self._panes[: self.count]

    def use(self, count: int) -> None:
        """Show a round of ``count`` replies, from the first."""
        self.count, self.at = count, 0
        self._arrange()

    def go(self, to: int) -> None:
        """Bring a reply on screen."""
        page = to // self.together * self.together
        if page != self.at:
            self.at = page
            self._arrange()

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        width, height = self.size
        columns, rows = grid(self.count, width, height)
        before = (self.count, self.together, self.at)
        self.together = min(self.count, columns * rows)
        self.at = self.at // self.together * self.together
        self.styles.grid_size_columns, self.styles.grid_size_rows = columns, rows
        for number, pane in enumerate(self._panes):
            pane.display = self.at <= number < min(self.count, self.at + self.together)
        if before != (self.count, self.together, self.at):
            self.post_message(self.Arranged())


def grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and rows for ``count`` replies in so many columns and rows of characters. What does not fit is shown in turn."""
    columns = max(1, min(count, width // LEAST_COLUMNS))
    rows = max(1, min(-(-count // columns), height // LEAST_ROWS))
    if rows > 1:  # four in rows of two and not of three and one
        columns = -(-count // rows) if columns * rows >= count else columns
    return columns, rows
