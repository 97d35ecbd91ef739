"""How many votes it takes to find the best checkpoint, and whether the ranking keeps what it promises.

    python tests/bench/ranking.py [--seeds N] [--votes N] [--gap ELO] [--panes K] [--svg FILE] [--out FILE]

Checkpoints stand ``gap`` Elo apart; votes are drawn from the model with ties (about one in six between equals). Three ways of choosing
who meets: the studio's (``strengths.worths``), at random, and every pair in turn. All three are read by the same posterior. For each way:
how often the one on top is the best after so many votes, the votes until ``P(best) >= 95 %`` and how often that was then wrong, the share
of 95 % intervals that hold the truth, and how often a pair was ever called settled the wrong way round. Nothing but the seed enters.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean, quantiles

import numpy as np

from studio.review import strengths
from studio.review.ranking import ELO, votes_needed
from studio.review.shares import share
from studio.review.strengths import Tally

Choose = Callable[[Tally, int, int, random.Random], Sequence[int]]
"""From what was voted, the panes, the number of the vote and chance to the sides of the next round."""

TIES = -1.0
"""Log ``nu`` of the simulated voter: 16 % ties between equals."""
SETTLED = 0.95
LOOK = 10
"""The posterior is read after every so many votes, as a person would look now and then."""


def ours(counted: Tally, panes: int, number: int, chance: random.Random) -> Sequence[int]:
    return max(strengths.worths(counted, panes, seed=number))[1]


def at_random(counted: Tally, panes: int, number: int, chance: random.Random) -> Sequence[int]:
    return chance.sample(range(len(counted.names)), panes)


def in_turn(counted: Tally, panes: int, number: int, chance: random.Random) -> Sequence[int]:
    sets = list(combinations(range(len(counted.names)), panes))
    return sets[number % len(sets)]


WAYS: dict[str, Choose] = {"studio": ours, "random": at_random, "round robin": in_turn}


class Trial:
    """One simulated voter."""

    def __init__(self, truth: list[float], panes: int, seed: int) -> None:
        self.truth = truth
        self.chance = random.Random(seed)
        self.panes = panes
        self.counted = Tally(tuple(f"c{i}" for i in range(len(truth))), {}, {})
        self.found: list[bool] = []
        """At each look: whether the one on top is the best."""
        self.sure_at: int | None = None
        self.sure_right = False
        self.pairs_settled: dict[tuple[int, int], bool] = {}
        """By pair: whether it was right when it was first called settled."""
        self.covered: dict[int, list[bool]] = {}
        """By votes: whether each interval holds the truth."""

    def vote(self, sides: Sequence[int]) -> None:
        utilities = [self.truth[i] for i in sides]
        weights = [math.exp(u) for u in utilities] + [math.exp(TIES + mean(utilities))]
        self.counted.add(sides, self.chance.choices([*sides, -1], weights)[0])

    def run(self, choose: Choose, votes: int, coverage_at: Sequence[int]) -> Trial:
        size, best = len(self.truth), int(np.argmax(self.truth))
        for number in range(votes):
            self.vote(choose(self.counted, self.panes, number, self.chance))
            if (number + 1) % LOOK == 0:
                draws = strengths.approximate(strengths.of(self.counted), 2000, number).theta[:, :size]
                bests = np.bincount(draws.argmax(axis=1), minlength=size) / len(draws)
                top = int(draws.mean(axis=0).argmax())
                self.found.append(top == best)
                if self.sure_at is None and bests.max() >= SETTLED:
                    self.sure_at, self.sure_right = number + 1, int(bests.argmax()) == best
                for i, j in combinations(range(size), 2):
                    p = float((draws[:, i] > draws[:, j]).mean())
                    if (i, j) not in self.pairs_settled and not 0.025 < p < 0.975:
                        self.pairs_settled[i, j] = (p > 0.5) == (self.truth[i] > self.truth[j])
            if number + 1 in coverage_at:
                draws = strengths.exact(strengths.of(self.counted), 6000, number).theta[:, :size]
                low, high = np.quantile(draws, (0.025, 0.975), axis=0)
                centred = np.array(self.truth) - mean(self.truth)
                self.covered[number + 1] = ((low <= centred) & (centred <= high)).tolist()
        return self


def trials(way: str, seeds: int, votes: int, gap: float, size: int, panes: int, coverage_at: Sequence[int]) -> list[Trial]:
    """One trial a seed: the checkpoints shuffled, so that no way can profit from the order of names."""
    made = []
    for seed in range(seeds):
        truth = [-i * gap / ELO for i in range(size)]
        random.Random(seed * 7919 + 1).shuffle(truth)
        made.append(Trial(truth, panes, seed).run(WAYS[way], votes, coverage_at))
    return made


def votes_to_half(done: Sequence[Trial], wanted: float) -> int | None:
    """Votes from which on the best is on top in at least ``wanted`` of the trials."""
    rate = [mean(t.found[i] for t in done) for i in range(len(done[0].found))]
    later = next((i for i in range(len(rate)) if all(r >= wanted for r in rate[i:])), None)
    return None if later is None else (later + 1) * LOOK


def area(done: Sequence[Trial]) -> float:
    """Share of all looks at which the best was on top: one number for the whole curve."""
    return mean(mean(t.found) for t in done)


def bootstrap(one: Sequence[Trial], other: Sequence[Trial], of: Callable[[Sequence[Trial]], float], rounds: int = 2000) -> tuple[float, float]:
    """95 % interval of ``of(one) - of(other)`` over paired seeds."""
    chance = random.Random(11)
    values = []
    for _ in range(rounds):
        at = [chance.randrange(len(one)) for _ in one]
        values.append(of([one[i] for i in at]) - of([other[i] for i in at]))
    values.sort()
    return values[round(0.025 * rounds)], values[round(0.975 * rounds) - 1]


def censored(done: Sequence[Trial], votes: int) -> float:
    """Mean votes until sure, those that never got there counted with all the votes there were."""
    return mean(t.sure_at or votes for t in done)


def table(results: dict[str, list[Trial]], votes: int, coverage_at: Sequence[int]) -> list[str]:
    looks = [n for n in (50, 100, 200, 300, 400, 600, 800, 1000, 1500, 2000) if n <= votes]
    lines = ["best on top after … votes", f"{'':13}" + "".join(f"{n:>7}" for n in looks)]
    for way, done in results.items():
        lines.append(f"{way:13}" + "".join(f"{mean(t.found[n // LOOK - 1] for t in done):>7.0%}" for n in looks))
    lines += ["", f"{'':13}{'best on top':>12}{'votes to':>10}{'sure (P >= 95 %)':>18}{'mean votes':>12}{'sure, but':>15}{'pair settled':>16}"]
    lines += [f"{'':13}{'over all':>12}{'80 % on top':>12}{'within ' + str(votes):>16}{'to sure':>12}{'wrong':>15}{'wrong way':>16}"]
    for way, done in results.items():
        sure = [t for t in done if t.sure_at]
        wrong = share(sum(not t.sure_right for t in sure), len(sure))
        pairs = [right for t in done for right in t.pairs_settled.values()]
        false = share(sum(not right for right in pairs), len(pairs))
        lines.append(
            f"{way:13}{area(done):>12.1%}{votes_to_half(done, 0.8) or '-':>12}{len(sure) / len(done):>16.0%}{censored(done, votes):>12.0f}"
            f"{_of(wrong):>15}{_of(false):>16}"
        )
    for n in coverage_at:
        lines += ["", f"95 % intervals that hold the truth, after {n} votes"]
        for way, done in results.items():
            held = [hit for t in done for hit in t.covered[n]]
            lines.append(f"{way:13}{mean(held):>12.1%}   of {len(held)}")
    lines.append("")
    for way in results:
        if way != "studio":
            gain = area(results["studio"]) - area(results[way])
            low, high = bootstrap(results["studio"], results[way], area)
            spared = censored(results[way], votes) - censored(results["studio"], votes)
            least, most = (-v for v in reversed(bootstrap(results["studio"], results[way], lambda d: censored(d, votes))))
            lines.append(
                f"studio against {way}: best on top {gain:+.1%} of all looks (95 % {low:+.1%} to {high:+.1%}); "
                f"{spared:.0f} votes fewer to be sure ({least:.0f} to {most:.0f})"
            )
    return lines


def _of(found: object) -> str:
    k, n, low, high = found.k, found.n, found.low, found.high  # type: ignore[attr-defined]
    return f"{k / n:.1%} ({low:.0%}-{high:.0%})" if n else "-"


def curve(results: dict[str, list[Trial]], width: int = 72, height: int = 14) -> list[str]:
    """The share of trials with the best on top, over the votes, in text."""
    marks = {"studio": "●", "random": "·", "round robin": "+"}
    grid = [[" "] * width for _ in range(height)]
    for way, done in reversed(list(results.items())):
        looks = len(done[0].found)
        for x in range(width):
            at = min(looks - 1, round(x * (looks - 1) / (width - 1)))
            near = [mean(t.found[i] for t in done) for i in range(max(0, at - 1), min(looks, at + 2))]
            grid[height - 1 - round(mean(near) * (height - 1))][x] = marks[way]
    lines = [f"{1 - i / (height - 1):>5.0%} │" + "".join(row) for i, row in enumerate(grid)]
    votes = len(next(iter(results.values()))[0].found) * LOOK
    return [*lines, "      └" + "─" * width, f"       {LOOK:<{width - 6}}{votes:>6} votes   " + "  ".join(f"{m} {w}" for w, m in marks.items())]


def svg(results: dict[str, list[Trial]], title: str) -> str:
    """The same curve as a picture with 95 % bands."""
    colours = {"studio": "#b5651d", "random": "#5b7083", "round robin": "#7a9a6a"}
    wide, high, left, top = 760, 420, 60, 46
    votes = len(next(iter(results.values()))[0].found) * LOOK

    def x(n: float) -> float:
        return left + (wide - left - 20) * n / votes

    def y(p: float) -> float:
        return top + (high - top - 50) * (1 - p)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="13">',
        f'<rect width="{wide}" height="{high}" fill="white"/><text x="{left}" y="24" font-size="15">{title}</text>',
    ]
    for p in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<line x1="{left}" x2="{wide - 20}" y1="{y(p):.1f}" y2="{y(p):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(p) + 4:.1f}" text-anchor="end">{p:.0%}</text>')
    for n in range(0, votes + 1, max(50, votes // 8 // 50 * 50)):
        parts.append(f'<text x="{x(n):.1f}" y="{high - 30}" text-anchor="middle">{n}</text>')
    parts.append(f'<text x="{(left + wide) / 2:.0f}" y="{high - 8}" text-anchor="middle">votes</text>')
    for number, (way, done) in enumerate(results.items()):
        points = []
        for i in range(len(done[0].found)):
            found = share(sum(t.found[i] for t in done), len(done))
            points.append(((i + 1) * LOOK, found.k / found.n, found.low, found.high))
        band = [f"{x(n):.1f},{y(h):.1f}" for n, _, _, h in points] + [f"{x(n):.1f},{y(lo):.1f}" for n, _, lo, _ in reversed(points)]
        line = " ".join(f"{x(n):.1f},{y(p):.1f}" for n, p, _, _ in points)
        parts.append(f'<polygon points="{" ".join(band)}" fill="{colours[way]}" fill-opacity="0.15"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[way]}" stroke-width="2"/>')
        parts.append(f'<text x="{wide - 130}" y="{high - 120 + 18 * number}" fill="{colours[way]}">{way}</text>')
    return "\n".join([*parts, "</svg>", ""])


def promises(trials_each: int = 120) -> list[str]:
    """``votes_needed`` against what then happened: truths drawn from the prior, some votes cast, the rest played on until it is settled."""
    chance = random.Random(5)
    lines = [
        "'about N more votes' between two, against the votes it then took",
        f"{'told':>10}{'cases':>7}{'median':>9}{'middle half':>14}{'within N':>10}",
    ]
    groups: dict[str, list[tuple[int, int]]] = {}
    for case in range(trials_each):
        gap = chance.gauss(0, 0.6) * math.sqrt(2)
        trial = Trial([gap, 0.0], 2, case)
        for _ in range(chance.choice((5, 10, 20, 40))):
            trial.vote((0, 1))
        fitted = strengths.of(trial.counted)
        theta = strengths.exact(fitted, 4000, case).theta
        difference = theta[:, 0] - theta[:, 1]
        told = votes_needed(float(difference.mean()), float(difference.std()), float((difference > 0).mean()), float(theta[:, 2].mean()), seed=case)
        if not told:
            continue
        took = 2000
        for number in range(1, 2001):
            trial.vote((0, 1))
            if number <= 40 or number % 5 == 0:
                draws = strengths.approximate(strengths.of(trial.counted), 1500, number).theta
                if not 0.025 < float((draws[:, 0] > draws[:, 1]).mean()) < 0.975:
                    took = number
                    break
        label = "1-20" if told <= 20 else "21-60" if told <= 60 else "61-200" if told <= 200 else "over 200"
        groups.setdefault(label, []).append((told, took))
    for label in ("1-20", "21-60", "61-200", "over 200"):
        found = groups.get(label, [])
        if len(found) > 3:
            low, middle, high = quantiles([took for _, took in found], n=4)
            inside = mean(took <= told for told, took in found)
            lines.append(f"{label:>10}{len(found):>7}{middle:>9.0f}{f'{low:.0f} to {high:.0f}':>14}{inside:>10.0%}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--votes", type=int, default=800)
    parser.add_argument("--gap", type=float, default=35.0, help="Elo between neighbours")
    parser.add_argument("--checkpoints", type=int, default=5)
    parser.add_argument("--panes", type=int, default=2)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    began = time.monotonic()
    coverage_at = [n for n in (50, 200, 800) if n <= asked.votes]
    results = {}
    for way in WAYS:
        results[way] = trials(way, asked.seeds, asked.votes, asked.gap, asked.checkpoints, asked.panes, coverage_at)
        print(f"{way}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    title = f"Best of {asked.checkpoints} checkpoints {asked.gap:.0f} Elo apart, {asked.panes} sides a round, {asked.seeds} seeds"
    lines = [title, "", *table(results, asked.votes, coverage_at), "", *curve(results), "", *promises()]
    text = "\n".join(lines)
    print(text)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")
    if asked.svg:
        asked.svg.write_text(svg(results, title), encoding="utf-8")


if __name__ == "__main__":
    main()
