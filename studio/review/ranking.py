"""From votes to an honest ranking: strengths with posterior intervals instead of bare ranks, and which sides to show next.

The model stands in ``strengths``. Only votes cast blind count, and a round shown once more does not count again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec

from studio.review.shares import share
from studio.review.votes import Vote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from studio.review.strengths import Tally

    Array = NDArray[np.float64]

ELO = 400 / 2.302585092994046
"""Points of the Elo scale per logit: 400 / ln 10."""

CENTRE = 1000.0
CREDIBLE = 0.95

MOST_VOTES_NEEDED = 2000
"""Above this many further votes the two are called equal for every practical purpose (None)."""


class Rank(msgspec.Struct):
    """One checkpoint's standing."""

    checkpoint: str
    score: float
    """Posterior mean on the Elo scale, the mean of all checkpoints being 1000."""
    low: float
    high: float
    """The central 95 % of the posterior."""
    wins: int
    losses: int
    ties: int
    both_bad: int
    best: float
    """Probability that it is the best of all ranked."""
    rounds: int = 0
    """Counted rounds in which it stood."""
    bad_low: float = 0.0
    bad_high: float = 1.0
    """95 % interval of the share of its rounds in which all were bad: an axis of its own, which does not move the score."""


class Pair(msgspec.Struct):
    a: str
    b: str
    p_a_better: float
    """Posterior probability that a's strength exceeds b's."""
    votes_needed: int | None
    """About how many further votes between the two would settle their order at 95 %; 0 if it is settled; None: too many to be worth it."""


class Ranking(msgspec.Struct):
    votes: int
    """Blind votes that counted (skips do not)."""
    ranking: list[Rank]
    pairs: list[Pair]


def counted(votes: Iterable[Vote]) -> list[Vote]:
    """Votes that say something about strength: cast blind, not skipped, not on a round shown once more, between different checkpoints."""
    return [v for v in votes if v.blind and v.verdict != "skip" and not v.repeat_of and len({s.checkpoint for s in v.sides}) == len(v.sides)]


def rank(votes: Iterable[Vote], checkpoints: Sequence[str] | None = None, seed: int = 1) -> Ranking:
    """The ranking of the checkpoints that have votes (or of those named, with or without)."""
    import numpy as np

    from studio.review import strengths

    used = counted(votes)
    # Sorted, so that the same votes give the same digits however the names came.
    names = sorted(set(checkpoints or (side.checkpoint for vote in used for side in vote.sides)))
    used = [vote for vote in used if all(side.checkpoint in names for side in vote.sides)]
    if not names:
        return Ranking(0, [], [])
    tallied = strengths.tally(used, names)
    theta = strengths.exact(strengths.of(tallied), seed=seed).theta
    draws = theta[:, : len(names)]
    low, high = np.quantile(draws, [(1 - CREDIBLE) / 2, (1 + CREDIBLE) / 2], axis=0)
    best = np.bincount(draws.argmax(axis=1), minlength=len(names)) / len(draws)
    ranking = []
    for i, name in enumerate(names):
        mine = [v for v in used if any(s.checkpoint == name for s in v.sides)]
        wins = sum(v.winner is not None and v.winner.checkpoint == name for v in mine)
        ties, both_bad = (sum(v.verdict == verdict for v in mine) for verdict in ("tie", "both_bad"))
        bad = share(both_bad, len(mine))
        ranking.append(
            Rank(
                name,
                round(CENTRE + ELO * float(draws[:, i].mean()), 1),
                round(CENTRE + ELO * float(low[i]), 1),
                round(CENTRE + ELO * float(high[i]), 1),
                wins,
                len(mine) - wins - ties - both_bad,
                ties,
                both_bad,
                round(float(best[i]), 4),
                len(mine),
                bad.low,
                bad.high,
            )
        )
    widths = sorted({len(sides) for sides in tallied.first})
    ties_of_two = float(theta[:, len(names) + widths.index(2)].mean()) if 2 in widths else strengths.TIE_MEAN
    pairs = [_pair(draws, names, i, j, ties_of_two, _telling(tallied, i, j)) for i, j in combinations(range(len(names)), 2)]
    return Ranking(len(used), sorted(ranking, key=lambda r: -r.score), pairs)


def _telling(tallied: Tally, i: int, j: int) -> float:
    """The share of rounds between the two that will not be called both bad, by those seen."""
    met = bad = 0.0
    for sides, counts in tallied.first.items():
        met += sum(counts) if {i, j} <= set(sides) else 0
    for sides, times in tallied.bad.items():
        bad += times if {i, j} <= set(sides) else 0
    return 1 - bad / (met + bad + 1)


def _pair(draws: Array, names: Sequence[str], i: int, j: int, ties: float, telling: float) -> Pair:
    difference = draws[:, i] - draws[:, j]
    # A tie of strengths has no mass: the half only keeps two names without a vote at one half.
    better = float((difference > 0).mean() + (difference == 0).mean() / 2)
    return Pair(names[i], names[j], round(better, 4), votes_needed(float(difference.mean()), float(difference.std()), better, ties, telling))


def votes_needed(mean: float, sd: float, better: float, ties: float = -1.0, telling: float = 1.0, seed: int = 1) -> int | None:
    """Further votes between two checkpoints until their difference, now ``mean`` ± ``sd`` logits, is settled at 95 %: the median of
    what may happen, in two significant digits.

    The true difference may be anything that the posterior allows. For 500 of these the votes to come are played on: each carries the
    information of its outcome (``ties``: log ``nu``; ``telling``: the share of votes that are not "both bad"), and the votes are counted
    until 1.96 standard deviations do not reach zero. A half that never gets there within ``MOST_VOTES_NEEDED`` gives None.
    """
    import numpy as np

    if not (1 - CREDIBLE) / 2 < better < (1 + CREDIBLE) / 2:
        return 0
    if sd <= 0:
        return None
    chance = np.random.default_rng(seed)
    truth = mean + sd * chance.standard_normal(500)
    half = np.cosh(truth / 2) * 2
    wins = half / (half + np.exp(ties))
    information = telling * wins * (1 - (wins * np.tanh(truth / 2) ** 2)) / 4
    votes = np.unique(np.geomspace(1, MOST_VOTES_NEEDED, 160).round())
    step = np.diff(votes, prepend=0.0)[None, :] * information[:, None]
    seen = np.cumsum(truth[:, None] * step + np.sqrt(step) * chance.standard_normal(step.shape), axis=1)
    precision = 1 / sd**2 + np.cumsum(step, axis=1)
    settled = np.abs(mean / sd**2 + seen) > 1.96 * np.sqrt(precision)
    needed = np.sort(np.where(settled.any(axis=1), votes[settled.argmax(axis=1)], np.inf))[len(truth) // 2]
    if not np.isfinite(needed):
        return None
    return max(1, int(float(f"{needed:.2g}")))


def next_sides(
    votes: Iterable[Vote],
    checkpoints: Sequence[str],
    panes: int = 2,
    possible: Sequence[Sequence[str]] | None = None,
    waiting: Iterable[Sequence[str]] = (),
    seed: int = 1,
) -> tuple[str, ...]:
    """The checkpoints whose next vote is worth most (see ``strengths.worths``): ``panes`` of them, or all if there are not more.

    ``possible`` names the sets that can be dealt at all (default: every one). ``waiting`` are sets that are dealt and have no vote yet:
    what they will tell is not asked for twice.
    """
    from studio.review import strengths

    names = sorted(checkpoints)
    panes = min(panes, len(names))
    allowed = None if possible is None else {tuple(sorted(sides)) for sides in possible}
    if panes == len(names) or (allowed and len(allowed) == 1):
        return tuple(possible[0]) if possible else tuple(checkpoints)
    open_ = Counter(tuple(sorted(sides)) for sides in waiting)
    tallied = strengths.tally((v for v in counted(votes) if all(s.checkpoint in names for s in v.sides)), names)
    worth = {tuple(names[i] for i in sides): value for value, sides in strengths.worths(tallied, panes, seed=seed)}
    return max(allowed or worth, key=lambda sides: (worth[sides] / (1 + open_[sides]), sides))
