"""Votes: append-only, each complete in itself, undone by a further line and never by deleting one."""

from __future__ import annotations

import time
from typing import Literal
from uuid import uuid4

import msgspec

from studio.errors import StudioError
from studio.files import append_line
from studio.growing import grown
from studio.persona.folder import Persona
from studio.review.rounds import Review, Round, Sampling, Side

Verdict = Literal["1", "2", "3", "4", "tie", "both_bad", "skip"]
VERDICTS: tuple[Verdict, ...] = ("1", "2", "3", "4", "tie", "both_bad", "skip")

TAGS = ("out of character", "wrong lore", "repeats", "too long", "assistant-speak", "broken language", "lovely line")
"""Why a reply won or lost, in the words offered."""


class Vote(msgspec.Struct, tag="vote", tag_field="kind"):
    """One line of ``votes.jsonl``: the whole round with its verdict, readable without any other file."""

    id: str
    t: float
    review: str
    round: str
    verdict: Verdict
    blind: bool
    """Whether the names were hidden until the vote; only such votes count for the ranking."""
    messages: list[dict[str, str]]
    sides: list[Side]
    sampling: Sampling
    source: str = ""
    tags: list[str] = []
    note: str = ""
    ahead: bool = False
    repeat_of: str = ""

    @property
    def winner(self) -> Side | None:
        """The side that was called best (of two to four); None for a tie, both bad or a skip."""
        return self.sides[int(self.verdict) - 1] if self.verdict.isdigit() else None


class Better(msgspec.Struct, tag="better", tag_field="kind"):
    """What she should have said in a round that has its vote: the reply edited, or another one of the same checkpoint taken instead."""

    id: str
    t: float
    vote: str
    side: int
    """Index of the side whose reply it replaces."""
    text: str
    how: Literal["edited", "swiped"]


class Undo(msgspec.Struct, tag="undo", tag_field="kind"):
    """Takes an earlier vote back."""

    vote: str
    t: float


def cast(persona: Persona, review: Review, voted: Round, verdict: Verdict, blind: bool = True, tags: list[str] | None = None, note: str = "") -> Vote:
    """Record a vote; it is on disk when this returns. A round is voted on once: take the vote back to change it."""
    with persona.exclusive():
        if any(vote.round == voted.id for vote in votes(persona)):
            raise StudioError(f"Round {voted.id} has its vote already; undo that one first.")
        if any(side.finish == "error" for side in voted.sides) and verdict != "skip":
            raise StudioError(f"A reply of round {voted.id} was cut off by an engine that failed; skip it or generate it again.")
        if verdict.isdigit() and int(verdict) > len(voted.sides):
            raise StudioError(f"Round {voted.id} has {len(voted.sides)} replies, so none of them is number {verdict}.")
        vote = Vote(
            id=uuid4().hex[:12],
            t=time.time(),
            review=review.id,
            round=voted.id,
            verdict=verdict,
            blind=blind and not voted.names_itself,
            messages=voted.messages,
            sides=voted.sides,
            sampling=review.sampling,
            source=voted.source,
            tags=tags or [],
            note=note,
            ahead=voted.ahead,
            repeat_of=voted.repeat_of,
        )
        append_line(persona.votes, vote)
    return vote


def undo(persona: Persona, review: Review) -> Vote:
    """Take the newest vote of a review back."""
    with persona.exclusive():
        standing = [vote for vote in votes(persona) if vote.review == review.id]
        if not standing:
            raise StudioError(f"There is no vote of {review.id} to undo.")
        append_line(persona.votes, Undo(standing[-1].id, time.time()))
    return standing[-1]


def better(persona: Persona, vote: Vote, side: int, text: str, how: Literal["edited", "swiped"] = "edited") -> Better:
    """Record what she should have said instead of one side's reply; it is on disk when this returns. The newest of a side holds."""
    if not text.strip():
        raise StudioError("What she should have said is empty; write it, or leave the reply as it is.")
    with persona.exclusive():
        if vote.id not in _standing(persona)[0]:
            raise StudioError(f"The vote on round {vote.round} was taken back; vote on it first.")
        entry = Better(uuid4().hex[:12], time.time(), vote.id, side, text, how)
        append_line(persona.votes, entry)
    return entry


def votes(persona: Persona) -> list[Vote]:
    """The votes that stand, the oldest first. A vote written twice counts once, a torn line not at all."""
    return list(_standing(persona)[0].values())


def betters(persona: Persona) -> list[tuple[Vote, Better]]:
    """Every standing correction with its vote, the newest of each side of a vote only."""
    standing, corrections = _standing(persona)
    newest = {(entry.vote, entry.side): entry for entry in corrections if entry.vote in standing}
    return [(standing[entry.vote], entry) for entry in newest.values()]


def _standing(persona: Persona) -> tuple[dict[str, Vote], list[Better]]:
    standing: dict[str, Vote] = {}
    corrections: list[Better] = []
    for entry in grown(persona.votes, Vote | Undo | Better):
        if isinstance(entry, Vote):
            standing.setdefault(entry.id, entry)
        elif isinstance(entry, Better):
            corrections.append(entry)
        else:
            standing.pop(entry.vote, None)
    return standing, corrections
