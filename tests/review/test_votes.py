"""Rounds and votes: dealt fairly, kept for ever, counted once."""

from collections import Counter

import pytest

from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.rounds import Review, Round, deal, open_review, record, rounds
from studio.review.votes import cast, undo, votes

PROMPT = [{"role": "user", "content": "I had a bad day."}]


@pytest.fixture
def review(persona: Persona) -> Review:
    (persona.checkpoints / "cpt-1-e1").mkdir()
    (persona.checkpoints / "cpt-1-e1" / "checkpoint.toml").write_text('id = "cpt-1-e1"\nname = "cpt-1-e1"\nstage = "cpt"\nparent = "base"\n')
    return open_review(persona, ["base", "cpt-1-e1"], seed=3)


def played(persona: Persona, review: Review) -> Round:
    dealt = deal(persona, review, PROMPT, ("base", "cpt-1-e1"), rounds(persona, review))
    for side in dealt.sides:
        side.reply, side.finish = f"I am {len(side.checkpoint)} things.", "stop"
    return record(persona, review, dealt)


def test_sides_are_balanced_but_not_predictable(persona: Persona, review: Review) -> None:
    left = [played(persona, review).sides[0].checkpoint for _ in range(60)]
    counts = Counter(left)
    assert abs(counts["base"] - counts["cpt-1-e1"]) <= 8
    assert len({tuple(left[i : i + 2]) for i in range(0, 60, 2)}) >= 3


def test_a_crash_cannot_be_used_to_look_behind_the_sides(persona: Persona, review: Review) -> None:
    again = [deal(persona, review, PROMPT, ("base", "cpt-1-e1"), []).sides[0].checkpoint for _ in range(5)]
    assert len(set(again)) == 1


def test_one_round_one_vote(persona: Persona, review: Review) -> None:
    one = played(persona, review)
    cast(persona, review, one, "1")
    with pytest.raises(StudioError, match="has its vote already"):
        cast(persona, review, one, "2")
    assert [v.verdict for v in votes(persona)] == ["1"]
    assert votes(persona)[0].messages == PROMPT and votes(persona)[0].sides[0].reply


def test_undo_is_a_line_and_not_a_deletion(persona: Persona, review: Review) -> None:
    one = played(persona, review)
    cast(persona, review, one, "1")
    undo(persona, review)
    assert votes(persona) == []
    cast(persona, review, one, "both_bad")
    assert [v.verdict for v in votes(persona)] == ["both_bad"]
    assert len(persona.votes.read_text().splitlines()) == 3
    undo(persona, review)
    with pytest.raises(StudioError, match="no vote"):
        undo(persona, review)


def test_a_torn_line_loses_only_itself(persona: Persona, review: Review) -> None:
    cast(persona, review, played(persona, review), "1")
    with persona.votes.open("a") as file:
        file.write('{"kind": "vote", "id": "x", "t": 1')
    cast(persona, review, played(persona, review), "2")
    assert [v.verdict for v in votes(persona)] == ["1", "2"]


def test_a_reply_that_names_itself_is_not_blind(persona: Persona, review: Review) -> None:
    dealt = deal(persona, review, PROMPT, ("base", "cpt-1-e1"), [])
    dealt.sides[0].reply = "I am cpt-1-e1."
    assert dealt.names_itself == [0]
    assert not cast(persona, review, record(persona, review, dealt), "1").blind


def test_a_reply_cut_off_by_a_dead_engine_is_not_judged(persona: Persona, review: Review) -> None:
    dealt = played(persona, review)
    dealt.sides[1].finish = "error"
    with pytest.raises(StudioError, match="cut off"):
        cast(persona, review, dealt, "1")
    cast(persona, review, dealt, "skip")


def test_a_review_needs_two(persona: Persona) -> None:
    with pytest.raises(StudioError, match="2 to 8"):
        open_review(persona, ["base", "base"])
