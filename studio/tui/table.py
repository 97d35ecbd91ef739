"""A table that draws only the rows on screen: as quick with a hundred thousand rows as with ten.

Columns give way by priority when the screen is narrow, some of them take what is left. The cursor is a mark and a tint.
Enter and all other letters stay free for the screen's own actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, TypeAlias

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from studio.text import one_line
from studio.tui.look import COMPONENTS, Line, fit, kind_style, strip_of
from studio.tui.scrolling import moves, scrolled_css

Cell: TypeAlias = "str | tuple[str, str]"
"""Text, or text and its kind."""


class Column(NamedTuple):
    title: str
    width: int
    """Cells; 0: what the others leave, shared evenly where several columns ask for it."""
    right: bool = False
    keep: int = 9
    """The lower, the sooner the column goes when there is no room."""
    least: int = 12
    """For a column of width 0: below this, others give way."""
    most: int = 0
    """For a column of width 0: it takes no more than that, so that a line can be followed across a wide screen. 0: no limit."""
    raw: bool = False
    """Keep the spaces of the text (tree lines)."""


class Row(NamedTuple):
    key: str
    cells: Sequence[Cell]


class Table(ScrollView, can_focus=True, inherit_bindings=False):
    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = scrolled_css("Table")
    BINDINGS: ClassVar[list[BindingType]] = moves()

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, table: Table) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> Table:
            return self.table

    class Wanted(Message):
        """Rows on screen that are not read yet: ``first`` and ``count`` of them."""

        def __init__(self, first: int, count: int) -> None:
            super().__init__()
            self.first, self.count = first, count

    def __init__(self, columns: Sequence[Column], empty: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.empty: Line = empty
        """Said when there are no rows."""
        self.rows: Sequence[Row | None] = ()
        """None stands for a row that is still to be read."""
        self.cursor = 0
        self._asked = (-1, -1)
        self.titled = int(any(column.title for column in self.columns))
        """Lines above the rows: 1 with titles, else 0."""

    def fill(self, rows: Sequence[Row | None], cursor: int | None = None) -> None:
        """Show other rows. The cursor stays on the row with the same key, else at its place; or it goes to that row."""
        key = self.key if cursor is None else None
        self.rows = rows
        self.cursor = self.cursor if cursor is None else cursor
        if key is not None and not (self.cursor < len(rows) and (at := rows[self.cursor]) is not None and at.key == key) and len(rows) <= 5000:
            self.cursor = next((i for i, row in enumerate(rows) if row is not None and row.key == key), self.cursor)
        self.cursor = max(0, min(self.cursor, len(rows) - 1))
        self._asked = (-1, -1)
        self._resize()
        if cursor is not None:
            self._follow()
        self.refresh()
        self.post_message(self.Moved(self))

    def read_again(self) -> None:
        """The rows are the same, and what is drawn of them is not: those on screen are asked for anew."""
        self._asked = (-1, -1)
        self.refresh()

    def say(self, empty: Line) -> None:
        self.empty = empty
        self.refresh()

    @property
    def key(self) -> str | None:
        """Key of the row under the cursor."""
        row = self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None
        return row.key if row else None

    def select(self, key: str) -> None:
        for index, row in enumerate(self.rows):
            if row is not None and row.key == key:
                self.go(index)

    def _resize(self) -> None:
        self.virtual_size = Size(max(1, self.size.width), len(self.rows) + self.titled)

    def on_resize(self, event: events.Resize) -> None:
        self._resize()
        self._follow()

    def action_move(self, by: int) -> None:
        self.go(self.cursor + by)

    def action_page(self, by: int) -> None:
        self.go(self.cursor + by * max(1, self.size.height - 2))

    def action_jump(self, to: int) -> None:
        self.go(to if to >= 0 else len(self.rows) - 1)

    def go(self, to: int) -> None:
        to = max(0, min(to, len(self.rows) - 1))
        if to != self.cursor:
            self.cursor = to
            self._follow()
            self.refresh()
            self.post_message(self.Moved(self))

    def _follow(self) -> None:
        """Scroll so that the cursor is on screen. The title line stays on top."""
        height = max(1, self.size.height - self.titled)
        top = round(self.scroll_y)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def on_click(self, event: events.Click) -> None:
        if event.y >= self.titled and (row := round(self.scroll_y) + event.y - self.titled) < len(self.rows):
            self.go(row)

    def layout_columns(self, width: int) -> list[tuple[int, int]]:
        """``(index, cells)`` of the columns that fit, two cells between them."""
        shown = list(range(len(self.columns)))
        while True:
            fixed = sum(self.columns[i].width or self.columns[i].least for i in shown) + 2 * (len(shown) - 1)
            if fixed <= width or len(shown) == 1:
                break
            shown.remove(min(shown, key=lambda i: (self.columns[i].keep, -i)))
        open_ = [i for i in shown if not self.columns[i].width]
        rest = width - sum(self.columns[i].width for i in shown) - 2 * (len(shown) - 1)
        shares = {i: max(1, rest // len(open_) + (n < rest % len(open_))) for n, i in enumerate(open_)}
        return [(i, min(shares.get(i, self.columns[i].width), self.columns[i].most or width)) for i in shown]

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width  # without the bar, behind which a cut text would lose its …
        inner = max(1, width - 2)
        if y == 0 and self.titled:
            cells = [fit(self.columns[i].title, w, self.columns[i].right) for i, w in self.layout_columns(inner)]
            return strip_of(self, [("  " + "  ".join(cells), "muted")], width)
        index = round(self.scroll_y) + y - self.titled
        if index >= len(self.rows):
            if not self.rows and y == 2 and self.empty:
                return strip_of(self, [("  ", "plain"), *([(self.empty, "muted")] if isinstance(self.empty, str) else self.empty)], width)
            return strip_of(self, "", width)
        row = self.rows[index]
        if row is None:
            self._want(index)
            return strip_of(self, [("  …", "muted")], width)
        at = index == self.cursor
        segments = [Segment("▌ " if at else "  ", kind_style(self, "accent" if self.has_focus else "rule", at))]
        for number, (i, cells_wide) in enumerate(self.layout_columns(inner)):
            cell = row.cells[i] if i < len(row.cells) else ""
            text, kind = (cell, "plain") if isinstance(cell, str) else cell
            column = self.columns[i]
            drawn = fit(text if column.raw else one_line(text), cells_wide, column.right)
            segments.append(Segment(("  " if number else "") + drawn, kind_style(self, kind, at)))
        return Strip(segments).adjust_cell_length(width, kind_style(self, "plain", at))

    def _want(self, index: int) -> None:
        first = max(0, index - self.size.height)
        count = 3 * max(10, self.size.height)
        if not self._asked[0] <= index < sum(self._asked):
            self._asked = (first, count)
            self.post_message(self.Wanted(first, count))

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()


class ArrowTable(Table, inherit_bindings=False):
    """A table without letter keys, for screens that need them all."""

    BINDINGS: ClassVar[list[BindingType]] = moves("up", "down", "pageup", "pagedown", letters=False)
