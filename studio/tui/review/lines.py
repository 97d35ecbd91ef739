"""What stands around the replies: the head, the keys that do something now, and lines that rarely need a new layout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from studio.text import clean
from studio.tui.actions import actions_of, shown_key
from studio.tui.look import COMPONENTS, KIND_CSS, Line, Span, content, fit, spans, strip_of


class TwoSided(Widget):
    """One line with a left and a right end. Where there is no room for both, the later parts of the left and the earlier of the right go."""

    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = f"TwoSided {{ height: 1; padding: 0 1; {KIND_CSS} }}"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.left: Sequence[Span] = ()
        self.right: Sequence[Span] = ()

    def show(self, left: Sequence[Span], right: Sequence[Span]) -> None:
        if (left, right) != (self.left, self.right):
            self.left, self.right = left, right
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        right = list(self.right)
        while right and cell_len("".join(text for text, _ in right)) > width:
            right.pop(0)
        room = width - cell_len("".join(text for text, _ in right))
        left: list[Span] = []
        for text, kind in self.left:
            used = cell_len("".join(t for t, _ in left))
            if used + cell_len(text) >= room:
                if not left:
                    left.append((fit(text, max(0, room - 1)), kind))
                break
            left.append((text, kind))
        gap = room - cell_len("".join(text for text, _ in left))
        return strip_of(self, [*left, (" " * gap, "plain"), *right], width)


class KeyHints(Widget):
    """The keys of a screen that do something now, from the action registry; the others are in the help."""

    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = f"KeyHints {{ height: 1; dock: bottom; background: $panel; {KIND_CSS} }}"

    TAIL: tuple[Span, ...] = (("?", "accent"), (" help  ", "plain"), ("q", "accent"), (" back ", "plain"))

    def __init__(self, screen: str) -> None:
        super().__init__()
        self.rows = {action.id: action for action in actions_of(screen)}
        self.shown: Sequence[str] = ()

    def show(self, actions: Sequence[str]) -> None:
        """Show these actions, the most wanted first; what does not fit is left out from the end."""
        if actions != self.shown:
            self.shown = actions
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        tail: list[Span] = list(self.TAIL) if width >= 60 else [("?", "accent"), (" help ", "plain")]
        room = width - cell_len("".join(text for text, _ in tail)) - 1
        shown = [self.rows[identifier] for identifier in self.shown]
        keys = [shown_key(action) for action in shown]
        if sum(cell_len(f"{key} {action.label}  ") for key, action in zip(keys, shown, strict=True)) > room:
            keys = [key.split("/")[0] for key in keys]
        line: list[Span] = [(" ", "plain")]
        used = 1
        for key, action in zip(keys, shown, strict=True):
            label = f" {action.label}  "
            if used + cell_len(key + label) > room:
                break
            line += [(key, "accent"), (label, "plain")]
            used += cell_len(key + label)
        return strip_of(self, [*line, (" " * max(0, room - used + 1), "plain"), *tail], width)


class Lines(Static):
    """Some lines. The screen is laid out anew only where their number of rows may change: that costs as much as drawing all replies."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(" ", id=id, markup=False)
        self.lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        if lines == self.lines:
            return
        self.lines = lines
        width, height = self.size
        fits = all(cell_len(clean("".join(text for text, _ in spans(line)))) <= width for line in lines)
        self.update(content(*(lines or [" "])), layout=not (fits and len(lines) == height))
