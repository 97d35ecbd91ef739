"""The help screen, written by the action registry."""

from __future__ import annotations

from textual.app import ComposeResult

from studio.tui.actions import ACTIONS, actions_of, shown_key
from studio.tui.base import StudioScreen, with_escape
from studio.tui.look import Line
from studio.tui.pager import Pager

IN_LISTS = (
    ("↑ ↓ j k", "move"),
    ("pgup pgdn", "a screenful; ctrl+u and ctrl+d do the same"),
    ("home end g G", "first, last"),
)

NAMES = {"app": "Everywhere", "chooser": "Review: choosing", "review": "Review: the sitting", "start": "Train: a recipe"}
"""Where the name in the registry says too little."""


def help_lines(rows_of: str) -> list[Line]:
    """Keys of the screen one came from first, then of the whole app, then of every other screen."""
    screens = list(dict.fromkeys(action.screen for action in ACTIONS))
    order = [s for s in (rows_of, "app", *screens) if s in screens]
    lines: list[Line] = []
    for screen in dict.fromkeys(order):
        name = NAMES.get(screen) or screen.replace("-", " ").capitalize()
        lines += [[(name, "strong"), (" (this screen)" if screen == rows_of else "", "muted")]]
        for action in actions_of(screen):
            sign = " asks first" if action.dangerous else ""
            lines.append([(f"  {shown_key(action):<11}  ", "accent"), (action.help, "plain"), (sign, "warn")])
        lines.append("")
        if screen == "app":
            lines += [[("In lists and texts", "strong")], *([(f"  {keys:<11}  ", "accent"), (what, "plain")] for keys, what in IN_LISTS), ""]
    return lines


class HelpScreen(StudioScreen):
    rows_of = "help"
    BINDINGS = with_escape("help")

    def __init__(self, of: str) -> None:
        super().__init__()
        self.of = of

    def body(self) -> ComposeResult:
        yield Pager(help_lines(self.of))

    def on_mount(self) -> None:
        self.query_one(Pager).focus()
