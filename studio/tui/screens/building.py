"""Building the dialogue: by what it can be split is asked where there is a choice; the data card is shown afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from studio.dialogue.build import Plan, build, plan_of
from studio.persona.folder import Persona
from studio.snapshots import Snapshot
from studio.text import count
from studio.tui.dialogs import Choice, Choose
from studio.tui.look import Line
from studio.tui.screens.reader import ReaderScreen
from studio.tui.screens.snapshots import told_of

if TYPE_CHECKING:
    from studio.dialogue.index import Counts, RowIndex
    from studio.dialogue.store import Row
    from studio.progress import Progress
    from studio.tui.screens.dialogue import DialogueScreen


class Ways(NamedTuple):
    plan: Plan
    choices: list[Choice]
    """Splits that make sense for this dialogue."""


def ways(persona: Persona, index: RowIndex[Row]) -> Ways:
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
            return snapshot, told_of(snapshot, persona)

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
