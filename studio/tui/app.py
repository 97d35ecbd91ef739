"""The app: one persona, seven screens, one pulse. Nothing here reads a file in the event loop.

First paint matters over SSH: screens are imported when they are first shown, the domain's counts come from threads.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import App
from textual.screen import Screen

from studio.errors import StudioError
from studio.persona.folder import Persona, open_persona
from studio.text import clean
from studio.tui.actions import bindings_of
from studio.tui.bars import TopBar
from studio.tui.base import Failed, Finished, StudioScreen
from studio.tui.look import DARK, DARK_16, LIGHT, LIGHT_16
from studio.tui.pulse import Heart, Pulse

if TYPE_CHECKING:
    from textual.command import Provider


def _lazy(module: str, name: str) -> Callable[[], Screen[Any]]:
    """A screen that is imported when it is first wanted."""

    def make() -> Screen[Any]:
        return cast("Screen[Any]", getattr(import_module(f"studio.tui.screens.{module}"), name)())

    return make


def _palette() -> type[Provider]:
    from studio.tui.palette import Actions

    return Actions


class StudioApp(App[Path]):
    """Leaves with another persona's folder when that one is wanted (see ``run``)."""

    TITLE = "persona studio"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[Any] = {_palette}
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "welcome": _lazy("welcome", "WelcomeScreen"),
        "persona": _lazy("persona", "PersonaScreen"),
        "lore": _lazy("lore", "LoreScreen"),
        "dialogue": _lazy("dialogue", "DialogueScreen"),
        "train": _lazy("train", "TrainScreen"),
        "checkpoints": _lazy("checkpoints", "CheckpointsScreen"),
        "serve": _lazy("serve", "ServeScreen"),
        "review": _lazy("chooser", "ChooserScreen"),
    }
    BINDINGS = bindings_of("app")
    CSS = """
    * { scrollbar-background: $background; scrollbar-background-hover: $background; scrollbar-background-active: $background;
        scrollbar-color: $foreground 25%; scrollbar-color-hover: $foreground 40%; scrollbar-color-active: $primary; }
    .rule { height: 1; color: $foreground 25%; padding: 0 1; }
    .line { height: auto; padding: 0 1; }
    .head { height: auto; padding: 1 1 0 1; }
    Toast { background: $panel; padding: 0 1; border-left: outer $accent; }
    Tooltip { display: none; }
    """

    def __init__(self, persona: Persona | None, readonly: bool = False, review: list[str] | None = None) -> None:
        super().__init__()
        self.persona = persona
        self.review = review
        """Checkpoints whose review is opened at once; an empty list: the newest review. None: the first screen."""
        self.readonly = readonly
        """Nothing is changed: what would is refused with a sentence."""
        self.marked: list[str] = []
        """Ids of the checkpoints marked for serving or review, in the order of marking."""
        self.pulse: Pulse | None = None
        self.busy = 0
        """Background jobs that have not ended."""
        self.crash = ""
        self.heart = Heart(self)
        self.themes = (DARK_16, LIGHT_16) if self.console.color_system == "standard" else (DARK, LIGHT)
        for theme in self.themes:
            self.register_theme(theme)
        self.theme = self.themes[0].name

    def on_mount(self) -> None:
        self.switch_mode("persona" if self.persona else "welcome")
        self.heart.persona = self.persona
        self.heart.start()
        if self.persona and self.review is not None:
            from studio.tui.review.screen import ReviewScreen

            self.switch_mode("review")
            self.push_screen(ReviewScreen(self.persona, self.review or None))

    def on_unmount(self) -> None:
        self.heart.stop()

    def on_pulse(self, pulse: Pulse) -> None:
        self.pulse = pulse
        for sentence in pulse.news:
            self.notify(clean(sentence), timeout=8, markup=False)
        if pulse.rings:
            self.bell()
        self.redraw_bars()
        if isinstance(self.screen, StudioScreen):
            self.screen.take_pulse(pulse)
            self.screen.redraw_keys()

    def redraw_bars(self) -> None:
        for bar in self.screen.query(TopBar):
            bar.refresh()

    def one_less(self) -> None:
        self.busy = max(0, self.busy - 1)
        if not self.busy:
            self.redraw_bars()

    def on_finished(self, message: Finished) -> None:
        """The screen that asked is gone; its result is not wanted any more."""
        self.one_less()

    def on_failed(self, message: Failed) -> None:
        self.one_less()

    # Actions of every screen

    def action_go(self, mode: str) -> None:
        if self.persona is None:
            self.notify("Open or make a persona first.", markup=False)
            return
        if mode == self.current_mode:
            while len(self.screen_stack) > 1:
                self.pop_screen()
        else:
            self.switch_mode(mode)

    def action_jobs(self) -> None:
        """The jobs over whatever is there; it is still there behind them."""
        from studio.tui.screens.train import TrainScreen

        if self.persona is None:
            self.notify("Open or make a persona first.", markup=False)
        elif not isinstance(self.screen, TrainScreen):
            self.push_screen(TrainScreen())

    async def action_back(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            self.exit()

    def action_toggle_theme(self) -> None:
        dark, light = self.themes
        self.theme = light.name if self.theme == dark.name else dark.name

    def action_show_help(self) -> None:
        from studio.tui.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(getattr(self.screen, "rows_of", "")))

    def action_help_quit(self) -> None:
        """ctrl+c: Textual only says which key quits."""
        self.notify("q goes back and leaves, ctrl+q leaves at once; jobs and servers go on.", markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Any:
        """None of Textual's own: the palette lists our actions."""
        return ()

    def _fatal_error(self) -> None:
        """Textual 8.2.8 prints a traceback with the locals of every frame here, keys and private text among them. We print a sentence."""
        import sys

        from studio.crash import record

        error = sys.exc_info()[1] or self._exception
        self.crash = record(error) if error else "Something went wrong inside the studio."
        self._close_messages_no_wait()


def run(persona_root: Path | None = None, readonly: bool = False, mouse: bool = True, review: list[str] | None = None) -> int:
    """Open the app on a persona (default: the one around the current folder; without one, the start screen). Returns the exit code.

    ``review`` opens the review of those checkpoints (of the newest sitting, if empty) over it.
    Raises StudioError if ``persona_root`` is given and is no persona.
    """
    import sys

    os.umask(0o077)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual draws on stderr
        raise StudioError("The app needs a terminal; everything it does can also be said as a command, see: studio --help.")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # an inherited "ignore" would let the app spin on a dead terminal
    wanted = persona_root
    if not readonly:
        threading.Thread(target=_go_on, daemon=True).start()
    while True:
        persona = _find(wanted)
        app = StudioApp(persona, readonly, review)
        chosen = app.run(mouse=mouse and not os.environ.get("STUDIO_NO_MOUSE"))
        if app.crash:
            print(f"studio: {app.crash}", file=sys.stderr)
            return 1
        if chosen is None:
            return app.return_code or 0
        wanted, review = chosen, None


def _go_on() -> None:
    """A queue that stood still (a reboot, a killed dispatcher) goes on when the studio is opened."""
    from studio.jobs import queue

    try:
        queue.go_on()
    except (StudioError, OSError):
        pass


def _find(root: Path | None) -> Persona | None:
    if root is not None:
        return open_persona(root)
    try:
        return open_persona()
    except StudioError as error:
        if any((folder / "persona.toml").is_file() for folder in (Path.cwd(), *Path.cwd().parents)):
            raise error
        return None
