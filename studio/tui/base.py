"""What all screens share: the two lines, work in the background, and saying why something cannot be done now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.text import clean
from studio.tui.actions import bindings_of
from studio.tui.bars import KeyLine, TopBar

if TYPE_CHECKING:
    from studio.tui.app import StudioApp
    from studio.tui.pulse import Pulse

T = TypeVar("T")


BACK: BindingType = Binding("escape", "app.back", show=False)
"""Escape as q."""


def with_escape(screen: str) -> list[BindingType]:
    """Bindings of a screen that is only looked at: Escape leaves it, too."""
    return [BACK, *bindings_of(screen)]


class Finished(Message):
    """A background job ended: its result, and who wants it."""

    def __init__(self, then: Callable[[Any], None], result: Any) -> None:
        super().__init__()
        self.then, self.result = then, result


class Failed(Message):
    """A background job ended with a sentence for people (``StudioError``) or a fault of ours."""

    def __init__(self, sentence: str, otherwise: Callable[[str], None] | None) -> None:
        super().__init__()
        self.sentence, self.otherwise = sentence, otherwise


class Progress(Message):
    """A line of news from a background job."""

    def __init__(self, then: Callable[[str], None], text: str) -> None:
        super().__init__()
        self.then, self.text = then, text


class StudioScreen(Screen[Any]):
    """A screen of the studio. ``rows_of`` names its rows in the action registry; its ``BINDINGS`` come from there."""

    rows_of: ClassVar[str] = ""

    @property
    def studio(self) -> StudioApp:
        return cast("StudioApp", self.app)

    @property
    def persona(self) -> Persona:
        assert self.studio.persona is not None
        return self.studio.persona

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield from self.body()
        yield KeyLine()

    def body(self) -> ComposeResult:
        yield from ()

    def why_not(self, action: str) -> str:
        """Why an action cannot be done now, in one sentence; empty if it can."""
        return ""

    def refused(self, action: str) -> bool:
        """Whether ``action`` cannot be done now; the reason is said."""
        why = self.why_not(action)
        if why:
            self.say(why)
        return bool(why)

    def say(self, sentence: str, bad: bool = False) -> None:
        """One sentence, shown for some seconds."""
        self.notify(clean(sentence), severity="error" if bad else "information", timeout=8 if bad else 5, markup=False)

    def in_background(
        self, job: Callable[[], T], then: Callable[[T], None], otherwise: Callable[[str], None] | None = None, quiet: bool = False
    ) -> None:
        """Run ``job`` in a thread of its own and give its result to ``then`` in the app's loop.

        A StudioError goes to ``otherwise`` (default: said on screen), any other exception to the crash log first. The thread does not
        keep the app from leaving; whatever the domain writes is atomic. ``quiet``: it is no news that it runs (reading again and again).
        """
        app = self.studio
        app.busy += 1
        if not quiet:
            app.redraw_bars()

        def work() -> None:
            message: Message
            try:
                message = Finished(then, job())
            except StudioError as error:
                message = Failed(str(error), otherwise)
            except Exception as error:
                from studio.crash import record

                message = Failed(record(error), otherwise)
            try:
                self.post_message(message) or app.post_message(message)
            except RuntimeError:  # the app is gone
                pass

        threading.Thread(target=work, daemon=True).start()

    def news(self, then: Callable[[str], None]) -> Callable[[str], None]:
        """A function for a background job to tell its progress with; ``then`` gets each line in the app's loop."""

        def tell(text: str) -> None:
            try:
                self.post_message(Progress(then, text))
            except RuntimeError:
                pass

        return tell

    def on_finished(self, message: Finished) -> None:
        message.stop()
        self.studio.one_less()
        if self.is_attached:
            message.then(message.result)
            self.redraw_keys()

    def on_failed(self, message: Failed) -> None:
        message.stop()
        self.studio.one_less()
        if message.otherwise:
            message.otherwise(message.sentence)
        else:
            self.say(message.sentence, bad=True)
        self.redraw_keys()

    def on_progress(self, message: Progress) -> None:
        message.stop()
        message.then(message.text)

    def redraw_keys(self) -> None:
        for line in self.query(KeyLine):
            line.refresh()

    def on_table_moved(self) -> None:
        self.redraw_keys()

    def take_pulse(self, pulse: Pulse) -> None:
        """Runs or servers changed. Called on the screen one sees, and once when it is shown."""

    def refresh_data(self) -> None:
        """Read what is shown again. Called whenever the screen is shown."""

    def on_screen_resume(self) -> None:
        self.studio.redraw_bars()
        self.refresh_data()
        if self.studio.pulse:
            self.take_pulse(self.studio.pulse)
        self.redraw_keys()

    def edit_outside(self, path: Any, then: Callable[[], None]) -> None:
        """Open a file in ``$VISUAL``, ``$EDITOR`` or vi, the app standing back meanwhile."""
        from studio.tui.outside import edit_file

        try:
            edit_file(self.app, path)
        except StudioError as error:
            self.say(str(error), bad=True)
            return
        self.refresh(repaint=True, layout=True)
        then()
