"""Screen 3: the dialogue, row by row; only the rows on screen are read. Filtered, judged, tagged, edited, merged, each by a key."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from studio.dialogue.editing import Editor
from studio.dialogue.filtering import HELP, parse
from studio.dialogue.flags import Flag, flags_of, stamp
from studio.dialogue.index import Counts, Index, Progress
from studio.dialogue.store import ACCEPTED, REJECTED
from studio.dialogue.store import Row as Conversation
from studio.errors import StudioError
from studio.lore.languages import spoken
from studio.persona.folder import Persona
from studio.snapshots import Snapshot, all_snapshots
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.base import T
from studio.tui.dialogs import Ask, Choice, Choose, Confirm
from studio.tui.look import Line, Span, content
from studio.tui.pager import Pager
from studio.tui.screens.material import MaterialScreen
from studio.tui.table import Column, Row, Table

if TYPE_CHECKING:
    from studio.tui.screens.conversation import ConversationScreen

STOPPED = "Stopped."
SIDE_BY_SIDE = 132
"""Columns from which on the conversation under the cursor is shown beside the table."""

CHANGES = ("accept", "reject", "tag", "edit", "merge", "delete", "undo", "redo", "split", "edit_all")
"""Actions that change rows."""


class Found(NamedTuple):
    """What a look at the dialogue gave."""

    keys: Any
    """Keys of the rows that are meant; None: all."""
    counts: Counts
    snapshots: list[Snapshot]
    flags: dict[str, list[Flag]]
    last: str
    """What undo would take back."""


class Window(Sequence[Any]):
    """Rows of the table, by index; None where nothing was read yet."""

    def __init__(self, lookup: Index, wanted: str, keys: Any, flags: dict[str, list[Flag]], marked: set[str]) -> None:
        self.lookup, self.wanted, self.keys, self.flags, self.marked = lookup, wanted, keys, flags, marked
        self.layout = lookup.layout
        self.drawn: dict[int, Row] = {}

    def __len__(self) -> int:
        return self.layout.size if self.keys is None else len(self.keys)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self.drawn.get(index)
        if row is not None and row.key in self.marked:
            signs = row.cells[0]
            text, kind = signs if isinstance(signs, tuple) else (signs, "plain")
            return row._replace(cells=(("◉" + text[:2], "accent" if kind == "plain" else kind), *row.cells[1:]))
        return row

    def key(self, index: int) -> int:
        return self.layout.key(index) if self.keys is None else int(self.keys[index])

    def renew(self, identity: str, otherwise: int) -> int:
        """Find the rows again after some were moved; where the row with that id is now, else the one at ``otherwise``."""
        self.keys = self.lookup.find(parse(self.wanted))
        self.layout = self.lookup.layout
        self.drawn.clear()
        key = self.lookup.keys_of([identity]).get(identity)
        if key is None:
            return max(0, min(otherwise, len(self) - 1))
        at = self.layout.before(key) if self.keys is None else bisect_left(self.keys, key)
        return max(0, min(at, len(self) - 1))

    def row(self, index: int) -> Conversation:
        """The conversation there. StudioError if it cannot be read."""
        (row,) = self.lookup.read([self.key(index)])
        if isinstance(row, StudioError):
            raise row
        return row

    def read(self, first: int, number: int) -> dict[int, Row]:
        wanted = range(max(0, first), min(first + number, len(self)))
        rows = self.lookup.read([self.key(i) for i in wanted])
        return {i: self.drawn_row(row) for i, row in zip(wanted, rows, strict=True)}

    def drawn_row(self, row: Conversation | StudioError) -> Row:
        if isinstance(row, StudioError):
            return Row("", (("✗", "bad"), "", "", "", ("damaged: Enter says where", "bad")))
        return table_row(row, bool(self.flags.get(row.id)))


def signs(row: Conversation, flagged: bool) -> str:
    """What is known of a row: ✓ accepted, ✗ rejected, ✎ edited, ⚙ written by a model, ⚑ flagged by a check."""
    state = {ACCEPTED: "✓", REJECTED: "✗"}.get(row.state, "")
    return state + ("⚑" if flagged else "") + ("✎" if row.edited else "") + ("⚙" if row.made else "")


def table_row(row: Conversation, flagged: bool = False) -> Row:
    said = next((m.content for m in row.messages if m.role == "user"), "")
    answer = next((m.content for m in row.messages if m.role == "assistant"), "")
    kind = {ACCEPTED: "good", REJECTED: "muted"}.get(row.state, "warn" if flagged else "plain")
    text = "muted" if row.state == REJECTED else "plain"
    return Row(
        row.id,
        (
            (signs(row, flagged)[:3], kind),
            (row.id, text),
            (str(len(row.replies)), text),
            (spoken(" ".join(row.replies)[:400]), "muted"),
            (said[:300], text),
            (answer[:300], "muted"),
            (" ".join(row.tags), "accent"),
            (f"{row.source}:{row.line}" if row.line else row.source, "muted"),
        ),
    )


def provenance(row: Conversation) -> Line:
    """Where a conversation came from and what became of it, in one line."""
    parts: list[Span] = [(f"{row.source}:{row.line}" if row.line else row.source or "no source", "muted")]
    if row.time:
        parts.append((f" · {row.time[:16].replace('T', ' ')}", "muted"))
    for is_so, word, kind in (
        (row.state == ACCEPTED, "✓ accepted", "good"),
        (row.state == REJECTED, "✗ rejected: never built", "bad"),
        (bool(row.made), f"⚙ {row.made}: written by a model", "warn"),
        (row.edited, "✎ edited by hand", "plain"),
    ):
        if is_so:
            parts += [(" · ", "muted"), (word, kind)]
    if row.of:
        parts.append((f" · from {', '.join(row.of[:4])}{'…' if len(row.of) > 4 else ''}", "muted"))
    if row.tags:
        parts += [(" · ", "muted"), (" ".join(row.tags), "accent")]
    return parts


def conversation_turns(persona: Persona, row: Conversation, flags: Sequence[Flag] = ()) -> list[list[Line]]:
    """A conversation to be read, turn by turn: who says what, and under it what a check found there."""
    names = {"assistant": persona.manifest.character.name, "user": persona.manifest.character.user, "system": "system"}
    turns: list[list[Line]] = []
    for number, message in enumerate(row.messages):
        kind = {"assistant": "accent", "user": "strong"}.get(message.role, "muted")
        lines: list[Line] = [[(message.name or names.get(message.role, message.role), kind)], *message.content.split("\n")]
        lines += [flag_line(flag) for flag in flags if flag.message == number]
        turns.append([*lines, ""])
    return turns


def flag_line(flag: Flag) -> Line:
    return [("⚑ ", "warn"), (f"{flag.check} ", "warn"), (flag.what + (f" ({flag.other})" if flag.other else ""), "muted")]


class DialogueScreen(MaterialScreen):
    rows_of = "dialogue"
    kind = "dialogue"
    noun = "row"
    what_to_add = "chats, role play, scripts or training data: a file, a folder or a zip"
    BINDINGS = bindings_of("dialogue")
    DEFAULT_CSS = """
    DialogueScreen #beside { width: 2fr; border-left: vkey $foreground 20%; display: none; padding: 0 0 0 1; }
    DialogueScreen Table { width: 3fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.index: Index | None = None
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
        self.opened: ConversationScreen | None = None
        """The conversation that was read last; coming back, the cursor stands where it was left."""

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Static(" ", id="filter", classes="line", markup=False)
        with Horizontal():
            yield Table(
                [
                    Column("", 3, keep=8),
                    Column("id", 11, keep=3),
                    Column("turns", 5, right=True, keep=5),
                    Column("lang", 4, keep=4),
                    Column("first words", 0, least=28),
                    Column("her answer", 40, keep=1),
                    Column("tags", 12, keep=2),
                    Column("source", 20, keep=2),
                ],
                empty="Reading …",
            )
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
            self.query_one(Table)._go(self.opened.index)
            self.opened = None
        self._look(*self.asked)

    def _look(self, wanted: str, cursor: int | None = None) -> None:
        """Read what is there, by the filter ``wanted``, and show it with the cursor at that row."""
        persona = self.persona
        if self.index is None:
            self.index = Index(persona)
        index = self.index
        self.stop.set()
        self.stop = stop = threading.Event()
        self.asked = (wanted, cursor)
        before, asked = self.found, parse(wanted)
        progress = self._progress(stop)
        if not self.working:
            self.stops = True

        def look() -> Found | None:
            index.refresh(progress)
            at, version = stamp(persona), index.version
            changed, self.seen = version != self.seen, version
            if before and not changed and wanted == self.wanted and at == self.flagged_at and cursor is None:
                return before._replace(snapshots=all_snapshots(persona, "dialogue"))
            flags = flags_of(persona) if at != self.flagged_at or before is None else before.flags
            self.flagged_at = at
            return Found(index.find(asked, progress), index.counts(), all_snapshots(persona, "dialogue"), flags, Editor(persona, index).last())

        def show(found: Found | None) -> None:
            self.doing = "" if not self.working else self.doing
            if found is None or stop.is_set():
                return
            same = before is not None and found.keys is before.keys and found.counts is before.counts
            self.found, self.wanted, self.asked = found, wanted, (wanted, None)
            if not same or not isinstance(self.query_one(Table).rows, Window):
                self._fill(cursor)
            self._summarise()

        def cannot(sentence: str) -> None:
            self.doing = ""
            if not stop.is_set():
                self.query_one(Table).say(sentence)
                self.say(sentence, bad=True)
                self._summarise()

        self.in_background(look, show, cannot)

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
        table.empty = (
            f"No row is meant by {self.wanted}: / changes the filter, Escape shows all."
            if self.wanted
            else "No dialogue yet. Press a and give a file or a folder."
        )
        if cursor is not None:
            table.rows, table.cursor = (), cursor
        table.fill(Window(self.index, self.wanted, self.found.keys, self.found.flags, self.marked))
        if cursor is not None:
            table._follow()

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
        line: list[Span] = [(f"{self.index.layout.size:,} conversations", "plain")]
        for name, kind in (("accepted", "good"), ("rejected", "bad"), ("edited", "plain"), ("synthetic", "warn")):
            if states[name]:
                sign = {"accepted": "✓ ", "rejected": "✗ ", "edited": "✎ ", "synthetic": "⚙ "}[name]
                # On a narrow screen the signs of the table say it.
                word = f" {name}" if self.size.width >= 100 else ""
                line += [(" · ", "muted"), (sign, kind), (f"{states[name]:,}{word}", "muted")]
        newest = self.found.snapshots[-1] if self.found.snapshots else None
        tokens = f", {newest.train_tokens:,} tokens" if newest and newest.train_tokens is not None else ""
        built = "no snapshot yet: b builds one"
        if newest:
            built = f"{newest.id}: {newest.train_rows:,} + {newest.val_rows:,} rows{tokens if self.size.width >= 100 else ''}"
        line += [(" · ", "muted"), (built, "muted")]
        if not self.doing:
            self.query_one("#summary", Static).update(content(line))
        shown: list[Span] = [("/ ", "accent")]
        if self.wanted:
            shown += [
                (self.wanted, "strong"),
                (f"   {count(len(table.rows), 'row')} of {self.index.layout.size:,}", "muted"),
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
        at = self._selected()
        if not beside.display:
            return
        if at is None:
            beside.show([])
            return
        (window, place), persona = at, self.persona

        def read() -> list[Line]:
            try:
                row = window.row(place)
            except StudioError as error:
                return [[("✗ ", "bad"), (str(error), "plain")]]
            flags = window.flags.get(row.id, [])
            head: list[Line] = [[(row.id, "strong")], provenance(row), *(flag_line(flag) for flag in flags if flag.message < 0), ""]
            return [*head, *(line for turn in conversation_turns(persona, row, flags) for line in turn)]

        def show(lines: list[Line]) -> None:
            if self._selected() == at:
                beside.show(lines, top=True)

        self.in_background(read, show, quiet=True)

    # What the shared actions ask

    def begin_adding(self, paths: list[Path]) -> None:
        from studio.tui.screens.adding import begin

        begin(self, paths)

    def action_build(self) -> None:
        if not self.refused("build"):
            from studio.tui.screens.building import begin

            begin(self)

    def action_check(self) -> None:
        if not self.refused("check"):
            from studio.tui.screens.dialogue_checks import ChecksScreen

            self.app.push_screen(ChecksScreen(self))

    def has_nothing(self) -> bool:
        return self.found is not None and self.index is not None and not len(self.index)

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in CHANGES:
            return "The app was opened to read only."
        if self.working and action in ("add", "build"):
            return "Work is going on: Escape stops it."
        if action == "undo" and self.found is not None:
            return "" if self.found.last else "There is nothing to undo."
        why = super().why_not(action)
        if not why and self.is_mounted and action in (*CHANGES, "read", "preview", "mark", "mark_all", "go_to", "find", "menu"):
            if self.has_nothing():
                return "There is no dialogue yet: press a to add some."
            if action not in ("find", "menu", "undo", "redo") and not len(self.query_one(Table).rows):
                return "No row is shown: Escape shows all." if self.wanted else "The rows are still being read."
        return why

    # Filters

    def action_find(self) -> None:
        if self.refused("find"):
            return

        def asked(text: str | None) -> None:
            if text is not None:
                self._look(" ".join(text.split()), 0)

        hint = "\n".join(f"{what:<14} {means}" for what, means in HELP)
        self.app.push_screen(Ask("Show the rows for which all of this holds", self.wanted, hint=hint, check=_filter_problem), asked)

    def action_menu(self) -> None:
        """Filters there is something for, with how many rows each would show."""
        if self.refused("menu") or self.found is None:
            return
        counts, flags = self.found.counts, self.found.flags
        by_check: dict[str, int] = {}
        for found in flags.values():
            for name in {flag.check for flag in found}:
                by_check[name] = by_check.get(name, 0) + 1
        terms = [
            *((f"is:{name}", number) for name, number in counts.states.items()),
            *((f"flag:{name}", number) for name, number in sorted(by_check.items())),
            *((f"tag:{name}", number) for name, number in counts.tags[:200]),
            *((f"src:{_quoted(name)}", number) for name, number in counts.sources[:500]),
            *((f"lang:{name}", number) for name, number in counts.languages if name),
        ]
        have = self.wanted.split()
        choices = [Choice("", "all", f"{self.index.layout.size if self.index else 0:,} rows")]
        choices += [Choice(term, ("✓ " if term in have else "  ") + term, count(number, "row")) for term, number in terms if number]

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
                table._go(int(text.strip().replace(",", "")) - 1)

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

    def _change(self, work: Callable[[Editor, Progress], str], on: bool = False) -> None:
        """Do it in the background, then show what became of it; ``on``: with the cursor one row further."""
        if self.index is None:
            return
        table = self.query_one(Table)
        cursor = min(table.cursor + (on and not self.marked), max(0, len(table.rows) - 1))
        window, editor = table.rows, Editor(self.persona, self.index)
        before = self.index.layout
        progress = self._progress(threading.Event(), stops=False)

        def done(told: str) -> None:
            self.doing = ""
            self.marked.clear()
            if told:
                self.say(f"{told}. u takes it back." if not told.startswith(("Undone", "Done")) else f"{told}.")
            # As long as no row has moved, what was found stays on screen, even if the filter no longer means it: one goes on from there.
            if isinstance(window, Window) and self.index is not None and list(self.index.layout.starts) == list(before.starts) and self.found:
                window.drawn.clear()
                window.layout, self.seen = self.index.layout, self.index.version
                table._asked = (-1, -1)
                table._go(cursor)
                table.refresh()
                self.on_table_moved()
                self._recount()
            else:
                self._look(self.wanted, cursor)

        def cannot(sentence: str) -> None:
            self.doing = ""
            self.say(sentence, bad=True)
            self._look(self.wanted, cursor)

        self.in_background(lambda: work(editor, progress), done, cannot)

    def _recount(self) -> None:
        index, persona = self.index, self.persona
        assert index is not None

        def take(read: tuple[Counts, str]) -> None:
            if self.found is not None:
                self.found = self.found._replace(counts=read[0], last=read[1])
                self._summarise()
                self.redraw_keys()

        self.in_background(lambda: (index.counts(), Editor(persona, index).last()), take, quiet=True)

    def action_accept(self) -> None:
        self._judge("accept", ACCEPTED)

    def action_reject(self) -> None:
        self._judge("reject", REJECTED)

    def _judge(self, action: str, state: str) -> None:
        """Give the rows that state; rows that all have it lose it."""
        if self.refused(action):
            return
        ids = self._meant()
        table = self.query_one(Table)
        row = table.rows[table.cursor] if len(table.rows) else None
        sign = {ACCEPTED: "✓", REJECTED: "✗"}[state]
        has = row is not None and not self.marked and sign in str(row.cells[0][0])
        self._change(lambda editor, progress: editor.judge(ids, "" if has else state, progress), on=not has)

    def action_tag(self) -> None:
        if self.refused("tag"):
            return
        ids = self._meant()

        def asked(text: str | None) -> None:
            if text:
                words = text.split()
                add, remove = [w.lstrip("+") for w in words if not w.startswith("-")], [w[1:] for w in words if w.startswith("-")]
                self._change(lambda editor, progress: editor.tag(ids, add, remove, progress))

        known = ", ".join(name for name, _ in self.found.counts.tags[:12]) if self.found else ""
        hint = "Words are given, -words taken away." + (f" There are: {known}" if known else "")
        self.app.push_screen(Ask(f"Tags for {count(len(ids), 'row')}", hint=hint), asked)

    def action_merge(self) -> None:
        """The marked rows; without marks, this one and the next."""
        if self.refused("merge"):
            return
        table, ids = self.query_one(Table), list(self.marked)
        window, at = table.rows, table.cursor
        if len(ids) == 1:
            self.say("Mark two rows or more with space, or none: then this one and the next are merged.")
        elif ids:
            self._change(lambda editor, progress: editor.merge(ids)[0])
        elif isinstance(window, Window) and at + 1 < len(window):
            self._change(lambda editor, progress: editor.merge([window.row(at).id, window.row(at + 1).id])[0])
        else:
            self.say("There is no row after this one to merge it with.")

    def action_delete(self) -> None:
        if self.refused("delete"):
            return
        ids = self._meant()

        def answered(yes: bool | None) -> None:
            if yes:
                self._change(lambda editor, progress: editor.remove(ids, progress))

        question = f"Take {count(len(ids), 'row')} out of the dialogue? (x rejects: kept, and never built.)"
        self.app.push_screen(Confirm(question, "delete"), answered)

    def action_undo(self) -> None:
        if not self.refused("undo"):
            self._change(lambda editor, progress: f"Undone: {editor.undo()}")

    def action_redo(self) -> None:
        if not self.refused("redo"):
            self._change(lambda editor, progress: f"Done again: {editor.redo()}")

    # One row

    def _selected(self) -> tuple[Window, int] | None:
        table = self.query_one(Table)
        return (table.rows, table.cursor) if isinstance(table.rows, Window) and len(table.rows) else None

    def action_read(self) -> None:
        if not self.refused("read"):
            self._open(editing=False)

    def action_edit(self) -> None:
        if not self.refused("edit"):
            self._open(editing=True)

    def _open(self, editing: bool) -> None:
        """The conversation under the cursor; coming back, the cursor stands on the one that was left."""
        from studio.tui.screens.conversation import ConversationScreen

        if at := self._selected():
            self.opened = ConversationScreen(*at, editing=editing)
            self.app.push_screen(self.opened)

    def action_preview(self) -> None:
        if not self.refused("preview") and (at := self._selected()):
            from studio.tui.screens.preview import PreviewScreen

            self.app.push_screen(PreviewScreen(*at))


def _filter_problem(text: str) -> str:
    try:
        parse(text)
    except StudioError as error:
        return str(error)
    return ""


def _quoted(name: str) -> str:
    """A source's name as a filter can say it: up to its first space or comma."""
    return next((part for _, part in ((k, "".join(g)) for k, g in groupby(name, lambda c: c in ' ",') if not k)), name)
