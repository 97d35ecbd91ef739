"""Replies in a language that she does not speak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from studio.dialogue.checks.base import Check, Context, Examiner, about, hers
from studio.dialogue.flags import Flag
from studio.dialogue.store import Row
from studio.lore.languages import name_of, surer


class _Language(Examiner):
    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.least = check.name, context.threshold(check)
        self.expected = context.languages
        self.others: Counter[str] = Counter()

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        if not self.expected:
            return ()
        found = []
        for number, text in hers(row):
            code, margin = surer(text, self.expected)
            if code and code not in self.expected and margin >= self.least:
                self.others[code] += 1
                found.append(Flag(self.name, f"{name_of(code)}: {about(text)}", round(margin, 1), number))
        return found

    def remarks(self) -> Sequence[str]:
        known = ", ".join(name_of(code) for code in self.expected)
        if not self.expected:
            return ['there is too little text to tell which languages she speaks; name them in checks.toml: languages = ["en"]']
        return [f"expected: {known}" + "".join(f"; {name_of(code)} {times:,} times" for code, times in self.others.most_common(8))]


CHECKS = (
    Check(
        "language",
        "replies in a language she does not speak",
        10,
        "how much surer (natural log) the other language is than hers; from it on",
        "calibrated on sentences of 15 to 40 letters; under 15 there is no verdict",
        _Language,
    ),
)
