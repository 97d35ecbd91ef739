"""Votes become pairs by fixed rules; each rule has a test that fails when it is broken."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from studio.dialogue import store as dialogue_store
from studio.errors import StudioError
from studio.files import append_line, read_lines
from studio.persona.folder import Persona
from studio.preference import store
from studio.preference.pairs import from_votes, update
from studio.review.keeping import keep
from studio.review.rounds import Sampling, Side
from studio.review.votes import Vote, better, votes

PROMPT = [{"role": "system", "content": "You are Wen."}, {"role": "user", "content": "I had a bad day."}]


def said(checkpoint: str, reply: str, finish: str = "stop", own: list[dict[str, str]] | None = None) -> Side:
    return Side(checkpoint, f"digest-{checkpoint}", reply, finish, own=own or [])


def voted(persona: Persona, verdict: str, *sides: Side, prompt: list[dict[str, str]] = PROMPT, repeat_of: str = "", blind: bool = True) -> Vote:
    """A vote as ``cast`` writes it."""
    number = len(votes(persona)) + 1
    raw = {
        "kind": "vote",
        "id": f"v{number}",
        "t": float(number),
        "review": "review-1",
        "round": f"review-1.{number}",
        "verdict": verdict,
        "blind": blind,
        "messages": prompt,
        "sides": msgspec.to_builtins(list(sides)),
        "sampling": msgspec.to_builtins(Sampling()),
        "repeat_of": repeat_of,
    }
    append_line(persona.votes, raw)
    return votes(persona)[-1]


def texts(persona: Persona) -> list[tuple[str, str]]:
    return [(pair.better, pair.worse) for pair in from_votes(persona)]


def test_the_winner_beats_every_other_side_and_nobody_else_beats_anybody(persona: Persona) -> None:
    voted(persona, "2", said("a", "I am sorry to hear it."), said("b", "Sit."), said("c", "Oh no."))
    assert sorted(texts(persona)) == [("Sit.", "I am sorry to hear it."), ("Sit.", "Oh no.")]
    (pair, _) = from_votes(persona)
    assert [(m.role, m.content) for m in pair.prompt] == [("system", "You are Wen."), ("user", "I had a bad day.")]
    assert [m.role for m in pair.chosen + pair.rejected] == ["assistant", "assistant"]
    assert pair.source == "review" and pair.origin is not None
    assert (pair.origin.round, pair.origin.vote, pair.origin.how, pair.origin.chosen, pair.origin.rejected) == ("review-1.1", "v1", "vote", "b", "a")


@pytest.mark.parametrize("verdict", ["tie", "both_bad", "skip"])
def test_what_prefers_nothing_makes_no_pair(persona: Persona, verdict: str) -> None:
    voted(persona, verdict, said("a", "Sit."), said("b", "Oh no."))
    told = update(persona)
    assert (told.new, told.rows, told.dropped.total()) == (0, 0, 1)


def test_a_round_shown_once_more_makes_no_pair(persona: Persona) -> None:
    voted(persona, "1", said("a", "Sit."), said("b", "Oh no."))
    voted(persona, "1", said("b", "Oh no."), said("a", "Sit."), repeat_of="review-1.1")
    assert texts(persona) == [("Sit.", "Oh no.")]
    assert update(persona).dropped == {"shown once more": 1}


def test_a_vote_with_names_known_counts_and_says_so(persona: Persona) -> None:
    voted(persona, "1", said("a", "Sit."), said("b", "Oh no."), blind=False)
    (pair,) = from_votes(persona)
    assert pair.origin is not None and not pair.origin.blind


@pytest.mark.parametrize("how", ["edited", "swiped"])
def test_a_correction_beats_the_reply_it_replaces_alone(persona: Persona, how: str) -> None:
    vote = voted(persona, "1", said("a", "Sit."), said("b", "Oh no."))
    better(persona, vote, 0, "Sit. The kettle is on.", how)  # type: ignore[arg-type]
    assert texts(persona) == [("Sit.", "Oh no."), ("Sit. The kettle is on.", "Sit.")]
    assert [pair.origin.how for pair in from_votes(persona) if pair.origin] == ["vote", how]


def test_after_a_tie_a_correction_still_counts(persona: Persona) -> None:
    vote = voted(persona, "tie", said("a", "Sit."), said("b", "Oh no."))
    better(persona, vote, 1, "Oh.")
    assert texts(persona) == [("Oh.", "Oh no.")]


def test_after_both_bad_a_correction_beats_all_sides(persona: Persona) -> None:
    vote = voted(persona, "both_bad", said("a", "How may I help?"), said("b", "Oh no."), said("c", "Hm?"))
    better(persona, vote, 1, "Sit.")
    assert sorted(texts(persona)) == [("Sit.", "Hm?"), ("Sit.", "How may I help?"), ("Sit.", "Oh no.")]
    assert not update(persona).dropped


def test_only_the_newest_correction_of_a_side_holds_and_the_old_pair_goes(persona: Persona) -> None:
    vote = voted(persona, "tie", said("a", "Sit."), said("b", "Oh no."))
    better(persona, vote, 0, "Sit down.")
    assert update(persona).new == 1
    better(persona, vote, 0, "Sit down, you.")
    told = update(persona)
    assert (told.new, told.withdrawn, told.rows) == (1, 1, 1)
    assert [row.better for row in store.rows(persona)] == ["Sit down, you."]


def test_twice_is_once(persona: Persona) -> None:
    voted(persona, "1", said("a", "Sit."), said("b", "Oh no."))
    voted(persona, "2", said("b", "Oh no."), said("a", "Sit."))
    first, second = update(persona), update(persona)
    assert (first.new, first.there, first.dropped) == (1, 0, {"the same pair again": 1})
    assert (second.new, second.there, second.rows) == (0, 1, 1)
    assert len(list(store.rows(persona))) == 1


def test_a_vote_taken_back_takes_its_pair_along_and_leaves_added_ones(persona: Persona, tmp_path: Path) -> None:
    voted(persona, "1", said("a", "Sit."), said("b", "Oh no."))
    voted(persona, "1", said("a", "Eat."), said("b", "No."))
    (tmp_path / "more.jsonl").write_text('{"prompt": "Tea?", "chosen": "Black.", "rejected": "As you wish!"}\n')
    store.add(persona, [tmp_path / "more.jsonl"])
    update(persona)
    append_line(persona.votes, {"kind": "undo", "vote": "v2", "t": 9.0})
    told = update(persona)
    assert (told.new, told.there, told.withdrawn, told.rows) == (0, 1, 1, 2)
    assert sorted(row.better for row in store.rows(persona)) == ["Black.", "Sit."]
    assert [value["chosen"][0]["content"] for _, value in read_lines(persona.preference / "withdrawn.jsonl")] == ["Eat."]


def test_a_pair_removed_by_hand_does_not_come_back(persona: Persona) -> None:
    voted(persona, "1", said("a", "Sit."), said("b", "Oh no."))
    update(persona)
    (row,) = store.rows(persona)
    store.remove(persona, [row.id])
    told = update(persona)
    assert (told.new, told.rows, told.dropped) == (0, 0, {"removed by hand": 1})
    with pytest.raises(StudioError, match="no pair"):
        store.remove(persona, [row.id])


def test_replies_to_different_talks_are_not_compared(persona: Persona) -> None:
    other = [*PROMPT[:1], {"role": "user", "content": "I had a good day."}]
    voted(persona, "1", said("a", "Sit."), said("b", "Good.", own=other))
    vote = voted(persona, "both_bad", said("a", "Hm."), said("b", "Well.", own=other))
    better(persona, vote, 1, "Then eat.")
    (pair,) = from_votes(persona)
    assert (pair.better, pair.worse, pair.prompt[-1].content) == ("Then eat.", "Well.", "I had a good day.")
    assert update(persona).dropped == {"each side had its own talk": 2}


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (said("a", "Sit."), said("b", " Sit. "), "identical replies"),
        (said("a", "Sit."), said("b", "  "), "empty reply"),
        (said("a", "Sit."), said("b", "Oh", "error"), "a reply was broken off"),
        (said("a", "Si", "stopped"), said("b", "Oh no."), "a reply was broken off"),
    ],
)
def test_pairs_that_would_teach_nothing_true(persona: Persona, chosen: Side, rejected: Side, reason: str) -> None:
    voted(persona, "1", chosen, rejected)
    told = update(persona)
    assert (told.new, told.dropped) == (0, {reason: 1})


@pytest.mark.parametrize("prompt", [[], PROMPT[:1], [*PROMPT[:1], {"role": "user", "content": " "}]])
def test_without_a_word_of_the_user_there_is_no_pair(persona: Persona, prompt: list[dict[str, str]]) -> None:
    voted(persona, "1", said("a", "Sit."), said("b", "Oh no."), prompt=prompt)
    assert update(persona).dropped == {"the user says nothing before it": 1}


def test_a_reply_cut_off_at_the_limit_is_marked(persona: Persona) -> None:
    vote = voted(persona, "1", said("a", "Sit and", "length"), said("b", "Oh no."))
    better(persona, vote, 0, "Sit and eat.")
    cut, mended = from_votes(persona)
    assert (cut.cut, mended.cut) == (["chosen"], ["rejected"])


def test_what_she_should_have_said_becomes_dialogue(persona: Persona) -> None:
    vote = voted(persona, "1", said("a", "Sit."), said("b", "Oh no."))
    better(persona, vote, 0, "Sit. The kettle is on.")
    longer = [*PROMPT, {"role": "assistant", "content": "Sit. The kettle is on."}, {"role": "user", "content": "Thank you."}]
    voted(persona, "2", said("a", "No."), said("b", "Drink."), prompt=longer)
    told = keep(persona, ["review-1.2"])
    # The kept talk begins with the edited one, which is therefore not written twice.
    assert (told.new, told.there) == (1, 1)
    (row,) = dialogue_store.rows(persona)
    assert row.replies == ["Sit. The kettle is on.", "Drink."]
    assert (row.source, row.tags) == ("review", ["round:review-1.2", "talk"])
    assert keep(persona, ["review-1.2"]).new == 0


def test_only_a_talk_that_somebody_won_is_kept(persona: Persona) -> None:
    voted(persona, "tie", said("a", "Sit."), said("b", "Oh no."))
    voted(persona, "1", said("a", "Sit and", "length"), said("b", "Oh no."))
    for asked, sentence in (("review-1.1", "Nobody won"), ("review-1.2", "cut off"), ("review-1.9", "no vote")):
        with pytest.raises(StudioError, match=sentence):
            keep(persona, [asked])
    assert list(dialogue_store.rows(persona)) == []
