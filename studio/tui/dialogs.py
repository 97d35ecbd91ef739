"""Short questions over a screen: a line of text, a choice, a yes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from studio.tui.look import Line, content
from studio.tui.table import Column, Row, Table

BOX = """
{name} {{ align: center middle; background: $background 60%; }}
{name} > Vertical {{ width: 76; max-width: 96%; height: auto; max-height: 90%; background: $panel; padding: 1 2; }}
{name} Static {{ height: auto; }}
{name} .hint {{ color: $foreground 60%; margin-top: 1; }}
{name} .problem {{ color: $error; text-style: bold; }}
{name} Input, {name} Input:focus {{ margin-top: 1; border: none; height: 1; padding: 0 1; background: $surface; }}
{name} Table {{ margin-top: 1; height: auto; max-height: 16; }}
"""


class Paths(Suggester):
    """Completes paths of this machine. Reads one folder per suggestion, in a thread."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        import asyncio

        return await asyncio.to_thread(complete, value)


def complete(value: str) -> str | None:
    """The first path that begins with ``value``, folders with a slash; None without one. Of several paths the last is completed."""
    if not value:
        return None
    before, space, last = value.rpartition(" ")
    if space and last and not os.path.isdir(os.path.dirname(os.path.expanduser(value))):
        found = complete(last)
        return f"{before} {found}" if found else None
    folder, _, begun = value.rpartition("/")
    place = Path(os.path.expanduser(folder or ("/" if value.startswith("/") else ".")))
    try:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(place) if entry.name.startswith(begun))
    except OSError:
        return None
    visible = [name for name in names if begun.startswith(".") or not name.startswith(".")]
    return value[: len(value) - len(begun)] + visible[0] if visible else None


class Ask(ModalScreen[str | None]):
    """One line of text; None when left with Escape. ``check`` says what is wrong with the answer, or nothing."""

    DEFAULT_CSS = BOX.format(name="Ask")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False), Binding("tab", "accept", show=False, priority=True)]

    def __init__(self, question: Line, value: str = "", hint: str = "", paths: bool = False, check: Callable[[str], str] | None = None) -> None:
        super().__init__()
        self.question, self.value, self.hint, self.paths, self.check = question, value, hint, paths, check

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(content(self.question))
            yield Input(self.value, suggester=Paths() if self.paths else None, select_on_focus=False)
            yield Static("", classes="problem", id="problem", markup=False)
            keys = "Enter: go on · Escape: leave" + (" · Tab: complete" if self.paths else "")
            yield Static(content(f"{self.hint}\n{keys}" if self.hint else keys), classes="hint")

    def action_accept(self) -> None:
        self.query_one(Input).action_cursor_right() if self.paths else None

    def action_leave(self) -> None:
        self.dismiss(None)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        problem = self.check(event.value) if self.check else ""
        if problem:
            self.query_one("#problem", Static).update(content(problem))
        else:
            self.dismiss(event.value)


class Choice(NamedTuple):
    key: str
    label: str
    note: str = ""
    refused: str = ""
    """Why it cannot be chosen; empty if it can."""


class Choose(ModalScreen[str | None]):
    """One of several, by arrows and Enter; None when left."""

    DEFAULT_CSS = BOX.format(name="Choose")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", show=False), Binding("enter", "take", show=False)]

    def __init__(self, question: Line, choices: Sequence[Choice], at: str = "", width: int = 22) -> None:
        super().__init__()
        self.question, self.choices, self.at, self.width = question, list(choices), at, width

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(content(self.question))
            table = Table([Column("", self.width), Column("", 0, keep=5, least=16)])
            rows = [Row(c.key, ((c.label, "muted" if c.refused else "plain"), (c.refused or c.note, "muted"))) for c in self.choices]
            table.fill(rows)
            table.styles.height = min(15, len(rows))
            yield table
            yield Static("", classes="hint", id="note", markup=False)
            yield Static("Enter: take it · Escape: leave", classes="hint")

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.focus()
        if at := self.at or next((c.key for c in self.choices if not c.refused), ""):
            table.select(at)
        self.on_table_moved()

    def on_table_moved(self) -> None:
        """The whole note of the choice under the cursor, which the table may have cut."""
        chosen = self.choices[self.query_one(Table).cursor] if self.choices else None
        if chosen:
            self.query_one("#note", Static).update(content([("✗ ", "bad"), (chosen.refused, "bad")] if chosen.refused else chosen.note or " "))

    def action_take(self) -> None:
        chosen = self.choices[self.query_one(Table).cursor] if self.choices else None
        if chosen and chosen.refused:
            self.app.bell()
        elif chosen:
            self.dismiss(chosen.key)

    def action_leave(self) -> None:
        self.dismiss(None)


class Confirm(ModalScreen[bool]):
    """Yes by ``y``; everything else is no."""

    DEFAULT_CSS = BOX.format(name="Confirm")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("y", "yes", show=False), Binding("n,escape,q,enter", "no", show=False)]

    def __init__(self, question: Line, yes: str) -> None:
        super().__init__()
        self.question, self.yes = question, yes

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(content(self.question))
            yield Static(content([("y", "accent"), (f" {self.yes}   ", "plain"), ("n", "accent"), (" leave it", "plain")]), classes="hint")

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_no(self) -> None:
        self.dismiss(False)
