"""The frozen builds of one kind of material, the newest first, and what each holds: its data card where it has one."""

from __future__ import annotations

import time
from typing import NamedTuple

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.widgets import Static

from studio.jobs.runs import all_runs
from studio.persona.folder import Persona
from studio.snapshots import Snapshot, all_snapshots, card_of
from studio.text import count
from studio.tui.base import StudioScreen, with_escape
from studio.tui.look import Line, ago, content, fit
from studio.tui.screens.reader import ReaderScreen
from studio.tui.table import Column, Row, Table

WIDEST = 48
"""Cells of a column of a card at most."""

SPLITS = {"rows": "by chance", "time": "the newest", "source": "sources", "group": "groups"}


class Frozen(NamedTuple):
    snapshot: Snapshot
    age: str
    runs: list[str]
    """Ids of the runs that read it."""


class SnapshotsScreen(StudioScreen):
    rows_of = "snapshots"
    BINDINGS = with_escape("snapshots")

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.found: dict[str, Frozen] = {}

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Table(
            [
                Column("snapshot", 24),
                Column("made", 9, keep=6),
                Column("to train on", 11, right=True),
                Column("held out", 8, right=True, keep=8),
                Column("tokens", 11, right=True, keep=5),
                Column("held out are", 12, keep=3),
                Column("read by", 0, least=12, keep=4),
            ],
            empty="Reading …",
        )

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def refresh_data(self) -> None:
        persona, kind = self.persona, self.kind
        self.in_background(lambda: gather(persona, kind), self._show)

    def _show(self, found: list[Frozen]) -> None:
        self.found = {one.snapshot.id: one for one in found}
        table = self.query_one(Table)
        table.say(f"No snapshot of the {self.kind} yet: q, then b builds one.")
        table.fill([row_of(one) for one in found])
        told = f"{count(len(found), 'snapshot')} of the {self.kind}; a run reads the newest, unless told otherwise"
        self.query_one("#summary", Static).update(content([(told, "muted")] if found else " "))

    def why_not(self, action: str) -> str:
        return "There is no snapshot yet." if action == "read" and not self.found else ""

    def action_read(self) -> None:
        if not self.refused("read"):
            one, persona = self.found[self.query_one(Table).key or ""], self.persona
            self.app.push_screen(ReaderScreen([(one.snapshot.id, "strong"), (f"   {one.age}", "muted")], lambda: told_of(one.snapshot, persona)))


def gather(persona: Persona, kind: str) -> list[Frozen]:
    read_by: dict[str, list[str]] = {}
    for run in all_runs(persona):
        read_by.setdefault(run.inputs.snapshot, []).append(run.id)
    return [Frozen(found, _age(persona, found), read_by.get(found.id, [])) for found in reversed(all_snapshots(persona, kind))]


def row_of(one: Frozen) -> Row:
    found = one.snapshot
    split = SPLITS.get(found.card.get("split", {}).get("by", ""), "") if found.card else ""
    tokens = f"{found.train_tokens:,}" if found.train_tokens is not None else ""
    return Row(
        found.id,
        (
            found.id,
            (one.age, "muted"),
            f"{found.train_rows:,}",
            f"{found.val_rows:,}",
            tokens,
            (split, "muted"),
            (", ".join(reversed(one.runs)), "plain"),
        ),
    )


def told_of(snapshot: Snapshot, persona: Persona) -> list[Line]:
    """Its data card; of one without a card (lore, or built before there were cards) its counts."""
    card = card_of(persona, snapshot)
    return card_lines(card) if card else snapshot_lines(snapshot, persona)


def _age(persona: Persona, snapshot: Snapshot) -> str:
    age = ago(max(0.0, time.time() - (persona.snapshots / snapshot.id).stat().st_mtime))
    return age if age == "now" else f"{age} ago"


def snapshot_lines(snapshot: Snapshot, persona: Persona) -> list[Line]:
    """One snapshot in words."""
    age = _age(persona, snapshot)

    def side(rows: int, characters: int, tokens: int | None) -> str:
        return f"{rows:,} rows, {characters:,} characters, {f'{tokens:,} tokens' if tokens is not None else 'tokens unknown (the base is not here)'}"

    lines: list[Line] = [
        [(snapshot.id, "strong"), (f"   {age}", "muted")],
        [("  train     ", "muted"), (side(snapshot.train_rows, snapshot.train_characters, snapshot.train_tokens), "plain")],
        [("  held out  ", "muted"), (side(snapshot.val_rows, snapshot.val_characters, snapshot.val_tokens), "plain")],
    ]
    lines += [[("            ", "muted"), (f"{n:,} {what}", "plain")] for what, n in snapshot.notes.items() if n]
    return [*lines, ""]


def card_lines(card: str) -> list[Line]:
    """A data card to be read in a terminal: its tables in columns, its headings marked."""
    lines: list[Line] = []
    table: list[list[str]] = []
    for line in [*card.split("\n"), ""]:
        if line.startswith("|"):
            if set(line) - set("|-: "):
                table.append([cell.strip().replace("\\|", "|").replace("\0", "|") for cell in line.replace("\\|", "\0").strip("|").split("|")])
            elif not line.strip("| "):
                table.append([""])
            continue
        if table:
            lines += _columns(table)
            table = []
        if line.startswith("#"):
            lines.append([(line.lstrip("# "), "strong")])
        elif line.startswith("* "):
            lines.append([("  · ", "muted"), (line[2:], "plain")])
        else:
            lines.append(line.replace("`", ""))
    return lines


def _columns(table: list[list[str]]) -> list[Line]:
    number = max(map(len, table))
    rows = [row + [""] * (number - len(row)) for row in table]
    widths = [min(WIDEST, max(cell_len(row[i]) for row in rows)) for i in range(number)]
    return [
        [
            (f"  {fit(row[0], widths[0])}", "plain" if at else "muted"),
            *((f"   {fit(cell, width, True)}", "plain" if at else "muted") for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        for at, row in enumerate(rows)
    ]
