"""Rows that a language model gave low marks: read from what it said when it was asked (``studio dialogue judge``), never asked here."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from studio.dialogue.checks.base import Check, Context, Examiner
from studio.dialogue.flags import Flag, text_of
from studio.dialogue.judging import means
from studio.dialogue.store import Row


class _Opinion(Examiner):
    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.bound = check.name, context.threshold(check)
        self.scale = check.name.removeprefix("judge-")
        if context.marks is None:
            context.marks = means(context.persona)
        self.known = {key: marks[self.scale] for key, marks in context.marks.items()}
        self.values: list[float] = []

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        mark = self.known.get((row.id, text_of(row))) if self.known else None
        if mark is None:
            return ()
        self.values.append(mark)
        return [Flag(self.name, f"{self.scale}: {mark:g} of 10", mark)] if mark <= self.bound else ()

    def remarks(self) -> Sequence[str]:
        if not self.values:
            return ["no row was judged as it is now; have it done with: studio dialogue judge --url URL --model NAME"]
        return [f"{len(self.values):,} rows judged, median {median(self.values):g}"]


CHECKS = tuple(
    Check(
        f"judge-{scale}",
        f"rows whose {what} a judge finds poor",
        4,
        "mark from 1 to 10, the mean of all judges; up to it",
        "the role-play community's three scales; 5 is ordinary",
        _Opinion,
    )
    for scale, what in (("vocabulary", "vocabulary"), ("prose", "prose"), ("context", "use of context"))
)
