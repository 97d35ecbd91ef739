"""Adding dialogue: what a file leaves open is asked (who is who, how dates are meant, which format), what would be read is shown first."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.dialogue.importers.base import Asked, ImportReport
from studio.dialogue.importers.casting import WhoIsWho
from studio.dialogue.importers.registry import FORMATS, AmbiguousFormat
from studio.dialogue.importers.whatsapp import AmbiguousDates
from studio.errors import StudioError
from studio.text import count, normal
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.dialogs import BOX, Ask, Choice, Choose
from studio.tui.look import Line, Span, content
from studio.tui.pager import Pager
from studio.tui.screens.material import fault_lines, in_order, report_lines
from studio.tui.table import Column, Row, Table

if TYPE_CHECKING:
    from studio.progress import Progress
    from studio.tui.screens.dialogue import DialogueScreen

ROLES = {"character": "the character", "me": "me, the user", "user": "the user's side", "out": "left out"}
FAULTS = 200
"""Places shown below the preview."""


def begin(screen: DialogueScreen, paths: list[Path]) -> None:
    """Look into these files and go on as far as nobody has to be asked."""
    _look(screen, paths, Asked())


def named(paths: Sequence[Path]) -> str:
    """``chat.txt``, ``3 paths``."""
    return paths[0].name if len(paths) == 1 else f"{len(paths):,} paths"


def _look(screen: DialogueScreen, paths: list[Path], asked: Asked) -> None:
    from studio.dialogue.adding import add

    persona = screen.persona

    def look(progress: Progress) -> ImportReport | StudioError:
        try:
            return add(persona, paths, asked, dry_run=True, progress=progress)
        except (WhoIsWho, AmbiguousDates, AmbiguousFormat) as question:
            return question

    def then(found: ImportReport | StudioError) -> None:
        if isinstance(found, WhoIsWho):
            speakers = [(speaker.name, speaker.count, asked_role(speaker.name, asked)) for speaker in found.speakers]
            if not (asked.character or asked.me):
                speakers = guessed(speakers, persona.manifest.character.name)
            _ask_who(screen, paths, asked, speakers, lambda cast: _look(screen, paths, cast))
        elif isinstance(found, AmbiguousDates):
            orders = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
            choices = [Choice(order, words) for order, words in orders.items()]
            _choose(screen, f"How are dates like {found.example} meant?", choices, lambda key: _look(screen, paths, _with(asked, dates=key)))
        elif isinstance(found, AmbiguousFormat):
            choices = [Choice(f.name, f.name, f.title) for f in FORMATS if f.name in found.names]
            _choose(screen, f"{named(paths)} fits more than one format.", choices, lambda key: _look(screen, paths, _with(asked, format=key)))
        elif isinstance(found, ImportReport) and any(part.unit == "message" for part in found.parts):
            screen.app.push_screen(AddingScreen(screen, paths, asked, found))
        else:
            _add(screen, paths, asked)

    screen.work(f"Looking into {named(paths)}", look, then, "nothing was added")


def _with(asked: Asked, **changes: object) -> Asked:
    return msgspec.structs.replace(asked, **changes)


def _add(screen: DialogueScreen, paths: list[Path], asked: Asked, told: bool = False) -> None:
    """``told``: what becomes of each record was shown already."""
    from studio.dialogue.adding import add

    persona = screen.persona

    def added(report: ImportReport) -> None:
        if not told:
            screen.added(report)
            return
        screen.refresh_data()
        pairs = f" and {count(report.pairs, 'preference pair')} (v shows them)" if report.pairs else ""
        screen.say(f"{count(report.kept, 'row')}{pairs} added.")

    screen.work(f"Adding {named(paths)}", lambda progress: add(persona, paths, asked, progress=progress), added, "nothing was added")


def _choose(screen: DialogueScreen, question: str, choices: list[Choice], then: Callable[[str], None]) -> None:
    screen.app.push_screen(Choose(question, choices), lambda key: then(key) if key else None)


def asked_role(name: str, asked: Asked) -> str:
    for role, names in (("character", asked.character), ("me", asked.me), ("out", asked.leave_out)):
        if name in names:
            return role
    return "user"


def guessed(speakers: list[tuple[str, int, str]], persona: str) -> list[tuple[str, int, str]]:
    """Who it might be, to be looked at: she shares a word with the persona's name, and one other says nearly all the rest."""

    def words(name: str) -> set[str]:
        return set(re.findall(r"\w{2,}", normal(name)))

    hers = {name for name, _, _ in speakers if words(name) & words(persona)}
    others = [(name, number) for name, number, role in speakers if name not in hers and role == "user"]
    me = others[0][0] if hers and others and others[0][1] >= 5 * sum(number for _, number in others[1:]) else None
    return [(name, number, "character" if name in hers else "me" if name == me else role) for name, number, role in speakers]


def _ask_who(screen: DialogueScreen, paths: list[Path], asked: Asked, speakers: list[tuple[str, int, str]], then: Callable[[Asked], None]) -> None:
    def answered(roles: dict[str, str] | None) -> None:
        if roles is not None:
            named = {role: tuple(name for name, given in roles.items() if given == role) for role in ROLES}
            then(_with(asked, character=named["character"], me=named["me"], leave_out=named["out"]))

    screen.app.push_screen(Who(f"Who is who in {named(paths)}?", speakers), answered)


class Who(ModalScreen[dict[str, str] | None]):
    """The speakers with their messages, and for each who that is; None when left."""

    DEFAULT_CSS = BOX.format(name="Who")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "be('character')", show=False),
        Binding("m", "be('me')", show=False),
        Binding("o", "be('out')", show=False),
        Binding("u", "be('user')", show=False),
        Binding("O", "rest_out", show=False),
        Binding("enter", "take", show=False),
        Binding("escape,q", "leave", show=False),
    ]

    def __init__(self, question: Line, speakers: Sequence[tuple[str, int, str]]) -> None:
        super().__init__()
        self.question = question
        self.speakers = list(speakers)
        """Name, messages, role; who says most first."""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(content(self.question))
            table = Table([Column("speaker", 0, least=16), Column("messages", 9, right=True), Column("is", 22)])
            table.styles.height = min(14, len(self.speakers) + 1)
            yield table
            yield Static("", classes="problem", id="problem", markup=False)
            keys = "c: the character (also her other names) · m: me · u: user's side, by name · o: left out · O: all others out"
            yield Static(f"{keys}\nEnter: go on · Escape: leave", classes="hint", markup=False)

    def on_mount(self) -> None:
        self._fill()
        self.query_one(Table).focus()

    def _fill(self) -> None:
        kinds = {"character": "accent", "me": "strong", "out": "muted"}
        rows = [Row(str(i), (name, f"{number:,}", (ROLES[role], kinds.get(role, "plain")))) for i, (name, number, role) in enumerate(self.speakers)]
        self.query_one(Table).fill(rows)

    def action_be(self, role: str) -> None:
        at = self.query_one(Table).cursor
        name, number, _ = self.speakers[at]
        self.speakers[at] = (name, number, role)
        self._fill()
        self.query_one("#problem", Static).update("")

    def action_rest_out(self) -> None:
        self.speakers = [(name, number, "out" if role == "user" else role) for name, number, role in self.speakers]
        self._fill()

    def action_take(self) -> None:
        if not any(role == "character" for _, _, role in self.speakers):
            self.query_one("#problem", Static).update("Say who is the character: go to her line and press c.")
        else:
            self.dismiss({name: role for name, _, role in self.speakers})

    def action_leave(self) -> None:
        self.dismiss(None)


class AddingScreen(StudioScreen):
    """What would be read: how much, who is who, the first rows, what is left out and why."""

    rows_of = "adding"
    BINDINGS = bindings_of("adding")

    def __init__(self, over: DialogueScreen, paths: list[Path], asked: Asked, report: ImportReport) -> None:
        super().__init__()
        self.over, self.paths, self.asked, self.report = over, paths, asked, report

    def body(self) -> ComposeResult:
        yield Static(content([("What would be added from ", "muted"), (named(self.paths), "strong"), ("; Enter adds it", "muted")]), classes="line")
        yield Pager(preview_lines(self.report))

    def on_mount(self) -> None:
        self.query_one(Pager).focus()

    def refresh_data(self) -> None:
        """What is shown was read a moment ago; it is read again when something about it is changed."""

    def why_not(self, action: str) -> str:
        if action == "take" and not self.report.kept and not self.report.pairs:
            return "There is nothing in it that could be added; why is told here."
        if action == "who" and not self.report.cast:
            return "There are no speakers in it to be told apart."
        return ""

    def _again(self, asked: Asked) -> None:
        self.app.pop_screen()
        _look(self.over, self.paths, asked)

    def action_take(self) -> None:
        if not self.refused("take"):
            self.app.pop_screen()
            _add(self.over, self.paths, self.asked, told=True)

    def action_who(self) -> None:
        if not self.refused("who"):
            speakers = [(name, self.report.speakers[name], role) for name, role in self.report.cast.items()]
            _ask_who(self.over, self.paths, self.asked, speakers, self._again)

    def action_cut(self) -> None:
        now = f"{self.asked.silence:g} {self.asked.burst:g} {self.asked.exchanges}"
        question = "Hours of silence that end a talk, minutes of a burst, replies a row (0: not cut)"

        def asked(text: str | None) -> None:
            if text is not None:
                silence, burst, exchanges = text.split()
                self._again(_with(self.asked, silence=float(silence), burst=float(burst), exchanges=int(exchanges)))

        self.app.push_screen(Ask(question, now, check=_numbers_problem), asked)

    def action_format(self) -> None:
        choices = [Choice("", "as told by the file"), *(Choice(f.name, f.name, f.title) for f in FORMATS)]
        chosen = Choose("Read it as", choices, at=self.asked.format)
        self.app.push_screen(chosen, lambda key: None if key is None else self._again(_with(self.asked, format=key)))


def _numbers_problem(text: str) -> str:
    parts = text.split()
    try:
        silence, burst = float(parts[0]), float(parts[1])
        good = len(parts) == 3 and 0 <= silence < 1e6 and 0 <= burst < 1e6 and 0 <= int(parts[2]) < 1e6
    except (ValueError, IndexError):
        good = False
    return "" if good else "Give three numbers, such as 6 30 6."


def preview_lines(report: ImportReport) -> list[Line]:
    """A dry run in words, the rows it would make first."""
    head: list[Span] = [(count(report.kept, "row"), "strong")]
    if report.pairs:
        head.append((f" and {count(report.pairs, 'preference pair')}", "strong"))
    head.append((f", made of {report.used:,} of {count(report.read, 'message')}", "plain"))
    lines: list[Line] = [head]
    if report.cast:
        names: list[Span] = [("who is who  ", "muted")]
        for number, (name, role) in enumerate(list(report.cast.items())[:12]):
            kind = "accent" if role == "character" else "muted"
            names += [(f"{', ' if number else ''}{name} {report.speakers[name]:,} ", "plain"), (ROLES[role], kind)]
        by = report.cast_by if report.cast_by.startswith("as ") else f"by {report.cast_by}"
        lines.append([*names, (f"  ({by})" if report.cast_by else "", "muted")])
    # The count is told above, in messages; the rest is as after any adding.
    told = report_lines(msgspec.structs.replace(report, speakers=type(report.speakers)(), faults=[]), "message")[1:]
    lines += [*told, "", [("The first rows", "strong")], ""]
    for row in report.preview:
        lines.append([(row.id, "accent"), (f"  {row.source}:{row.line}" + (f" · {row.time[:16].replace('T', ' ')}" if row.time else ""), "muted")])
        for message in row.messages:
            lines.append([(message.name or message.role, "accent" if message.role == "assistant" else "strong")])
            lines += message.content.split("\n")
        lines.append("")
    if report.faults:
        lines += [[("What is left out, with file and line", "strong")], *fault_lines(in_order(report.faults)[:FAULTS])]
        if len(report.faults) > FAULTS:
            lines.append([(f"… and {len(report.faults) - FAULTS:,} more", "muted")])
    return lines
