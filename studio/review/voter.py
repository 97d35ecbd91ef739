"""The voter: which side and which length they lean to, whether they agree with themselves, and what they say by tag and by language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log2
from statistics import median

import msgspec

from studio.lore.languages import language
from studio.review.ranking import Ranking, counted, rank
from studio.review.shares import Share, share
from studio.review.votes import Vote

FEWEST_FOR_A_FIT = 8
"""Decided votes below which no effect is fitted: its interval would be the prior."""


class Leaning(msgspec.Struct):
    """How often replies of a kind were called best, and what no leaning would give."""

    of: Share
    expected: float
    """The share that chance alone would give: one half for pairs, less where more replies stand side by side."""
    fitted: float | None = None
    """Between two replies of equally strong checkpoints that differ in this alone, the chance of this one. None: too few votes."""
    low: float | None = None
    high: float | None = None
    """95 % interval of ``fitted``."""

    @property
    def leans(self) -> bool:
        """Whether 95 % speak for a leaning; by the fit, which holds strengths apart, where there is one."""
        if self.low is not None and self.high is not None:
            return not self.low <= 0.5 <= self.high
        return bool(self.of.n) and not self.of.low <= self.expected <= self.of.high


class Lengths(msgspec.Struct):
    """Characters of a checkpoint's replies and of those that stood beside them: voters favour long ones."""

    checkpoint: str
    rounds: int
    own: float
    """Median."""
    opponents: float
    """Median."""


class Consistency(msgspec.Struct):
    """Rounds that were shown once more with their sides turned."""

    same: Share
    """The same reply called best, or the same tie or both bad."""
    turned: int
    """Another reply was called best."""
    same_place: int
    """Of those turned: the same place on the screen was chosen twice."""


class Voter(msgspec.Struct):
    votes: int
    decided: int
    """Votes that called one reply best."""
    left: Leaning
    """The first place on the screen."""
    places: list[Share]
    """How often each place won, of the decided votes that had it."""
    longer: Leaning
    """The longest reply; ``fitted`` is for one twice as long as the other."""
    lengths: list[Lengths]
    consistency: Consistency


class TagRow(msgspec.Struct):
    """Votes with a tag that a checkpoint stood in."""

    tag: str
    checkpoint: str
    votes: int
    won: int
    lost: int
    ties: int
    both_bad: int


class LanguageRow(msgspec.Struct):
    """The ranking by the rounds whose prompt is in one language."""

    language: str
    ranking: Ranking


def voter(votes: Iterable[Vote]) -> Voter:
    """All of it, from the standing votes (repeats among them)."""
    cast = list(votes)
    used = counted(cast)
    decided = [v for v in used if v.winner]
    unequal = [v for v in decided if len({len(s.reply) for s in v.sides}) > 1]
    longest = sum(v.winner is max(v.sides, key=lambda s: len(s.reply)) for v in unequal)
    left = Leaning(share(sum(v.verdict == "1" for v in decided), len(decided)), _mean([1 / len(v.sides) for v in decided]))
    longer = Leaning(share(longest, len(unequal)), _mean([1 / len(v.sides) for v in unequal]))
    if len(decided) >= FEWEST_FOR_A_FIT:
        (left.fitted, left.low, left.high), (longer.fitted, longer.low, longer.high) = _effects(used)
    places = []
    for place in range(max((len(v.sides) for v in decided), default=0)):
        had = [v for v in decided if len(v.sides) > place]
        places.append(share(sum(v.verdict == str(place + 1) for v in had), len(had)))
    return Voter(len(used), len(decided), left, places, longer, lengths(used), consistency(cast))


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.5


def _effects(used: Sequence[Vote]) -> list[tuple[float, float, float]]:
    """The first place and twice the length, each as the chance between two equals, with its interval.

    Both are fitted together with the strengths, so that a better checkpoint that also writes longer is not taken for a leaning.
    """
    import numpy as np

    from studio.review import strengths

    names = sorted({s.checkpoint for v in used for s in v.sides})
    rows, extras = [], []
    for v in used:
        if v.verdict == "both_bad":
            continue
        counts = [float(v.winner is s) for s in v.sides] + [float(v.verdict == "tie")]
        rows.append(([names.index(s.checkpoint) for s in v.sides], counts))
        logs = [log2(max(1, len(s.reply))) for s in v.sides]
        extras.append([[float(place == 0), value - sum(logs) / len(logs)] for place, value in enumerate(logs)])
    drawn = strengths.approximate(strengths.fit(strengths.design(rows, len(names), extras)), 6000).theta[:, -2:]
    found = []
    for i in range(2):
        low, middle, high = (1 / (1 + exp(-float(q))) for q in np.quantile(drawn[:, i], (0.025, 0.5, 0.975)))
        found.append((round(middle, 4), round(low, 4), round(high, 4)))
    return found


def lengths(used: Sequence[Vote]) -> list[Lengths]:
    own: dict[str, list[int]] = {}
    beside: dict[str, list[int]] = {}
    for v in used:
        for side in v.sides:
            own.setdefault(side.checkpoint, []).append(len(side.reply))
            beside.setdefault(side.checkpoint, []).extend(len(other.reply) for other in v.sides if other is not side)
    return [Lengths(name, len(own[name]), median(own[name]), median(beside[name])) for name in sorted(own)]


def consistency(votes: Iterable[Vote]) -> Consistency:
    """Agreement of the votes on repeated rounds with those on the rounds they repeat; skips and votes not blind are left out."""
    cast = [v for v in votes if v.blind and v.verdict != "skip"]
    first = {v.round: v for v in cast if not v.repeat_of}
    same = turned = same_place = pairs = 0
    for again in cast:
        before = first.get(again.repeat_of)
        if before is None:
            continue
        pairs += 1
        if _said(before) == _said(again):
            same += 1
        elif before.winner and again.winner:
            turned += 1
            same_place += before.verdict == again.verdict
    return Consistency(share(same, pairs), turned, same_place)


def _said(vote: Vote) -> tuple[str, str]:
    return (vote.winner.checkpoint, vote.winner.reply) if vote.winner else (vote.verdict, "")


def by_tag(votes: Iterable[Vote]) -> list[TagRow]:
    """For each tag and checkpoint how the votes with that tag went; the most used tag first."""
    rows: dict[tuple[str, str], TagRow] = {}
    times: dict[str, int] = {}
    for v in counted(votes):
        for tag in dict.fromkeys(v.tags):
            times[tag] = times.get(tag, 0) + 1
            for side in v.sides:
                row = rows.setdefault((tag, side.checkpoint), TagRow(tag, side.checkpoint, 0, 0, 0, 0, 0))
                row.votes += 1
                row.won += v.winner is side
                row.lost += v.winner is not None and v.winner is not side
                row.ties += v.verdict == "tie"
                row.both_bad += v.verdict == "both_bad"
    return sorted(rows.values(), key=lambda r: (-times[r.tag], r.tag, -r.won, r.checkpoint))


def by_language(votes: Iterable[Vote], checkpoints: Sequence[str] | None = None) -> list[LanguageRow]:
    """A ranking for each language that prompts were in, by script (``lore.sources.language``); the one with the most votes first."""
    groups: dict[str, list[Vote]] = {}
    for v in counted(votes):
        groups.setdefault(language(v.messages[-1]["content"]) if v.messages else "latin", []).append(v)
    rows = [LanguageRow(name, rank(group, checkpoints)) for name, group in groups.items()]
    return sorted(rows, key=lambda row: (-row.ranking.votes, row.language))
