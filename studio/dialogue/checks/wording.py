"""Words that are not hers: assistants, models, phrases that stand everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Any

from studio.dialogue.checks.base import ByMessage, Check, Context, Examiner, hers
from studio.dialogue.flags import Flag
from studio.dialogue.store import Row
from studio.phrases import ASSISTANT, REFUSAL, SLOP, Phrases
from studio.text import joined_units, units

_LISTS = {
    "assistant-speak": (ASSISTANT, "an assistant speaks: {}"),
    "refusal": (REFUSAL, "a model refuses: {}"),
    "slop": (SLOP, "overused by models: {}"),
}


class _Stock(ByMessage):
    def __init__(self, check: Check, context: Context) -> None:
        super().__init__(check, context)
        phrases, self.what = _LISTS[check.name]
        more = context.settings.phrases if check.name == "slop" else ()
        self.phrases = Phrases(phrases, context.languages, more)

    def find(self, text: str) -> Sequence[tuple[int, int, str]]:
        return [(start, stop, self.what) for start, stop in self.phrases.find(text)]


GRAM = 4
"""Words of a run that is looked for (characters of Han and kana count as half a word each)."""

LEAST_ROWS = 5
"""Runs in fewer rows are nobody's habit yet."""

MOST_RUNS = 200
"""Runs told at most: those in the most rows."""

_TABLE = 1 << 22


class _Overused(Examiner):
    """The first look counts hashes of runs in a table of fixed size, the second the runs themselves that can reach the threshold, the third
    says where they are. So the memory does not grow with the material, and no run that reaches the threshold is missed."""

    times = 3

    def __init__(self, check: Check, context: Context) -> None:
        import numpy as np

        self.name, self.share = check.name, context.threshold(check)
        self.table: Any = np.zeros(_TABLE, np.uint32)
        self.rows = 0
        self.least = 0
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.told: dict[tuple[str, ...], tuple[str, int]] = {}
        """By the run: the whole phrase it is part of, and the rows it stands in."""

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        runs = _runs(row)
        if time == 1:
            import numpy as np

            self.rows += 1
            places = {hash(run) & (_TABLE - 1) for run in runs}
            self.table[np.fromiter(places, np.int64, len(places))] += 1
            return ()
        if time == 2:
            self.counts.update(run for run in runs if self.table[hash(run) & (_TABLE - 1)] >= self.least)
            return ()
        return [
            Flag(self.name, f"“{told[0]}” stands in {told[1]:,} rows of {self.rows:,}", round(told[1] / self.rows, 4), number)
            for run, number in runs.items()
            if (told := self.told.get(run))
        ]

    def seen(self, time: int) -> None:
        self.least = max(LEAST_ROWS, ceil(self.share * self.rows))
        if time == 2:
            left = {run: rows for run, rows in self.counts.items() if rows >= self.least}
            self.counts.clear()
            for run, rows in sorted(left.items(), key=lambda item: (-item[1], item[0])):
                if len(self.told) == MOST_RUNS:
                    break
                if run in left:
                    self.told[run] = (joined_units(_grown(run, rows, left)), rows)

    def remarks(self) -> Sequence[str]:
        return [f"“{phrase}” in {rows:,} rows" for phrase, rows in self.told.values()]


def _grown(run: tuple[str, ...], rows: int, left: dict[tuple[str, ...], int]) -> list[str]:
    """The phrase that a run is part of: runs that go on from it in about as many rows, taken out of ``left``."""
    by_beginning: dict[tuple[str, ...], tuple[str, ...]] = {}
    by_end: dict[tuple[str, ...], tuple[str, ...]] = {}
    for other, times in left.items():
        if rows - times <= rows // 5:
            by_beginning.setdefault(other[:-1], other)
            by_end.setdefault(other[1:], other)
    phrase = list(run)
    left.pop(run)
    for step, table in ((1, by_beginning), (-1, by_end)):
        at = run
        while (at := table.get(at[1:] if step > 0 else at[:-1], ())) and at in left:
            left.pop(at)
            if step > 0:
                phrase.append(at[-1])
            else:
                phrase.insert(0, at[0])
    return phrase


def _runs(row: Row) -> dict[tuple[str, ...], int]:
    """The runs of her turns in this row, each with the message it first stands in."""
    found: dict[tuple[str, ...], int] = {}
    for number, text in hers(row):
        cut = units(text)
        unspaced = sum(len(unit) == 1 and unit > "\u2fff" for unit in cut) * 2 > len(cut)
        length = GRAM * 2 if unspaced else GRAM
        for at in range(len(cut) - length + 1):
            found.setdefault(tuple(cut[at : at + length]), number)
    return found


CHECKS = (
    Check(
        "assistant-speak",
        "an assistant's stock sentences in her replies",
        1,
        "such phrases in a row; from it on",
        "word lists of ShareGPT-Vicuna and WizardLM unfiltered, other languages read after them",
        _Stock,
    ),
    Check("refusal", "a model's refusals in her replies", 1, "such phrases in a row; from it on", "the same lists", _Stock),
    Check(
        "slop",
        "words that models overuse",
        2,
        "such phrases in a row; from it on",
        "lists of slop-forensics and antislop, Kobak et al. 2025; people use one now and then, so one passes",
        _Stock,
    ),
    Check(
        "overused",
        "runs of four words that stand in too many rows",
        0.02,
        "share of the rows, and at least five; from it on",
        "our own: one row in fifty; her catchphrases are among them, and may be wanted",
        _Overused,
    ),
)
