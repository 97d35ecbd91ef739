"""Replies written ahead: dealt between whom they compare best, shown again to see whether the voter agrees with themselves."""

from collections import Counter

import pytest

from studio.checkpoints.store import get_checkpoint
from studio.files import append_line
from studio.persona.folder import Persona
from studio.review.ahead import REPEAT_AFTER, Pool, Reply, add_prompts
from studio.review.prompts import written
from studio.review.rounds import Review, Side, digest, open_review
from studio.review.sitting import Sitting

NAMES = ("base", "cpt-1-e1", "sft-1-e1")


@pytest.fixture
def review(persona: Persona) -> Review:
    for name in NAMES[1:]:
        (persona.checkpoints / name).mkdir()
        (persona.checkpoints / name / "checkpoint.toml").write_text(f'id = "{name}"\nname = "{name}"\nstage = "cpt"\nparent = "base"\n')
    return open_review(persona, list(NAMES), seed=5)


def answer(persona: Persona, review: Review, name: str, prompt: str) -> None:
    side = Side(name, digest(get_checkpoint(persona, name)), f"{name} says {prompt}".replace("-1-e1", ""), "stop")
    append_line(persona.reviews / review.id / "replies.jsonl", Reply(prompt, side))


def full(persona: Persona, review: Review, prompts: int) -> Sitting:
    for prompt in add_prompts(persona, review, written(persona, [f"Question {n}?" for n in range(prompts)])):
        for name in NAMES:
            answer(persona, review, name, prompt.id)
    return Sitting(persona, review)


def test_a_prompt_is_asked_once_and_what_is_missing_is_known(persona: Persona, review: Review) -> None:
    assert [p.id for p in add_prompts(persona, review, written(persona, ["Tea?", "Tea?", "Rain?"]))] == ["p1", "p2"]
    assert add_prompts(persona, review, written(persona, ["Rain?"])) == []
    answer(persona, review, "base", "p1")
    assert {(p.id, name) for p, name in Pool(persona, review).missing} == {(p, n) for p in ("p1", "p2") for n in NAMES} - {("p1", "base")}


def test_a_reply_of_weights_that_are_no_more_does_not_count(persona: Persona, review: Review) -> None:
    add_prompts(persona, review, written(persona, ["Tea?"]))
    append_line(persona.reviews / review.id / "replies.jsonl", Reply("p1", Side("base", "other weights", "Hm.", "stop")))
    assert len(Pool(persona, review).missing) == 3


def test_rounds_are_dealt_only_between_those_that_have_answered_until_nothing_is_left(persona: Persona, review: Review) -> None:
    add_prompts(persona, review, written(persona, ["Tea?", "Rain?"]))
    sitting = Sitting(persona, review)
    assert sitting.deal_ahead() is None
    answer(persona, review, "base", "p2")
    answer(persona, review, "sft-1-e1", "p2")
    dealt = sitting.deal_ahead()
    assert dealt and dealt.ahead and dealt.asked == "p2" and {s.checkpoint for s in dealt.sides} == {"base", "sft-1-e1"}
    assert all(side.reply == f"{side.checkpoint.replace('-1-e1', '')} says p2" for side in dealt.sides)
    assert Sitting(persona, review).waiting[0].id == dealt.id  # it is on disk before it is shown
    sitting.vote(dealt, "1")
    assert sitting.deal_ahead() is None


def test_the_same_prompt_never_meets_the_same_checkpoints_twice_but_for_repeats(persona: Persona, review: Review) -> None:
    sitting = full(persona, review, 8)
    seen: Counter[tuple[str, frozenset[str]]] = Counter()
    while dealt := sitting.deal_ahead():
        if not dealt.repeat_of:
            seen[dealt.asked, frozenset(s.checkpoint for s in dealt.sides)] += 1
        sitting.vote(dealt, "1" if dealt.sides[0].checkpoint > dealt.sides[1].checkpoint else "2")
    assert len(seen) == 8 * 3 and set(seen.values()) == {1}


def test_a_repeat_is_an_earlier_round_turned_and_is_not_counted_again(persona: Persona, review: Review) -> None:
    sitting = full(persona, review, 12)
    first = []
    for _ in range(REPEAT_AFTER):
        dealt = sitting.deal_ahead()
        assert dealt and not dealt.repeat_of
        first.append(dealt)
        sitting.vote(dealt, "1")
    again = sitting.deal_ahead()
    assert again and again.repeat_of
    earlier = next(r for r in first if r.id == again.repeat_of)
    assert [s.reply for s in again.sides] == [s.reply for s in reversed(earlier.sides)] and again.messages == earlier.messages
    vote = sitting.vote(again, "2")
    assert vote.repeat_of == earlier.id
    from studio.review.ranking import counted

    assert len(counted(sitting.telling_votes())) == REPEAT_AFTER
    following = sitting.deal_ahead()
    assert following and not following.repeat_of


def test_three_side_by_side(persona: Persona, review: Review) -> None:
    wide = open_review(persona, list(NAMES), seed=5, panes=3)
    sitting = full(persona, wide, 4)
    places: Counter[tuple[str, int]] = Counter()
    while dealt := sitting.deal_ahead():
        assert len(dealt.sides) == 3
        places.update((side.checkpoint, place) for place, side in enumerate(dealt.sides))
        sitting.vote(dealt, "3")
    assert len(sitting.past) == 4 and max(places.values()) <= 3
