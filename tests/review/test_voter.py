"""What is said about the voter is true of the voter and not of the checkpoints."""

import random
from math import exp

import pytest

from studio.review.voter import by_language, by_tag, consistency, voter
from studio.review.votes import Vote
from tests.review.making import vote


def judged(seed: int, left: float = 0.0, double: float = 0.0, quality: float = 0.0, wordy: str = "") -> list[Vote]:
    """160 votes of a voter with these leanings (logits for the left place, for twice the length, and of a over b)."""
    chance = random.Random(seed)
    votes = []
    for _ in range(160):
        names = chance.sample("ab", 2)
        sizes = {name: (240 if name == wordy else 60) if wordy else chance.choice((40, 80, 160)) for name in names}
        utility = [quality * (n == "a") + left * (i == 0) + double * {40: 0, 60: 0, 80: 1, 160: 2, 240: 2}[sizes[n]] for i, n in enumerate(names)]
        first = chance.random() < 1 / (1 + exp(utility[1] - utility[0]))
        votes.append(vote([(n, "x" * sizes[n]) for n in names], "1" if first else "2"))
    return votes


def test_a_fair_voter_is_called_fair_and_a_leaning_one_leaning() -> None:
    fair, leftish = voter(judged(1)), voter(judged(1, left=1.2))
    assert not fair.left.leans and not fair.longer.leans
    assert leftish.left.leans and leftish.left.fitted == pytest.approx(1 / (1 + exp(-1.2)), abs=0.08)
    assert leftish.left.of.k / leftish.left.of.n > 0.65 and leftish.left.expected == 0.5


def test_length_is_told_from_quality() -> None:
    """The better checkpoint also writes longer: the raw share leans, the voter is not accused where lengths vary on their own."""
    lengthy = voter(judged(2, double=0.9))
    assert lengthy.longer.leans and lengthy.longer.fitted == pytest.approx(1 / (1 + exp(-0.9)), abs=0.08)
    good = voter([*judged(3, quality=2.0, wordy="a"), *judged(4, quality=2.0)])
    assert good.longer.of.k / good.longer.of.n > 0.6
    assert good.longer.low is not None and good.longer.low < 0.5 < good.longer.high


def test_places_of_rounds_of_three_are_held_against_a_third() -> None:
    names = [("a", "x"), ("b", "xx"), ("c", "xxx")]
    found = voter([vote(names, "1")] * 2 + [vote(names, "3")] * 2 + [vote(names, "tie")])
    assert found.left.expected == pytest.approx(1 / 3, abs=1e-3) and [(p.k, p.n) for p in found.places] == [(2, 4), (0, 4), (2, 4)]
    assert found.longer.of.k == 2 and (found.votes, found.decided) == (5, 4)


def test_nothing_is_said_of_no_votes() -> None:
    none = voter([])
    assert none.left.of.share is None and none.left.fitted is None and not none.left.leans and none.consistency.same.n == 0
    few = voter([vote([("a", "x"), ("b", "yy")], "1")] * 3)
    assert few.left.fitted is None and few.left.of.k == 3


def test_lengths_stand_beside_the_opponents() -> None:
    found = {row.checkpoint: row for row in voter([vote([("a", "x" * 10), ("b", "y" * 30), ("c", "z" * 50)], "1")] * 3).lengths}
    assert (found["a"].own, found["a"].opponents, found["a"].rounds) == (10, 40, 3) and found["c"].opponents == 20


def test_agreement_is_on_the_reply_and_not_on_the_place() -> None:
    pair = [("a", "one"), ("b", "two")]
    turned = pair[::-1]
    votes = [
        vote(pair, "1", round_id="1"),
        vote(turned, "2", round_id="5", repeat_of="1"),
        vote(pair, "1", round_id="2"),
        vote(turned, "1", round_id="6", repeat_of="2"),
        vote(pair, "tie", round_id="3"),
        vote(turned, "tie", round_id="7", repeat_of="3"),
        vote(pair, "2", round_id="4"),
        vote(turned, "skip", round_id="8", repeat_of="4"),
        vote(turned, "1", round_id="9", repeat_of="gone"),
    ]
    found = consistency(votes)
    assert (found.same.k, found.same.n, found.turned, found.same_place) == (2, 3, 1, 1)
    assert voter(votes).votes == 4, "repeats are not counted again"


def test_tags_are_counted_where_they_were_given() -> None:
    pair = [("a", "one"), ("b", "two")]
    rows = by_tag([vote(pair, "1", tags=["too long"]), vote(pair, "both_bad", tags=["too long", "repeats"]), vote(pair, "2")])
    assert [(r.tag, r.checkpoint, r.votes, r.won, r.lost, r.both_bad) for r in rows] == [
        ("too long", "a", 2, 1, 0, 1),
        ("too long", "b", 2, 0, 1, 1),
        ("repeats", "a", 1, 0, 0, 1),
        ("repeats", "b", 1, 0, 0, 1),
    ]


def test_each_language_has_its_own_ranking() -> None:
    pair = [("a", "one"), ("b", "two")]
    rows = by_language([vote(pair, "1", "我今天过得很糟。")] * 6 + [vote(pair, "2", "I had a bad day.")] * 7)
    assert [(row.language, row.ranking.votes, row.ranking.ranking[0].checkpoint) for row in rows] == [("latin", 7, "b"), ("zh", 6, "a")]
