"""Rows and replies that are like others."""

from __future__ import annotations

from collections.abc import Sequence

from studio.dialogue.checks.base import Check, Context, Examiner, about, hers
from studio.dialogue.flags import Flag
from studio.dialogue.store import Row
from studio.near import clusters, likeness
from studio.text import normal


def text_to_compare(row: Row) -> str:
    """What a row is compared by: all turns but the system's, which many rows share."""
    return "\n".join(m.content for m in row.messages if m.role != "system")


class _NearDuplicate(Examiner):
    """Of rows that are like each other the first passes."""

    times = 2

    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.least, self.context = check.name, context.threshold(check), context
        self.texts: list[str] = []
        self.first: dict[int, int] = {}
        self.kept: dict[int, tuple[str, str]] = {}

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        text = text_to_compare(row)
        if time == 1:
            self.texts.append(text)
            return ()
        if index in self.kept:
            self.kept[index] = (row.id, text)
        first = self.first.get(index, index)
        if first == index:
            return ()
        identity, other = self.kept[first]
        alike = likeness(text, other)
        how = f"{alike:.0%} like {identity}" if alike >= self.least else f"in one group with {identity} by rows that are like both"
        return [Flag(self.name, how, round(alike, 3), other=identity)]

    def seen(self, time: int) -> None:
        if time > 1:
            return
        for group in clusters(self.texts, self.least, self.context.progress):
            self.kept[group[0]] = ("", "")
            self.first.update((index, group[0]) for index in group[1:])
        self.texts.clear()

    def remarks(self) -> Sequence[str]:
        return [f"{len(self.kept):,} groups of rows that are like each other"] if self.kept else ()


class _SoftDuplicate(Examiner):
    """The same reply, or nearly, to prompts that differ. Very short ones are said to everyone."""

    times = 2
    SHORT = 20
    ALIKE = 0.85

    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.least, self.context = check.name, context.threshold(check), context
        self.number_of: dict[str, int] = {}
        self.replies: list[str] = []
        self.rows_of: list[list[int]] = []
        self.group_of: dict[int, int] = {}
        self.rows_in: dict[int, int] = {}

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        found = []
        for message, text in hers(row):
            if len(text) < self.SHORT and len(text.encode()) < 1.5 * self.SHORT:
                continue
            if time == 1:
                number = self.number_of.setdefault(normal(text), len(self.replies))
                if number == len(self.replies):
                    self.replies.append(text)
                    self.rows_of.append([])
                rows = self.rows_of[number]
                if not rows or rows[-1] != index:
                    rows.append(index)
            elif (rows_in := self.rows_in.get(self.group_of[self.number_of[normal(text)]], 0)) >= self.least:
                found.append(Flag(self.name, f"this reply, or nearly, stands in {rows_in:,} rows: {about(text)}", rows_in, message))
        return found

    def seen(self, time: int) -> None:
        if time > 1:
            return
        self.group_of = {number: number for number in range(len(self.replies))}
        for group in clusters(self.replies, self.ALIKE, self.context.progress):
            self.group_of.update((number, group[0]) for number in group)
        rows: dict[int, set[int]] = {}
        for number, group_number in self.group_of.items():
            rows.setdefault(group_number, set()).update(self.rows_of[number])
        self.rows_in = {number: len(each) for number, each in rows.items()}
        self.replies.clear()
        self.rows_of.clear()


CHECKS = (
    Check(
        "near-duplicate",
        "rows that are nearly the same as an earlier one",
        0.7,
        "likeness (Jaccard of 5-grams of characters); from it on",
        "MinHash practice (0.7 in CCNet's successors and datatrove's examples); 25 bands of 5 find 99 of 100 there",
        _NearDuplicate,
    ),
    Check(
        "soft-duplicate",
        "one reply given to many prompts",
        3,
        "rows with the same reply or one 85% like it; from it on",
        "our own: a refrain may stand twice",
        _SoftDuplicate,
    ),
)
