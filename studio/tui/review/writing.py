"""A text of several lines, written or corrected in the terminal: what she should have said, a scene, a system prompt."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.errors import StudioError
from studio.text import clean
from studio.tui.look import Line, content
from studio.tui.outside import edit_text
from studio.tui.review.prompt import CleanArea


class Writing(ModalScreen[str | None]):
    """The text as it was written; None when left with Escape. A text that was changed is left by a second Escape only."""

    DEFAULT_CSS = """
    Writing { align: center middle; background: $background 60%; }
    Writing > Vertical { width: 96; max-width: 96%; height: auto; max-height: 90%; background: $panel; padding: 1 2; }
    Writing Static { height: auto; }
    Writing TextArea, Writing TextArea:focus {
        height: auto; min-height: 4; max-height: 24; margin: 1 0; border: none; padding: 0 1; background: $surface; scrollbar-size-vertical: 1;
    }
    Writing #problem { color: $error; text-style: bold; display: none; }
    Writing .hint { color: $foreground 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s,f2", "keep", show=False, priority=True),
        Binding("ctrl+e", "outside", show=False, priority=True),
        Binding("escape", "leave", show=False, priority=True),
    ]

    def __init__(self, question: Line, text: str = "", done: str = "save", empty: bool = False) -> None:
        super().__init__()
        self.question, self.before, self.done, self.empty = question, clean(text), done, empty
        self.warned = False

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(content(self.question))
            yield CleanArea(self.before, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, tab_behavior="indent")
            yield Static("", id="problem", markup=False)
            yield Static(f"ctrl+s or F2: {self.done} · ctrl+e: $EDITOR · Escape: leave", classes="hint", markup=False)

    def on_mount(self) -> None:
        field = self.query_one(CleanArea)
        field.focus()
        field.move_cursor(field.document.end)

    def _problem(self, sentence: str) -> None:
        shown = self.query_one("#problem", Static)
        shown.update(content(sentence))
        shown.display = True

    def action_keep(self) -> None:
        text = self.query_one(CleanArea).text.strip()
        if not text and not self.empty:
            self._problem("There is nothing written yet.")
        else:
            self.dismiss(text)

    def action_outside(self) -> None:
        field = self.query_one(CleanArea)
        try:
            field.text = clean(edit_text(self.app, field.text))
        except StudioError as error:
            self._problem(str(error))
        self.refresh(repaint=True, layout=True)

    def action_leave(self) -> None:
        if self.query_one(CleanArea).text != self.before and not self.warned:
            self.warned = True
            self._problem("This was changed: Escape once more drops it, ctrl+s keeps it.")
        else:
            self.dismiss(None)
