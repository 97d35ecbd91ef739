"""Shares of a few counted things, with the interval that so few allow."""

from __future__ import annotations

from math import exp, lgamma, log

import msgspec


class Share(msgspec.Struct, frozen=True):
    """``k`` of ``n``, and the central 95 % of its posterior: Beta(k + 1/2, n - k + 1/2), Jeffreys' prior (Brown, Cai & DasGupta 2001).

    As there, the lower end is 0 where k is 0 and the upper end 1 where k is n.
    """

    k: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """None of nothing."""
        return self.k / self.n if self.n else None


def share(k: int, n: int, credible: float = 0.95) -> Share:
    """``k`` of ``n`` with its interval; the whole range when n is 0."""
    tail = (1 - credible) / 2
    low = 0.0 if k == 0 else beta_quantile(tail, k + 0.5, n - k + 0.5)
    high = 1.0 if k == n else beta_quantile(1 - tail, k + 0.5, n - k + 0.5)
    return Share(k, n, round(low, 4), round(high, 4))


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x below which Beta(a, b) has the mass ``p``, by bisection to 1e-9."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if beta_below(middle, a, b) < p else (low, middle)
    return (low + high) / 2


def beta_below(x: float, a: float, b: float) -> float:
    """The mass of Beta(a, b) below ``x``: the continued fraction of the incomplete beta function, by Lentz's method."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_below(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) / a
    c, d, value, tiny = 1.0, 0.0, 1.0, 1e-300
    for i in range(400):
        m = i // 2
        if i == 0:
            factor = 1.0
        elif i % 2 == 0:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / ((1 + factor * d) or tiny)
        c = (1 + factor / c) or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return front * (value - 1)
