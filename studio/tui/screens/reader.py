"""A text, a card or a report, read whole on a screen of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from textual.app import ComposeResult
from textual.widgets import Static

from studio.tui.base import StudioScreen, with_escape
from studio.tui.dialogs import Ask
from studio.tui.look import Line, content
from studio.tui.pager import Pager


class ReaderScreen(StudioScreen):
    """``read`` is called in a thread and gives the lines; ``file`` is what ``e`` opens."""

    rows_of = "reader"
    BINDINGS = with_escape("reader")

    def __init__(self, title: Line, read: Callable[[], Sequence[Line]], file: Path | None = None, at_end: bool = False, line: int = 0) -> None:
        super().__init__()
        self.heading, self.read, self.file, self.at_end, self.line = title, read, file, at_end, line
        self.wanted = ""

    def body(self) -> ComposeResult:
        yield Static(content(self.heading), classes="line")
        yield Pager([[("Reading …", "muted")]], at_end=self.at_end)

    def on_mount(self) -> None:
        self.query_one(Pager).focus()

    def refresh_data(self) -> None:
        self.in_background(self.read, lambda lines: self.query_one(Pager).show(lines))

    def why_not(self, action: str) -> str:
        if action == "edit" and self.file is None:
            return "There is no file behind this text to edit."
        if action == "find_next" and not self.wanted:
            return "Nothing was looked for yet: press / first."
        return ""

    def action_find(self) -> None:
        def asked(text: str | None) -> None:
            if text:
                self.wanted = text
                self.action_find_next()

        self.app.push_screen(Ask("Find in this text", self.wanted), asked)

    def action_find_next(self) -> None:
        if not self.refused("find_next") and not self.query_one(Pager).find(self.wanted):
            self.say(f"“{self.wanted}” is not in this text.")

    def action_edit(self) -> None:
        if not self.refused("edit"):
            self.edit_outside(self.file, self.refresh_data)
