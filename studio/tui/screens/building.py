"""Building the dialogue: by what it can be split is asked where there is a choice; the data card is shown afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from studio.dialogue.build import Plan, build, plan_of
from studio.persona.folder import Persona
from studio.snapshots import Snapshot
from studio.text import count
from studio.tui.dialogs import Choice, Choose
from studio.tui.look import Line, fit
from studio.tui.screens.material import snapshot_lines
from studio.tui.screens.reader import ReaderScreen

if TYPE_CHECKING:
    from studio.dialogue.index import Counts, Index, Progress
    from studio.tui.screens.dialogue import DialogueScreen

WIDEST = 48
"""Cells of a column of the card at most."""


class Ways(NamedTuple):
    plan: Plan
    choices: list[Choice]
    """Splits that make sense for this dialogue."""


def ways(persona: Persona, index: Index) -> Ways:
    """How the dialogue may be split as it is now. StudioError if the persona's plan of a build is not valid."""
    index.refresh()
    return Ways(plan_of(persona), choices(index.counts(), index.timed(), len(index)))


def choices(counts: Counts, timed: int, whole: int) -> list[Choice]:
    """A row's time, source or group is worth asking about only if more than one of them is known."""
    groups = [name for name, _ in counts.tags if name.startswith("group:")]
    found = [Choice("rows", "rows by chance", "Rows drawn by a seeded hash; what shares turns or is nearly the same stays on one side.")]
    if timed > 1:
        known = "" if timed == whole else f" {timed:,} of {count(whole, 'row')} know when they were said; the others are trained on."
        found.append(Choice("time", "the newest", f"The newest rows are held out: does she hold up in what comes later?{known}"))
    if len(counts.sources) > 1:
        found.append(Choice("source", "whole sources", f"Some of {len(counts.sources):,} sources are held out whole: does she carry over to others?"))
    if groups:
        found.append(Choice("group", "whole groups", f"Rows with one tag group:… ({count(len(groups), 'group')}) stay on one side."))
    return found


def begin(screen: DialogueScreen) -> None:
    """Ask what has to be asked, build, show the card."""
    persona, index = screen.persona, screen.index
    assert index is not None

    def asked(found: Ways) -> None:
        if len(found.choices) == 1:
            freeze(found.plan.split)
            return
        ratios = ", ".join(f"{name} {share:.0%}" for name, share in found.plan.mix.items())
        question: Line = [(f"What is held out? {found.plan.val:.0%} of the rows, seed {found.plan.seed}", "plain")]
        if ratios:
            question = [*question, (f"; ratios: {ratios}", "muted")]
        screen.app.push_screen(Choose(question, found.choices, at=found.plan.split), lambda split: freeze(split) if split else None)

    def freeze(split: str) -> None:
        def job(progress: Progress) -> tuple[Snapshot, list[Line]]:
            snapshot = build(persona, split=split, progress=progress)
            card = persona.snapshots / snapshot.id / "card.md"
            # A snapshot that was built before cards were written has none.
            told = card_lines(card.read_text(encoding="utf-8")) if card.is_file() else snapshot_lines(snapshot, persona)
            return snapshot, told

        screen.work("Building", job, built, "no snapshot was made")

    def built(made: tuple[Snapshot, list[Line]]) -> None:
        snapshot, told = made
        screen.refresh_data()
        head: list[Line] = [
            [(f"snapshots/{snapshot.id}/card.md", "muted")],
            [("Train on it: key 4, then ", "muted"), ("s", "accent")],
            "",
        ]
        screen.app.push_screen(ReaderScreen([("✓ ", "good"), ("The dialogue is frozen", "strong")], lambda: [*head, *told]))

    screen.in_background(lambda: ways(persona, index), asked)


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
