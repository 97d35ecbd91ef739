"""Dialogue out of a review: what she should have said, and talks worth keeping, as conversations for fine-tuning."""

from __future__ import annotations

from collections import Counter

import msgspec

from studio.dialogue.formats import Message, tidy
from studio.dialogue.store import Row, row_id, rows
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.votes import Better, Vote, betters, votes
from studio.shards import append_rows

SOURCE = "review"


class Kept(msgspec.Struct):
    """What was added to the dialogue."""

    new: int = 0
    there: int = 0
    """Conversations that stand in the dialogue already, whole or as the beginning of a longer one."""
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    rows: list[str] = []
    """Ids of the new ones."""


def keep(persona: Persona, rounds: list[str] | None = None) -> Kept:
    """Add to the dialogue every reply that was edited or swiped to, with the talk before it; of the named rounds also the winner's.

    A kept round brings its whole talk: everything that was sent, then the reply that won (its correction, where there is one).
    StudioError if a named round has no vote, or nobody won it.
    """
    told = Kept()
    with persona.exclusive():
        found = [*_corrected(persona, told.dropped), *_talks(persona, rounds or [])]
        # Longest first: what another conversation begins with would only be read twice.
        found.sort(key=lambda row: len(row.messages), reverse=True)
        begun = {row_id(row.messages[:end]) for row in rows(persona) for end in range(1, len(row.messages) + 1)}
        new: list[Row] = []
        for row in found:
            if row.id in begun:
                told.there += 1
                continue
            begun |= {row_id(row.messages[:end]) for end in range(1, len(row.messages) + 1)}
            new.append(row)
        append_rows(persona.dialogue, new)
    told.new, told.rows = len(new), [row.id for row in new]
    return told


def _corrected(persona: Persona, dropped: Counter[str]) -> list[Row]:
    found = []
    for vote, entry in betters(persona):
        if entry.side >= len(vote.sides):
            dropped["a correction of no reply"] += 1
        elif row := _row(vote, entry.side, entry.text, entry.how):
            found.append(row)
        else:
            dropped["the user says nothing in it"] += 1
    return found


def _talks(persona: Persona, asked: list[str]) -> list[Row]:
    standing = {vote.round: vote for vote in votes(persona)}
    corrections: dict[tuple[str, int], Better] = {(vote.id, entry.side): entry for vote, entry in betters(persona)}
    found = []
    for name in asked:
        vote = standing.get(name)
        if vote is None:
            raise StudioError(f"Round {name!r} has no vote that stands; only rounds that were voted on are kept.")
        if vote.winner is None:
            raise StudioError(f"Nobody won round {name}, so there is no reply to keep; write a better one in the review first.")
        side = vote.sides.index(vote.winner)
        entry = corrections.get((vote.id, side))
        if entry is None and vote.winner.finish == "length":
            raise StudioError(f"The reply that won round {name} was cut off at the length limit; write its end in the review first.")
        row = _row(vote, side, entry.text if entry else vote.winner.reply, "talk")
        if row is None:
            raise StudioError(f"The user says nothing in round {name}, so it is no conversation to learn from.")
        found.append(row)
    return found


def _row(vote: Vote, side: int, reply: str, how: str) -> Row | None:
    """The talk as that side was sent it, ended by ``reply``. None if the user says nothing in it."""
    sent = vote.sides[side].sent(vote.messages)
    messages = [Message(m["role"], tidy(m["content"])) for m in sent]
    if not any(m.role == "user" for m in messages) or not tidy(reply):
        return None
    messages.append(Message("assistant", tidy(reply)))
    return Row(row_id(messages), messages, SOURCE, 0, [f"round:{vote.round}", how])
