"""The ranking says what it knows and what it does not."""

import random
from collections.abc import Callable

import pytest

from studio.review.ranking import next_pair, rank, voter_bias
from studio.review.rounds import Sampling, Side
from studio.review.votes import Verdict, Vote


def vote(a: str, b: str, verdict: Verdict, blind: bool = True, replies: tuple[str, str] = ("x", "x")) -> Vote:
    return Vote("v", 0.0, "review-1", "r", verdict, blind, [], [Side(a, "", replies[0]), Side(b, "", replies[1])], Sampling(), 0)


def test_three_to_nothing_is_not_certain() -> None:
    ranking = rank([vote("a", "b", "1")] * 3)
    best = ranking.ranking[0]
    assert best.checkpoint == "a" and best.low < 1000 < best.high and best.high - best.low > 200
    assert 0.9 < ranking.pairs[0].p_a_better < 0.99 and ranking.pairs[0].votes_needed


def test_ten_ties_have_a_width() -> None:
    ranking = rank([vote("a", "b", "tie")] * 10)
    assert all(r.high - r.low > 100 and r.ties == 10 for r in ranking.ranking)
    assert ranking.pairs[0].p_a_better == pytest.approx(0.5, abs=0.03)


def test_more_votes_narrow_the_interval() -> None:
    def width(n: int) -> float:
        best = rank([vote("a", "b", "1"), vote("a", "b", "2"), vote("a", "b", "1")] * n).ranking[0]
        return best.high - best.low

    assert width(2) > 1.5 * width(10) > 1.5 * 1.5 * width(60)


def test_six_to_nothing_does_not_run_away_and_settles() -> None:
    ranking = rank([vote("a", "b", "1")] * 12)
    assert ranking.ranking[0].high < 2000 and ranking.pairs[0].votes_needed == 0


def test_sides_do_not_matter() -> None:
    left, right = rank([vote("a", "b", "1")] * 5), rank([vote("b", "a", "2")] * 5)
    assert left == right


def test_only_blind_votes_with_an_opinion_count() -> None:
    ranking = rank([vote("a", "b", "1", blind=False), vote("a", "b", "skip"), vote("a", "b", "both_bad")])
    assert ranking.votes == 1 and [r.both_bad for r in ranking.ranking] == [1, 1]


def test_the_posterior_agrees_with_the_integral() -> None:
    """Two checkpoints, 4–1: P(a > b) by numerical integration of the same model, prior of the difference N(0, 2·1.5²)."""
    from math import exp

    step = 0.001
    grid = [i * step for i in range(-15_000, 15_000)]
    weight = [exp(-(d**2) / (2 * 2 * 1.5**2)) * (1 / (1 + exp(-d))) ** 4 * (1 - 1 / (1 + exp(-d))) for d in grid]
    exact = sum(w for d, w in zip(grid, weight, strict=True) if d > 0) / sum(weight)
    sampled = rank([vote("a", "b", "1")] * 4 + [vote("a", "b", "2")]).pairs[0].p_a_better
    assert sampled == pytest.approx(exact, abs=0.015)


def test_intervals_cover_the_truth() -> None:
    """Strengths drawn from the prior, votes from the model: the 95 % intervals must hold about 95 % of the truths."""
    from math import exp

    chance = random.Random(5)
    covered = total = 0
    for trial in range(40):
        truth = {name: chance.gauss(0, 1.5) for name in "abc"}
        mean = sum(truth.values()) / 3
        votes = []
        for _ in range(20):
            a, b = chance.sample("abc", 2)
            votes.append(vote(a, b, "1" if chance.random() < 1 / (1 + exp(truth[b] - truth[a])) else "2"))
        for r in rank(votes, list("abc"), seed=trial).ranking:
            covered += r.low <= 1000 + 173.72 * (truth[r.checkpoint] - mean) <= r.high
            total += 1
    assert covered / total > 0.88


def test_the_next_pair_is_the_one_that_is_open() -> None:
    decided = [vote("a", "c", "1")] * 12 + [vote("b", "c", "1")] * 12
    assert set(next_pair(decided, ["a", "b", "c"])) == {"a", "b"}


def test_the_voters_leanings_are_shown() -> None:
    votes = [vote("a", "b", "1", replies=("long reply", "x"))] * 3 + [vote("a", "b", "2", replies=("long reply", "x"))]
    assert voter_bias(votes) == {"left": 0.75, "longer": 0.75}
    assert voter_bias([]) == {"left": None, "longer": None}


def _votes_to_best(choose: Callable[[list[Vote], list[str], int], tuple[str, str]], seed: int) -> int:
    from math import exp

    names = list("abcde")
    truth = {name: -i * 1.2 for i, name in enumerate(names)}
    chance = random.Random(seed)
    votes: list[Vote] = []
    for n in range(1, 61):
        a, b = choose(votes, names, n)
        votes.append(vote(a, b, "1" if chance.random() < 1 / (1 + exp(truth[b] - truth[a])) else "2"))
        if n >= 8 and max(rank(votes, names, seed=n).ranking, key=lambda r: r.best).best > 0.9:
            return n
    return 61


def test_choosing_pairs_beats_random_pairing() -> None:
    def at_random(_votes: list[Vote], names: list[str], n: int) -> tuple[str, str]:
        a, b = random.Random(n * 7919).sample(names, 2)
        return a, b

    chosen = sum(_votes_to_best(lambda v, names, n: next_pair(v, names, n), seed) for seed in range(6))
    unchosen = sum(_votes_to_best(at_random, seed) for seed in range(6))
    assert chosen < unchosen
