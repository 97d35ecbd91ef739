"""Screens whose long work tells how far it is in their summary line, and stops when asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.widgets import Static

from studio.dialogue.editing import Editor
from studio.errors import StudioError
from studio.tui.base import StudioScreen, T
from studio.tui.look import content

if TYPE_CHECKING:
    from studio.tui.screens.dialogue import DialogueScreen


class Stopped(StudioError):
    """The person asked for it."""


class Stoppable(StudioScreen):
    def __init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()
        self._told = 0.0
        self._first = 0.0

    def progress(self, what: str, done: int, whole: int) -> None:
        """Called by the work, in its thread: several times a second it is drawn; a wish to stop is obeyed here."""
        if self.stopping.is_set():
            raise Stopped("Stopped; what was finished is whole, the rest is as it was.")
        self.told(what, done, whole, "   (escape stops)")

    def told(self, what: str, done: int, whole: int, more: str = "") -> None:
        """The same for work that is not to be broken off: writing."""
        now = time.monotonic()
        if now - self._told > 0.2:
            self._first = self._first if now - self._told < 3 else now
            self._told = now
            if now - self._first > 0.5:
                share = f": {min(100, 100 * done // whole)} %" if whole else f": {done:,}" if done else ""
                self.news(self.show_progress)(f"{what}{share}{more}")

    def show_progress(self, text: str) -> None:
        self.query_one("#summary", Static).update(content([(text, "accent")]))

    def at_work(self) -> bool:
        return bool(self.studio.busy) and time.monotonic() - self._told < 30

    def action_stop(self) -> None:
        if not self.at_work():
            self.say("Nothing is going on here that could be stopped.")
            return
        self.stopping.set()
        self.show_progress("Stopping …")

    def in_background(
        self, job: Callable[[], T], then: Callable[[T], None], otherwise: Callable[[str], None] | None = None, quiet: bool = False
    ) -> None:
        if not self.studio.busy:
            self.stopping.clear()  # a wish that came when the work was done already
        super().in_background(job, then, otherwise, quiet)

    def say(self, sentence: str, bad: bool = False) -> None:
        super().say(sentence, bad and not sentence.startswith("Stopped;"))
        if sentence.startswith("Stopped;"):
            self.stopping.clear()
            self.refresh_data()


class OverDialogue(Stoppable):
    """A screen over the browser of the dialogue that works on all of its rows. Leaving it ends the work."""

    def __init__(self, over: DialogueScreen) -> None:
        super().__init__()
        self.over = over
        self.working = False

    def on_unmount(self) -> None:
        self.stopping.set()

    def work(self, job: Callable[[], T], then: Callable[[T], None] = lambda _: None) -> None:
        """Long work; what it changed is read again, however it ended."""
        self.working = True
        self.show_progress("…")

        def done(result: T) -> None:
            self.working = False
            then(result)
            self.read_again()

        def failed(sentence: str) -> None:
            self.working = False
            self.say(sentence, bad=True)
            self.read_again()

        self.in_background(job, done, failed)

    def read_again(self) -> None:
        self.refresh_data()

    def action_stop(self) -> None:
        """Stop what is going on; else go back."""
        if self.working:
            self.stopping.set()
            self.show_progress("Stopping …")
        else:
            self.app.pop_screen()

    def action_undo(self) -> None:
        if not self.refused("undo"):
            editor = Editor(self.persona, self.over.index)
            self.work(editor.undo, lambda told: self.say(f"Undone: {told}."))
