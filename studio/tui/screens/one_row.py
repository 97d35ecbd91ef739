"""One row of a browser on a screen of its own: the ones before and after it by a key; judged, tagged, and what was done taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from textual.binding import BindingType

from studio.dialogue.index import R
from studio.dialogue.steps import RowEditor
from studio.dialogue.store import ACCEPTED, REJECTED
from studio.tui.base import BACK, StudioScreen
from studio.tui.dialogs import Ask

if TYPE_CHECKING:
    from studio.tui.screens.window import Window


def done_in_words(told: str) -> str:
    """What was done, as one sentence with the way back."""
    return f"{told}." if told.startswith(("Undone", "Done")) else f"{told}. u takes it back."


def words_of_tags(text: str) -> tuple[list[str], list[str]]:
    """``keep -old``: tags to be given, and tags to be taken away."""
    words = text.split()
    return [w.lstrip("+") for w in words if not w.startswith("-")], [w[1:] for w in words if w.startswith("-")]


class OneRow(StudioScreen, Generic[R]):
    BINDINGS: ClassVar[list[BindingType]] = [BACK]
    noun: ClassVar[str] = "conversation"

    def __init__(self, window: Window[R], index: int) -> None:
        super().__init__()
        self.window, self.index = window, index

    def why_not(self, action: str) -> str:
        if action == "previous" and self.index == 0:
            return f"This is the first {self.noun}."
        if action == "next" and self.index + 1 >= len(self.window):
            return f"This is the last {self.noun}."
        return ""

    def _go(self, action: str, by: int) -> None:
        if not self.refused(action):
            self.index += by
            self.refresh_data()

    def action_previous(self) -> None:
        self._go("previous", -1)

    def action_next(self) -> None:
        self._go("next", 1)


class ChangedRow(OneRow[R]):
    """The same where the row can be changed. ``row`` is the one on screen, None if it cannot be read."""

    changes: ClassVar[tuple[str, ...]]
    """Actions that change it."""

    def __init__(self, window: Window[R], index: int, editor: RowEditor[R]) -> None:
        super().__init__(window, index)
        self.editor: Any = editor
        self.row: R | None = None

    def refresh_data(self) -> None:
        window, index = self.window, self.index
        self.in_background(lambda: window.row(index), self.show, self.cannot, quiet=True)

    def show(self, row: R) -> None:
        """Draw it."""
        raise NotImplementedError

    def cannot(self, sentence: str) -> None:
        """Say why it cannot be read."""
        raise NotImplementedError

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in self.changes:
            return "The app was opened to read only."
        if action in (*self.changes, "preview") and action not in ("undo", "redo") and self.row is None:
            return "This row cannot be read."
        return super().why_not(action)

    def change(self, work: Callable[[], str], on: bool = False) -> None:
        """Do it in the background and show the row as it is then; ``on``: the next one."""
        window, place = self.window, self.index
        identity = self.row.id if self.row else ""

        def job() -> tuple[str, int]:
            before = window.lookup.layout
            told = work()
            if list(before.starts) != list(window.lookup.layout.starts):
                return told, window.renew(identity, place)
            window.drawn.clear()
            window.layout = window.lookup.layout
            return told, place

        def done(result: tuple[str, int]) -> None:
            told, self.index = result
            if told:
                self.say(done_in_words(told))
            if on and self.index + 1 < len(window):
                self.index += 1
            self.refresh_data()

        self.in_background(job, done)

    def action_accept(self) -> None:
        self._judge("accept", ACCEPTED)

    def action_reject(self) -> None:
        self._judge("reject", REJECTED)

    def _judge(self, action: str, state: str) -> None:
        if not self.refused(action) and (row := self.row):
            wanted, identity = "" if row.state == state else state, row.id
            self.change(lambda: self.editor.judge([identity], wanted), on=bool(wanted))

    def action_tag(self) -> None:
        if self.refused("tag") or not (row := self.row):
            return
        identity = row.id

        def asked(text: str | None) -> None:
            if text:
                self.change(lambda: self.editor.tag([identity], *words_of_tags(text)))

        have = f" It has: {' '.join(row.tags)}" if row.tags else ""
        self.app.push_screen(Ask("Tags", hint=f"Words are given, -words taken away.{have}"), asked)

    def action_undo(self) -> None:
        if not self.refused("undo"):
            self.change(lambda: f"Undone: {self.editor.undo()}")

    def action_redo(self) -> None:
        if not self.refused("redo"):
            self.change(lambda: f"Done again: {self.editor.redo()}")
