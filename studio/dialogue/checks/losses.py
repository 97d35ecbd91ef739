"""Rows that the base knows already, and rows that are nothing like what it knows: by the loss training would begin with."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from studio.dialogue.checks.base import Check, Context, Examiner
from studio.dialogue.flags import Flag, text_of
from studio.dialogue.store import Row
from studio.dialogue.surprise import measure

FEW_TOKENS = 8
"""A mean over fewer tokens says nothing."""


class _Loss(Examiner):
    times = 2

    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.bound = check.name, context.threshold(check)
        self.known = measure(context.persona, context.rows(), context.engine, context.progress)
        self.values: list[float] = []
        self.unscored = 0
        self.middle = self.spread = 0.0

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        one = self.known.get((row.id, text_of(row)))
        if one is None or one.nats < 0 or one.tokens < FEW_TOKENS:
            self.unscored += time == 1
            return ()
        if time == 1:
            self.values.append(one.nats)
            return ()
        usual = f"{one.nats:.2f} nats a token, {self.middle:.2f} is usual here"
        if self.name == "low-loss":
            return [Flag(self.name, f"the base knows this already: {usual}", round(one.nats, 3))] if one.nats <= self.bound else ()
        away = (one.nats - self.middle) / self.spread if self.spread else 0.0
        return [Flag(self.name, f"far from all the base knows: {usual}", round(away, 2))] if away >= self.bound else ()

    def seen(self, time: int) -> None:
        if time == 1 and self.values:
            self.middle = median(self.values)
            self.spread = 1.4826 * median(abs(value - self.middle) for value in self.values)

    def remarks(self) -> Sequence[str]:
        told = [f"median {self.middle:.2f} nats a token over {len(self.values):,} rows, spread {self.spread:.2f} (1.48 times the median deviation)"]
        if self.unscored:
            told.append(f"{self.unscored:,} rows could not be scored: longer than the engine reads, refused by the template, or hardly any words")
        return told


CHECKS = (
    Check(
        "low-loss",
        "rows the base knows already",
        0.8,
        "nats per learned token of the base; up to it",
        "our own: chat costs an untrained base 2 to 4 nats a token, what it can recite below one (Marion et al. 2023 keep the middle)",
        _Loss,
        asked_only=True,
    ),
    Check(
        "high-loss",
        "rows that are like nothing the base knows",
        4,
        "robust standard deviations above the median; from it on",
        "usual for outliers; noise, broken text and other languages stand there (Marion et al. 2023)",
        _Loss,
        asked_only=True,
    ),
)
