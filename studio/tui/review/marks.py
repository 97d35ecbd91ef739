"""Several of a short list: tags for a vote, checkpoints for a review."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.text import one_line
from studio.tui.look import Line, Span, content


class Marks(ModalScreen[list[int] | None]):
    """Mark by digit, or by arrows and space; Enter takes the marked ones, Escape leaves (None)."""

    DEFAULT_CSS = """
    Marks { align: center middle; background: $background 60%; }
    Marks > VerticalScroll { width: 64; max-width: 96%; height: auto; max-height: 90%; background: $panel; padding: 1 2; }
    Marks Static { height: auto; }
    Marks #items { margin: 1 0; text-wrap: nowrap; text-overflow: ellipsis; }
    Marks #problem { color: $error; text-style: bold; display: none; }
    Marks .hint { color: $foreground 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n), f"mark({n - 1})", show=False) for n in range(1, 10)),
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("space", "mark_here", show=False),
        Binding("enter", "take", show=False),
        Binding("escape,q", "leave", show=False),
    ]

    def __init__(
        self, question: Line, items: Sequence[tuple[str, str]], marked: Iterable[int] = (), least: int = 0, most: int = 99, noun: str = "of them"
    ) -> None:
        super().__init__()
        self.question, self.items, self.least, self.most, self.noun = question, list(items), least, most, noun
        self.marked = set(marked)
        self.at = 0

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static(content(self.question))
            yield Static("", id="items", markup=False)
            yield Static("", id="problem", markup=False)
            yield Static("digit or space: mark · Enter: done · Escape: leave", classes="hint", markup=False)

    def on_mount(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = max((len(label) for label, _ in self.items), default=0)
        lines: list[list[Span]] = []
        for number, (label, note) in enumerate(self.items):
            kind = "accent" if number in self.marked else "plain"
            lines.append(
                [
                    ("› " if number == self.at else "  ", "accent"),
                    (f"{number + 1} " if number < 9 else "  ", "muted"),
                    ("[x] " if number in self.marked else "[ ] ", kind),
                    (one_line(label).ljust(width + 2), "strong" if number == self.at else "plain"),
                    (one_line(note), "muted"),
                ]
            )
        self.query_one("#items", Static).update(content(*lines))

    def action_mark(self, number: int) -> None:
        if number < len(self.items):
            self.at = number
            self.marked ^= {number}
            self._draw()

    def action_mark_here(self) -> None:
        self.action_mark(self.at)

    def action_move(self, by: int) -> None:
        if self.items:
            self.at = (self.at + by) % len(self.items)
            self._draw()
            self.query_one(VerticalScroll).scroll_to(y=max(0, self.at - 8), animate=False)

    def action_take(self) -> None:
        if not self.least <= len(self.marked) <= self.most:
            problem = self.query_one("#problem", Static)
            problem.update(content(f"Mark {self.least} to {self.most} {self.noun}."))
            problem.display = True
            return
        self.dismiss(sorted(self.marked))

    def action_leave(self) -> None:
        self.dismiss(None)
