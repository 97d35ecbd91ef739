"""The field in which a prompt is written: Enter sends, Escape leaves it with the draft kept."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from studio.text import clean


class CleanArea(TextArea):
    """A field into which no control characters can be pasted."""

    def on_paste(self, event: events.Paste) -> None:
        # Textual calls the handlers of all classes, the most derived first: TextArea's own then inserts the cleaned text.
        event.text = clean(event.text.replace("\r\n", "\n").replace("\r", "\n"))


class PromptField(CleanArea):
    """Grows from one line to five. A pasted text of many lines stays one prompt."""

    DEFAULT_CSS = """
    PromptField {
        height: auto; max-height: 5; border: none; padding: 0 1; background: $surface; display: none;
        scrollbar-size-vertical: 1;
    }
    PromptField:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", show=False, priority=True),
        Binding("escape", "leave", "Leave", show=False, priority=True),
    ]

    class Sent(Message):
        """A prompt was sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """The field was left without sending."""

    def __init__(self, placeholder: str, id: str | None = None) -> None:
        super().__init__(id=id, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, placeholder=placeholder)

    def open(self) -> None:
        self.display = True
        self.focus()

    def action_send(self) -> None:
        if not self.text.strip():
            return
        text = self.text.strip()
        self.text = ""
        self._close()
        self.post_message(self.Sent(text))

    def action_leave(self) -> None:
        self._close()
        self.post_message(self.Left())

    def _close(self) -> None:
        self.display = False
        self.screen.set_focus(None)
