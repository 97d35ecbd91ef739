"""Rows in a table, of which only those on screen are read: filtered, marked, judged, tagged, each by a key; whatever kind of rows they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, ClassVar, Generic, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from studio.dialogue.filtering import HELP, parse
from studio.dialogue.flags import Flag, Flagged, by_row, stamp
from studio.dialogue.index import Counts, R, RowIndex
from studio.dialogue.steps import RowEditor
from studio.dialogue.store import ACCEPTED, REJECTED
from studio.errors import StudioError
from studio.progress import Progress
from studio.snapshots import Snapshot, all_snapshots
from studio.text import count
from studio.tui.base import T
from studio.tui.dialogs import Ask, Choice, Choose
from studio.tui.look import Line, Span, content
from studio.tui.pager import Pager
from studio.tui.screens.material import MaterialScreen
from studio.tui.screens.one_row import OneRow, done_in_words, words_of_tags
from studio.tui.screens.window import Window
from studio.tui.table import Column, Row, Table

STOPPED = "Stopped."
SIDE_BY_SIDE = 132
"""Columns from which on the row under the cursor is shown beside the table."""


class Found(NamedTuple):
    """What a look at the rows gave."""

    keys: Any
    """Keys of the rows that are meant; None: all."""
    counts: Counts
    snapshots: list[Snapshot]
    said: dict[str, list[Flagged]]
    """What the checks said of each row."""
    last: str
    """What undo would take back."""


class Browser(MaterialScreen, Generic[R]):
    """``kind`` of ``MaterialScreen`` names what is browsed; a subclass says how a row is drawn and what else can be done with it."""

    several: ClassVar[str]
    """As all of them together are counted: ``conversations``."""
    none_yet: ClassVar[str]
    """What an empty table says."""
    columns: ClassVar[tuple[Column, ...]]
    changes: ClassVar[tuple[str, ...]]
    """Actions that change rows."""
    filters: ClassVar[tuple[str, ...]] = tuple(example for example, _ in HELP)
    """The examples of ``filtering.HELP`` that make sense here."""
    DEFAULT_CSS = """
    Browser #beside { width: 2fr; border-left: vkey $foreground 20%; display: none; padding: 0 0 0 1; }
    Browser Table { width: 3fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.index: RowIndex[R] | None = None
        self.found: Found | None = None
        self.wanted = ""
        """The filter by which the rows on screen were found, as it was written."""
        self.asked: tuple[str, int | None] = ("", None)
        """The filter that is being looked by, and the row to go to then; None: stay."""
        self.seen = -1
        """Version of the index when it was looked at."""
        self.marked: set[str] = set()
        self.stop = threading.Event()
        """Set: the search that is under way is no longer wanted."""
        self.working: threading.Event | None = None
        """Adding or building is under way; set: it is no longer wanted."""
        self.flagged_at = ""
        self.doing = ""
        self.stops = True
        """Whether Escape ends what is being done."""
        self.opened: OneRow[R] | None = None
        """The row that was read last; coming back, the cursor stands where it was left."""

    def open_index(self) -> RowIndex[R]:
        raise NotImplementedError

    @property
    def editor(self) -> RowEditor[R]:
        """What changes the rows, with this screen's index."""
        raise NotImplementedError

    def draw(self, row: R, flagged: bool) -> Row:
        """A row as it stands in the table, its signs in the first cell."""
        raise NotImplementedError

    def beside(self, row: R, flags: Sequence[Flag]) -> list[Line]:
        """A row in full, for the pane beside the table."""
        raise NotImplementedError

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Static(" ", id="filter", classes="line", markup=False)
        with Horizontal():
            yield Table(self.columns, empty="Reading …")
            yield Pager(id="beside")

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def on_resize(self, event: events.Resize) -> None:
        self.query_one("#beside").display = event.size.width >= SIDE_BY_SIDE
        self.on_table_moved()

    def on_unmount(self) -> None:
        self.stop.set()
        if self.working:
            self.working.set()

    # Looking

    def refresh_data(self) -> None:
        if self.opened:
            self.query_one(Table).go(self.opened.index)
            self.opened = None
        self._look(*self.asked)

    def _look(self, wanted: str, cursor: int | None = None) -> None:
        """Read what is there, by the filter ``wanted``, and show it with the cursor at that row."""
        persona = self.persona
        if self.index is None:
            self.index = self.open_index()
        index, editor, kind = self.index, self.editor, self.kind
        self.stop.set()
        self.stop = stop = threading.Event()
        self.asked = (wanted, cursor)
        before, asked = self.found, parse(wanted)
        progress = self._progress(stop)
        if not self.working:
            self.stops = True

        def look() -> Found | None:
            index.refresh(progress)
            at, version = stamp(persona, kind), index.version
            changed, self.seen = version != self.seen, version
            if before and not changed and wanted == self.wanted and at == self.flagged_at and cursor is None:
                return before._replace(snapshots=all_snapshots(persona, kind))
            said = by_row(persona, kind) if at != self.flagged_at or before is None else before.said
            self.flagged_at = at
            return Found(index.find(asked, progress), index.counts(), all_snapshots(persona, kind), said, editor.last())

        def show(found: Found | None) -> None:
            self.doing = "" if not self.working else self.doing
            if found is None or stop.is_set():
                return
            same = before is not None and found.keys is before.keys and found.counts is before.counts
            self.found, self.wanted, self.asked = found, wanted, (wanted, None)
            if not same or not isinstance(self.query_one(Table).rows, Window):
                self._fill(cursor)
            self._summarise()
            self.looked()

        def cannot(sentence: str) -> None:
            self.doing = ""
            if not stop.is_set():
                self.query_one(Table).say(sentence)
                self.say(sentence, bad=True)
                self._summarise()

        self.in_background(look, show, cannot)

    def looked(self) -> None:
        """The rows are shown."""

    def work(self, what: str, job: Callable[[Progress], T], then: Callable[[T], None], stopped: str) -> None:
        """Long work that tells how far it is and ends by Escape; ``stopped`` says what became of it then."""
        self.working, self.doing = threading.Event(), what
        progress = self._progress(self.working, what)
        self._summarise()

        def done(result: T) -> None:
            self.working, self.doing = None, ""
            self._summarise()
            then(result)

        def cannot(sentence: str) -> None:
            self.working, self.doing = None, ""
            self._summarise()
            self.say(f"Stopped; {stopped}." if sentence == STOPPED else sentence, bad=sentence != STOPPED)

        self.in_background(lambda: job(progress), done, cannot)

    def _progress(self, stop: threading.Event, doing: str = "", stops: bool = True) -> Progress:
        """Tells how far long work is; ends it when it is no longer wanted."""

        def told(text: str) -> None:
            if not stop.is_set():
                self.doing, self.stops = text, stops
                self._summarise()

        tell = self.news(told)
        before = f"{doing} · " if doing else ""
        last = 0.0

        def progress(what: str, done: int, whole: int) -> None:
            nonlocal last
            if stop.is_set():
                raise StudioError(STOPPED)
            if done and time.monotonic() - last > 0.1:
                last = time.monotonic()
                tell(f"{before}{what}: {min(100, 100 * done // whole)} %" if whole else f"{before}{what}: {done:,}")

        return progress

    def _fill(self, cursor: int | None = None) -> None:
        assert self.found is not None and self.index is not None
        table = self.query_one(Table)
        table.empty = f"No {self.noun} is meant by {self.wanted}: / changes the filter, Escape shows all." if self.wanted else self.none_yet
        widest = next(at for at, column in enumerate(self.columns) if not column.width)
        table.fill(Window(self.index, self.wanted, self.found.keys, self.found.said, self.marked, self.draw, widest), cursor)

    def _summarise(self) -> None:
        if not self.is_mounted:
            return
        if self.doing:
            hint = "   Escape stops" if self.stops else ""
            self.query_one("#summary", Static).update(content([(f"… {self.doing}", "accent"), (hint, "muted")]))
        if self.found is None or self.index is None:
            return
        table = self.query_one(Table)
        states = self.found.counts.states
        line: list[Span] = [(f"{count(self.index.layout.size, self.several[:-1])}", "plain")]
        for name, kind in (("accepted", "good"), ("rejected", "bad"), ("edited", "plain"), ("synthetic", "warn")):
            if states[name]:
                sign = {"accepted": "✓ ", "rejected": "✗ ", "edited": "✎ ", "synthetic": "⚙ "}[name]
                # On a narrow screen the signs of the table say it.
                word = f" {name}" if self.size.width >= 100 else ""
                line += [(" · ", "muted"), (sign, kind), (f"{states[name]:,}{word}", "muted")]
        newest = self.found.snapshots[-1] if self.found.snapshots else None
        tokens = f", {newest.train_tokens:,} tokens" if newest and newest.train_tokens is not None else ""
        built = "no snapshot yet: b builds one" if len(self.index) else "no snapshot yet"
        if newest:
            built = f"{newest.id}: {newest.train_rows:,} + {newest.val_rows:,} rows{tokens if self.size.width >= 100 else ''}"
        line += [(" · ", "muted"), (built, "muted")]
        if not self.doing:
            self.query_one("#summary", Static).update(content(line))
        shown: list[Span] = [("/ ", "accent")]
        if self.wanted:
            shown += [
                (self.wanted, "strong"),
                (f"   {count(len(table.rows), self.noun)} of {self.index.layout.size:,}", "muted"),
                ("   Escape: all", "muted"),
            ]
        else:
            shown.append(("all of them", "muted"))
        if len(table.rows):
            shown.append((f" · at {table.cursor + 1:,}", "muted"))
        if self.marked:
            shown += [(" · ", "muted"), (f"◉ {len(self.marked):,} marked", "accent")]
        self.query_one("#filter", Static).update(content(shown))

    def on_table_wanted(self, message: Table.Wanted) -> None:
        window = self.query_one(Table).rows
        if isinstance(window, Window):

            def take(rows: dict[int, Row]) -> None:
                if len(window.drawn) > 5000:
                    window.drawn.clear()
                window.drawn.update(rows)
                self.query_one(Table).refresh()

            self.in_background(lambda: window.read(message.first, message.count), take, quiet=True)

    def on_table_moved(self) -> None:
        self.redraw_keys()
        self._summarise()
        beside = self.query_one("#beside", Pager)
        at = self.selected()
        if not beside.display:
            return
        if at is None:
            beside.show([])
            return
        (window, place), draw = at, self.beside

        def read() -> list[Line]:
            try:
                row = window.row(place)
            except StudioError as error:
                return [[("✗ ", "bad"), (str(error), "plain")]]
            return draw(row, window.flags_of(row))

        def show(lines: list[Line]) -> None:
            if self.selected() == at:
                beside.show(lines, top=True)

        self.in_background(read, show, quiet=True)

    def has_nothing(self) -> bool:
        return self.found is not None and self.index is not None and not len(self.index)

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in self.changes:
            return "The app was opened to read only."
        if self.working and action in ("add", "build", "check", "write"):
            return "Work is going on: Escape stops it."
        if action == "undo" and self.found is not None:
            return "" if self.found.last else "There is nothing to undo."
        why = super().why_not(action)
        if not why and self.is_mounted and action in (*self.changes, "read", "preview", "mark", "mark_all", "go_to", "find", "menu"):
            if self.has_nothing():
                return self.none_yet
            if action not in ("find", "menu", "undo", "redo") and not len(self.query_one(Table).rows):
                return f"No {self.noun} is shown: Escape shows all." if self.wanted else f"The {self.several} are still being read."
        return why

    # Filters

    def action_find(self) -> None:
        if self.refused("find"):
            return

        def asked(text: str | None) -> None:
            if text is not None:
                self._look(" ".join(text.split()), 0)

        hint = "\n".join(f"{what:<14} {means}" for what, means in HELP if what in self.filters)
        self.app.push_screen(Ask(f"Show the {self.several} for which all of this holds", self.wanted, hint=hint, check=_filter_problem), asked)

    def action_menu(self) -> None:
        """Filters there is something for, with how many rows each would show."""
        if self.refused("menu") or self.found is None:
            return
        counts = self.found.counts
        by_check: dict[str, int] = {}
        for said in self.found.said.values():
            for name in {flag.check for one in said for flag in one.flags}:
                by_check[name] = by_check.get(name, 0) + 1
        terms = [
            *((f"is:{name}", number) for name, number in counts.states.items()),
            *((f"flag:{name}", number) for name, number in sorted(by_check.items())),
            *((f"tag:{name}", number) for name, number in counts.tags[:200]),
            *((f"src:{_quoted(name)}", number) for name, number in counts.sources[:500]),
            *((f"lang:{name}", number) for name, number in counts.languages if name),
        ]
        have = self.wanted.split()
        choices = [Choice("", "all", count(self.index.layout.size if self.index else 0, self.noun))]
        choices += [Choice(term, ("✓ " if term in have else "  ") + term, count(number, self.noun)) for term, number in terms if number]

        def chosen(term: str | None) -> None:
            if term == "":
                self._look("", 0)
            elif term is not None:
                self._look(" ".join(part for part in have if part != term) if term in have else " ".join([*have, term]), 0)

        self.app.push_screen(Choose("Add a filter, or take it away again", choices, width=40), chosen)

    def action_show_all(self) -> None:
        """Stop a search; else take the filter away; else the marks."""
        if self.working:
            self.working.set()
            self.doing, self.stops = "Stopping", False
            self._summarise()
        elif self.doing:
            self.stop.set()
            self.doing, self.asked = "", (self.wanted, None)
            self._summarise()
        elif self.wanted:
            self._look("", 0)
        elif self.marked:
            self._unmark()

    def action_go_to(self) -> None:
        if self.refused("go_to"):
            return
        table = self.query_one(Table)

        def problem(text: str) -> str:
            number = text.strip().replace(",", "")
            return "" if number.isdecimal() and 1 <= int(number) <= len(table.rows) else f"Give a number from 1 to {len(table.rows):,}."

        def asked(text: str | None) -> None:
            if text is not None:
                table.go(int(text.strip().replace(",", "")) - 1)

        self.app.push_screen(Ask(f"Go to row number (of {len(table.rows):,})", check=problem), asked)

    # Marks

    def action_mark(self) -> None:
        table = self.query_one(Table)
        if not self.refused("mark") and table.key:
            self.marked ^= {table.key}
            self._marks_changed()
            table.action_move(1)

    def action_mark_all(self) -> None:
        if self.refused("mark_all") or self.index is None:
            return
        window, index = self.query_one(Table).rows, self.index
        if self.marked or not isinstance(window, Window):
            self._unmark()
            return

        def read() -> list[str]:
            return index.ids_at([window.key(i) for i in range(len(window))])

        def take(ids: list[str]) -> None:
            self.marked.update(ids)
            self._marks_changed()

        self.in_background(read, take)

    def _unmark(self) -> None:
        self.marked.clear()
        self._marks_changed()

    def _marks_changed(self) -> None:
        window = self.query_one(Table).rows
        if isinstance(window, Window):
            window.marked = self.marked
        self.query_one(Table).refresh()
        self._summarise()

    def _meant(self) -> list[str]:
        """Ids of the marked rows, else of the one under the cursor."""
        key = self.query_one(Table).key
        return list(self.marked) if self.marked else [key] if key else []

    # Changes

    def _change(self, work: Callable[[Progress], str], on: bool = False) -> None:
        """Do it in the background, then show what became of it; ``on``: with the cursor one row further."""
        if self.index is None:
            return
        table = self.query_one(Table)
        cursor = min(table.cursor + (on and not self.marked), max(0, len(table.rows) - 1))
        window = table.rows
        before = self.index.layout
        progress = self._progress(threading.Event(), stops=False)

        def done(told: str) -> None:
            self.doing = ""
            self.marked.clear()
            if told:
                self.say(done_in_words(told))
            # As long as no row has moved, what was found stays on screen, even if the filter no longer means it: one goes on from there.
            if isinstance(window, Window) and self.index is not None and list(self.index.layout.starts) == list(before.starts) and self.found:
                window.drawn.clear()
                window.layout, self.seen = self.index.layout, self.index.version
                table.read_again()
                table.go(cursor)
                self.on_table_moved()
                self._recount()
            else:
                self._look(self.wanted, cursor)

        def cannot(sentence: str) -> None:
            self.doing = ""
            self.say(sentence, bad=True)
            self._look(self.wanted, cursor)

        self.in_background(lambda: work(progress), done, cannot)

    def _recount(self) -> None:
        index, editor = self.index, self.editor
        assert index is not None

        def take(read: tuple[Counts, str]) -> None:
            if self.found is not None:
                self.found = self.found._replace(counts=read[0], last=read[1])
                self._summarise()
                self.redraw_keys()

        self.in_background(lambda: (index.counts(), editor.last()), take, quiet=True)

    def action_accept(self) -> None:
        self._judge("accept", ACCEPTED)

    def action_reject(self) -> None:
        self._judge("reject", REJECTED)

    def _judge(self, action: str, state: str) -> None:
        """Give the rows that state; rows that all have it lose it."""
        if self.refused(action):
            return
        ids, editor = self._meant(), self.editor
        table = self.query_one(Table)
        row = table.rows[table.cursor] if len(table.rows) else None
        sign = {ACCEPTED: "✓", REJECTED: "✗"}[state]
        has = row is not None and not self.marked and sign in str(row.cells[0][0])
        self._change(lambda progress: editor.judge(ids, "" if has else state, progress), on=not has)

    def action_tag(self) -> None:
        if self.refused("tag"):
            return
        ids, editor = self._meant(), self.editor

        def asked(text: str | None) -> None:
            if text:
                add, remove = words_of_tags(text)
                self._change(lambda progress: editor.tag(ids, add, remove, progress))

        known = ", ".join(name for name, _ in self.found.counts.tags[:12]) if self.found else ""
        hint = "Words are given, -words taken away." + (f" There are: {known}" if known else "")
        self.app.push_screen(Ask(f"Tags for {count(len(ids), self.noun)}", hint=hint), asked)

    def action_undo(self) -> None:
        if not self.refused("undo"):
            editor = self.editor
            self._change(lambda progress: f"Undone: {editor.undo()}")

    def action_redo(self) -> None:
        if not self.refused("redo"):
            editor = self.editor
            self._change(lambda progress: f"Done again: {editor.redo()}")

    # One row

    def selected(self) -> tuple[Window[R], int] | None:
        table = self.query_one(Table)
        return (table.rows, table.cursor) if isinstance(table.rows, Window) and len(table.rows) else None

    def screen_of(self, window: Window[R], index: int, editing: bool) -> OneRow[R]:
        """The screen on which that row is read; ``editing``: what is mended most of it is open to be written."""
        raise NotImplementedError

    def action_read(self) -> None:
        if not self.refused("read"):
            self._open(editing=False)

    def action_edit(self) -> None:
        if not self.refused("edit"):
            self._open(editing=True)

    def _open(self, editing: bool) -> None:
        """The row under the cursor; coming back, the cursor stands on the one that was left."""
        if at := self.selected():
            self.opened = self.screen_of(*at, editing)
            self.app.push_screen(self.opened)


def _filter_problem(text: str) -> str:
    try:
        parse(text)
    except StudioError as error:
        return str(error)
    return ""


def _quoted(name: str) -> str:
    """A source's name as a filter can say it: up to its first space or comma."""
    return next((part for _, part in ((k, "".join(g)) for k, g in groupby(name, lambda c: c in ' ",') if not k)), name)
