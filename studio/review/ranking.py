"""From votes to an honest ranking: Bradley–Terry strengths with a weak prior, and posterior intervals instead of bare ranks.

The chance that A beats B is ``1 / (1 + exp(-(a - b)))`` (Bradley & Terry 1952, Biometrika 39). A tie counts half a win for each,
"both bad" likewise for the strengths (it says nothing about their order) and as a rate of its own. Each strength has a normal
prior, so that 3–0 gives a wide interval and not an endless one. The posterior is drawn by elliptical slice sampling (Murray,
Adams & MacKay 2010, AISTATS 9), which is exact for a normal prior and has nothing to tune.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec

from studio.review.votes import Vote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PRIOR_SD = 1.5
"""Standard deviation of a strength before any vote, in logits: two random checkpoints beat each other 85 % at one sd apart."""

ELO = 400 / 2.302585092994046
"""Points of the Elo scale per logit: 400 / ln 10."""

CENTRE = 1000.0
CREDIBLE = 0.95
CHAINS, BURN_IN, KEPT = 256, 60, 40
"""256 chains of 40 kept draws: 10,240 draws, an error of about 0.3 percentage points on a probability near the middle."""

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


def rank(votes: Iterable[Vote], checkpoints: list[str] | None = None, seed: int = 1) -> Ranking:
    """The ranking of the checkpoints that have votes (or of those named, with or without)."""
    import numpy as np

    used = counted(votes)
    names = checkpoints or sorted({side.checkpoint for vote in used for side in vote.sides})
    used = [vote for vote in used if all(side.checkpoint in names for side in vote.sides)]
    if not names:
        return Ranking(0, [], [])
    draws = posterior(names, used, seed)
    low, high = np.quantile(draws, [(1 - CREDIBLE) / 2, (1 + CREDIBLE) / 2], axis=0)
    best = np.bincount(draws.argmax(axis=1), minlength=len(names)) / len(draws)
    ranking = []
    for i, name in enumerate(names):
        mine = [v for v in used if any(s.checkpoint == name for s in v.sides)]
        wins = sum(v.winner is not None and v.winner.checkpoint == name for v in mine)
        ties, both_bad = (sum(v.verdict == verdict for v in mine) for verdict in ("tie", "both_bad"))
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
            )
        )
    pairs = [_pair(draws, names, i, j) for i, j in combinations(range(len(names)), 2)]
    return Ranking(len(used), sorted(ranking, key=lambda r: -r.score), pairs)


def _pair(draws: Array, names: list[str], i: int, j: int) -> Pair:
    difference = draws[:, i] - draws[:, j]
    better = float((difference > 0).mean())
    return Pair(names[i], names[j], round(better, 4), votes_needed(float(difference.mean()), float(difference.std()), better))


def votes_needed(mean: float, sd: float, better: float) -> int | None:
    """Further votes between two checkpoints until their difference of ``mean`` ± ``sd`` logits is settled at 95 %.

    A vote at a true difference d carries the information p(1-p), p = 1/(1+exp(-d)); the posterior precision grows by that much.
    """
    from math import ceil, exp

    if not (1 - CREDIBLE) / 2 < better < (1 + CREDIBLE) / 2:
        return 0
    if abs(mean) < 1e-9:
        return None
    p = 1 / (1 + exp(-mean))
    needed = ceil(((1.96 / mean) ** 2 - 1 / sd**2) / (p * (1 - p)))
    return None if needed > MOST_VOTES_NEEDED else max(1, needed)


def posterior(names: list[str], votes: list[Vote], seed: int) -> Array:
    """Draws of the strengths, shape ``(CHAINS * KEPT, len(names))``, in logits, each draw centred on zero."""
    import numpy as np

    index = {name: i for i, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for vote in votes:
        a, b = (index[side.checkpoint] for side in vote.sides)
        share = {"1": 1.0, "2": 0.0}.get(vote.verdict, 0.5)
        wins[a, b] += share
        wins[b, a] += 1 - share
    winners, losers = np.nonzero(wins)
    weights = wins[winners, losers]

    def log_likelihood(strengths: Array) -> Array:
        total: Array = -(np.logaddexp(0.0, strengths[:, losers] - strengths[:, winners]) * weights).sum(axis=1)
        return total

    draws = _elliptical_slices(log_likelihood, len(names), np.random.default_rng(seed))
    centred: Array = draws - draws.mean(axis=1, keepdims=True)
    return centred


def _elliptical_slices(log_likelihood: Any, size: int, chance: np.random.Generator) -> Array:
    """Draws from N(0, PRIOR_SD²)·likelihood: all chains step together, those whose proposal is refused shrink their bracket."""
    import numpy as np

    current = chance.normal(0, PRIOR_SD, (CHAINS, size))
    likelihood = log_likelihood(current)
    kept = []
    for step in range(BURN_IN + KEPT):
        ellipse = chance.normal(0, PRIOR_SD, (CHAINS, size))
        threshold = likelihood + np.log(chance.random(CHAINS))
        angle = chance.random(CHAINS) * 2 * np.pi
        low, high = angle - 2 * np.pi, angle.copy()
        open_chains = np.arange(CHAINS)
        following, following_likelihood = current.copy(), likelihood.copy()
        while len(open_chains):
            turn = angle[open_chains, None]
            proposed = current[open_chains] * np.cos(turn) + ellipse[open_chains] * np.sin(turn)
            value = log_likelihood(proposed)
            accepted = value > threshold[open_chains]
            following[open_chains[accepted]] = proposed[accepted]
            following_likelihood[open_chains[accepted]] = value[accepted]
            open_chains = open_chains[~accepted]
            negative = angle[open_chains] < 0
            low[open_chains] = np.where(negative, angle[open_chains], low[open_chains])
            high[open_chains] = np.where(negative, high[open_chains], angle[open_chains])
            angle[open_chains] = low[open_chains] + chance.random(len(open_chains)) * (high[open_chains] - low[open_chains])
        current, likelihood = following, following_likelihood
        if step >= BURN_IN:
            kept.append(current)
    return np.concatenate(kept)


def next_pair(votes: Iterable[Vote], checkpoints: list[str], seed: int = 1) -> tuple[str, str]:
    """The pair whose next vote is worth most: the information it carries on the strengths, times the chance that one of the two is best.

    Information is the entropy of the expected outcome less the expected entropy (Houlsby et al. 2011, "BALD").
    """
    import numpy as np

    if len(checkpoints) == 2:
        return checkpoints[0], checkpoints[1]
    draws = posterior(checkpoints, [v for v in counted(votes) if all(s.checkpoint in checkpoints for s in v.sides)], seed)
    best = np.bincount(draws.argmax(axis=1), minlength=len(checkpoints)) / len(draws)

    def entropy(p: Array) -> Array:
        p = np.clip(p, 1e-12, 1 - 1e-12)
        value: Array = -p * np.log(p) - (1 - p) * np.log(1 - p)
        return value

    def worth(pair: tuple[int, int]) -> float:
        p = 1 / (1 + np.exp(draws[:, pair[1]] - draws[:, pair[0]]))
        information = float(entropy(np.asarray(p.mean())) - entropy(p).mean())
        return information * float(best[pair[0]] + best[pair[1]])

    chosen = max(combinations(range(len(checkpoints)), 2), key=worth)
    return checkpoints[chosen[0]], checkpoints[chosen[1]]


def voter_bias(votes: Iterable[Vote]) -> dict[str, float | None]:
    """How often the left and the longer reply won, of the votes that chose one (None without any)."""
    decided = [v for v in counted(votes) if v.winner]
    unequal = [v for v in decided if len(v.sides[0].reply) != len(v.sides[1].reply)]
    longer = sum(v.winner is max(v.sides, key=lambda s: len(s.reply)) for v in unequal)
    return {
        "left": round(sum(v.verdict == "1" for v in decided) / len(decided), 4) if decided else None,
        "longer": round(longer / len(unequal), 4) if unequal else None,
    }
