"""A text over the review, to be read and closed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.tui.look import Line
from studio.tui.pager import Pager


class Overlay(ModalScreen[None]):
    DEFAULT_CSS = """
    Overlay { align: center middle; background: $background 60%; }
    Overlay > Vertical { width: 104; max-width: 96%; height: 90%; background: $panel; padding: 1 2; }
    Overlay .hint { color: $foreground 60%; height: 1; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "leave", show=False)]

    key: ClassVar[str]
    """The one that opened it closes it as well."""
    more: ClassVar[str] = ""
    """What else can be done, as the last line says it."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self.lines = list(lines)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Pager(self.lines)
            yield Static(f"{self.key} or Escape: close{self.more}", classes="hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(Pager).focus()

    def show(self, lines: Sequence[Line]) -> None:
        self.query_one(Pager).show(lines, top=True)

    def action_leave(self) -> None:
        self.dismiss(None)
