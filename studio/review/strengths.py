"""The statistics under the ranking: strengths from first choices, and what a further choice would tell.

A round of k replies is one first choice (Luce 1959; Plackett 1975): reply i is called best with a chance in proportion to
``exp(s_i)``, for two sides that is Bradley & Terry's model. A tie is an alternative of its own with the weight
``nu_k * exp(mean of the s of the round)`` (Davidson 1970 for two sides; Firth, Kosmidis & Turner 2019 for more): it pulls the round
together and says nothing when strengths are equal, and how freely this voter ties, ``nu``, is found from the votes for each k. "Both
bad" is no first choice: by Luce's axiom the odds among the replies are the same whether or not an outside option is there, so such a
round leaves the strengths alone (``shares`` counts it on its own axis).

Strengths are ``N(0, scale²)`` with an unknown scale, so that checkpoints that turn out alike are not flung apart by five lucky votes. For
each of nine scales the posterior is log-concave; its mode is found by Newton's method. ``approximate`` draws from the normal curves
there, good enough to choose with, in a few milliseconds; ``exact`` weighs draws of wider tails by the true posterior.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from studio.review.votes import Vote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SCALES = (0.1, 0.17, 0.28, 0.45, 0.7, 1.1, 1.7, 2.6, 4.0)
"""Standard deviation of the strengths, in logits; 0.1 is 17 points on the Elo scale, 4 is 695."""
SCALE_MIDDLE, SCALE_SPREAD = 0.6, 0.8
"""The scale is log-normal: median, and standard deviation of its logarithm."""

TIE_MEAN, TIE_SD = -1.0, 1.0
"""Prior of log ``nu``: between two equals a tie has a chance of 3 to 49 %, in the middle 16 %."""
COVARIATE_SD = 1.0

TAILS = 7
"""Degrees of freedom of the t curves that ``exact`` draws from."""


class Tally(NamedTuple):
    """Votes, counted: what every fit is made from."""

    names: tuple[str, ...]
    first: dict[tuple[int, ...], list[float]]
    """By the sides of a round (sorted indexes into ``names``): how often each was best, and at the end how often it was a tie."""
    bad: dict[tuple[int, ...], int]
    """How often all were bad."""

    def add(self, sides: Iterable[int], outcome: int, times: float = 1.0) -> None:
        """Count a round: ``outcome`` is the index of the best, -1 for a tie."""
        key = tuple(sorted(sides))
        counts = self.first.setdefault(key, [0.0] * (len(key) + 1))
        counts[key.index(outcome) if outcome >= 0 else -1] += times


class Design(NamedTuple):
    """Rounds as a linear choice model: utilities are ``x @ theta``, of which one alternative is chosen."""

    x: Array
    """``(rounds, alternatives, parameters)``: the replies of a round, then its tie."""
    open: NDArray[np.bool_]
    """``(rounds, alternatives)``: False where a round has fewer sides than the widest."""
    chosen: Array
    """``(rounds, alternatives)``: how often each was chosen."""
    mean: Array
    """Prior mean of each parameter."""
    sd: Array
    """``(scales, parameters)``: prior standard deviations, for each scale."""
    strengths: int
    """The first so many parameters are the strengths."""


class Fit(NamedTuple):
    """A posterior: for each scale its mode and the covariance there, and the logarithm of the scale's weight."""

    design: Design
    mode: Array
    covariance: Array
    weight: Array


class Draws(NamedTuple):
    theta: Array
    """``(draws, parameters)``; each row's strengths sum to zero."""
    effective: float
    """How many independent draws they are worth; the number of draws where nothing was weighed."""


def tally(votes: Iterable[Vote], names: Sequence[str]) -> Tally:
    """Count votes. All sides must be in ``names``."""
    index = {name: i for i, name in enumerate(names)}
    made = Tally(tuple(names), {}, {})
    for vote in votes:
        sides = [index[side.checkpoint] for side in vote.sides]
        if vote.winner is not None:
            made.add(sides, index[vote.winner.checkpoint])
        elif vote.verdict == "tie":
            made.add(sides, -1)
        elif vote.verdict == "both_bad":
            key = tuple(sorted(sides))
            made.bad[key] = made.bad.get(key, 0) + 1
    return made


def design(rows: Sequence[tuple[Sequence[int], Sequence[float]]], size: int, covariates: Sequence[Sequence[Sequence[float]]] = ()) -> Design:
    """``rows`` are ``(sides, counts)`` with the count of ties last. ``covariates`` holds, for each row and side, further numbers that
    may sway the choice (the length of a reply); a tie has their mean."""
    import numpy as np

    widths = sorted({len(sides) for sides, _ in rows})
    extra = len(covariates[0][0]) if covariates else 0
    wide, parameters = max(widths, default=2) + 1, size + len(widths) + extra
    x = np.zeros((len(rows), wide, parameters))
    open_ = np.zeros((len(rows), wide), dtype=bool)
    chosen = np.zeros((len(rows), wide))
    for n, (sides, counts) in enumerate(rows):
        k = len(sides)
        x[n, range(k), list(sides)] = 1.0
        if extra:
            x[n, :k, size + len(widths) :] = covariates[n]
        x[n, k] = x[n, :k].mean(axis=0)
        x[n, k, size + widths.index(k)] = 1.0
        open_[n, : k + 1] = True
        chosen[n, : k + 1] = counts
    rest = [TIE_SD] * len(widths) + [COVARIATE_SD] * extra
    sd = np.array([[scale] * size + rest for scale in SCALES])
    mean = np.array([0.0] * size + [TIE_MEAN] * len(widths) + [0.0] * extra)
    return Design(x, open_, chosen, mean, sd, size)


def _log_likelihood(made: Design, theta: Array) -> Array:
    """For each row of ``theta``."""
    import numpy as np

    rounds, wide, parameters = made.x.shape
    utilities = (theta @ made.x.reshape(rounds * wide, parameters).T).reshape(len(theta), rounds, wide)
    top = utilities.max(axis=2, keepdims=True)
    total = np.log((np.exp(utilities - top) * made.open).sum(axis=2)) + top[..., 0]
    value: Array = theta @ np.einsum("na,nap->p", made.chosen, made.x) - total @ made.chosen.sum(axis=1)
    return value


def fit(made: Design) -> Fit:
    """The mode at every scale, by Newton's method with halved steps (the posterior is log-concave)."""
    import numpy as np

    scales, parameters = made.sd.shape
    precision = made.sd**-2.0
    rounds, wide, _ = made.x.shape
    flat = made.x.reshape(rounds * wide, parameters)
    pull = np.einsum("na,nap->p", made.chosen, made.x)
    times = made.chosen.sum(axis=1)

    def value(theta: Array) -> Array:
        prior: Array = -0.5 * (precision * (theta - made.mean) ** 2).sum(axis=1)
        return prior + _log_likelihood(made, theta)

    theta = np.tile(made.mean, (scales, 1))
    height = value(theta)
    hessian = np.zeros((scales, parameters, parameters))
    for _ in range(60):
        utilities = (theta @ flat.T).reshape(scales, rounds, wide)
        share = np.exp(utilities - utilities.max(axis=2, keepdims=True)) * made.open
        share /= share.sum(axis=2, keepdims=True)
        weighed = (share * times[:, None]).reshape(scales, rounds * wide)
        middle = np.einsum("sna,nap->snp", share, made.x)
        gradient = pull - weighed @ flat - precision * (theta - made.mean)
        hessian = (weighed[:, None, :] * flat.T) @ flat - np.swapaxes(middle * times[:, None], 1, 2) @ middle
        hessian[:, range(parameters), range(parameters)] += precision
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        if np.abs(step).max() < 1e-6:
            break
        length = np.ones(scales)
        following = theta + step
        higher = value(following)
        while (worse := higher < height - 1e-9).any() and length.min() > 1e-6:
            length[worse] /= 2
            following = theta + length[:, None] * step
            higher = value(following)
        theta, height = following, higher
    covariance: Array = np.linalg.inv(hessian).astype(np.float64)
    log_scale = np.log(np.array(SCALES) / SCALE_MIDDLE) / SCALE_SPREAD
    weight = -0.5 * log_scale**2 + height - np.log(made.sd).sum(axis=1) + 0.5 * np.linalg.slogdet(covariance)[1]
    weight -= weight.max()
    return Fit(made, theta, covariance, weight - np.log(np.exp(weight).sum()))


def of(counted: Tally) -> Fit:
    """The posterior of the strengths of a tally's names."""
    return fit(design(list(counted.first.items()), len(counted.names)))


def _shares_of(fitted: Fit, draws: int, floor: float) -> list[int]:
    """How many draws each scale gets: by its weight, and a few for those that the approximation may have weighed too low."""
    import numpy as np

    weight = np.exp(fitted.weight)
    kept = np.where(weight > 1e-4, np.maximum(weight, floor), 0.0)
    return [int(n) for n in np.rint(draws * kept / kept.sum())]


def _centred(theta: Array, strengths: int) -> Array:
    theta[:, :strengths] -= theta[:, :strengths].mean(axis=1, keepdims=True)
    return theta


def approximate(fitted: Fit, draws: int, seed: int = 1) -> Draws:
    """Draws from the normal curves at the modes: for choosing, where a fraction of a percent is nothing."""
    import numpy as np

    chance = np.random.default_rng(seed)
    root = np.linalg.cholesky(fitted.covariance)
    parts = [
        fitted.mode[i] + chance.standard_normal((n, fitted.mode.shape[1])) @ root[i].T for i, n in enumerate(_shares_of(fitted, draws, 0.0)) if n
    ]
    theta = _centred(np.concatenate(parts), fitted.design.strengths)
    return Draws(theta, float(len(theta)))


def exact(fitted: Fit, draws: int = 12_000, seed: int = 1) -> Draws:
    """Draws of the true posterior: proposed from t curves around the modes, weighed, and drawn again by their weights.

    The error of a probability near the middle is about ``0.5 / sqrt(effective)``: half a percentage point at 10,000.
    """
    import numpy as np

    chance = np.random.default_rng(seed)
    made = fitted.design
    parameters = fitted.mode.shape[1]
    root = np.linalg.cholesky(fitted.covariance)
    log_scale = np.log(np.array(SCALES) / SCALE_MIDDLE) / SCALE_SPREAD
    thetas, weights = [], []
    for i, n in enumerate(_shares_of(fitted, draws, 0.02)):
        if not n:
            continue
        normal = chance.standard_normal((n, parameters))
        stretch = np.sqrt(TAILS / chance.chisquare(TAILS, n))
        theta = fitted.mode[i] + (normal * stretch[:, None]) @ root[i].T
        distance = (normal**2).sum(axis=1) * stretch**2
        proposed = -0.5 * (TAILS + parameters) * np.log1p(distance / TAILS) - np.log(np.diag(root[i])).sum() + _t_constant(parameters)
        prior = -0.5 * (((theta - made.mean) / made.sd[i]) ** 2).sum(axis=1) - np.log(made.sd[i]).sum() - 0.5 * parameters * np.log(2 * np.pi)
        thetas.append(theta)
        weights.append(-0.5 * log_scale[i] ** 2 + prior + _log_likelihood(made, theta) - proposed - np.log(n))
    theta, weight = np.concatenate(thetas), np.concatenate(weights)
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    effective = float(1 / (weight**2).sum())
    # Systematic resampling adds less noise than drawing each anew.
    at = (np.arange(draws) + chance.random()) / draws
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), at), len(weight) - 1)
    return Draws(_centred(theta[chosen], made.strengths), effective)


def _t_constant(parameters: int) -> float:
    from math import lgamma, log, pi

    return lgamma((TAILS + parameters) / 2) - lgamma(TAILS / 2) - 0.5 * parameters * log(TAILS * pi)


def worths(counted: Tally, panes: int, draws: int = 0, seed: int = 1) -> list[tuple[float, tuple[int, ...]]]:
    """What the next vote between each set of ``panes`` names would tell, in nats.

    It is the information of the outcome on which of all is the best (the mutual information of the two, over draws of the posterior), and
    a little for the information on the strengths themselves (Houlsby et al. 2011), which decides once the best is known. Both times the
    chance that the round is not called both bad, by the counts so far.
    """
    import numpy as np

    fitted = of(counted)
    size = len(counted.names)
    alternatives = list(combinations(range(size), panes))
    theta = approximate(fitted, draws or max(600, min(1500, 40_000 // len(alternatives))), seed).theta
    strengths = theta[:, :size]
    widths = sorted({len(sides) for sides in counted.first})
    ties = theta[:, size + widths.index(panes)] if panes in widths else np.full(len(theta), TIE_MEAN)
    bests = strengths.argmax(axis=1)
    belongs = (bests[:, None] == np.arange(size)).astype(float) / len(theta)
    met, bad = np.full(size, 4.0), np.ones(size)
    for sides, counts in counted.first.items():
        met[list(sides)] += sum(counts)
    for sides, times in counted.bad.items():
        met[list(sides)] += times
        bad[list(sides)] += times
    grid = np.array(alternatives)
    utilities = strengths[:, grid]
    utilities = np.concatenate([utilities, utilities.mean(axis=2, keepdims=True) + ties[:, None, None]], axis=2)
    share = np.exp(utilities - utilities.max(axis=2, keepdims=True))
    share /= share.sum(axis=2, keepdims=True)
    flat = share.reshape(len(theta), -1)
    joint = (belongs.T @ flat).reshape(size, len(alternatives), panes + 1)
    outcome = joint.sum(axis=0)

    def entropy(p: Array, axis: tuple[int, ...]) -> Array:
        value: Array = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=axis)
        return value

    on_best = entropy(outcome, (1,)) + entropy(joint.sum(axis=(1, 2)) / len(alternatives), (0,)) - entropy(joint, (0, 2))
    on_strengths = entropy(outcome, (1,)) - entropy(share, (2,)).mean(axis=0)
    telling = 1 - np.prod((bad / met)[grid], axis=1) ** (1 / panes)
    worth = (on_best + ASIDE * on_strengths) * telling
    return list(zip(worth.tolist(), alternatives, strict=True))


ASIDE = 0.05
"""What a nat on the strengths counts beside a nat on which is the best."""
