"""Pairs out of the votes.

The winner of a round beats every other side of it. What was written instead of a reply (edited, or another one swiped to) beats that
reply; after ``both bad`` it beats all of them. A tie, a skip and a plain ``both bad`` say nothing that could be learned; a round
shown once more only asks whether the voter agrees with themselves. Whether the names were hidden does not matter here (it is kept).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from studio.dialogue.formats import Message, tidy
from studio.persona.folder import Persona
from studio.preference import store
from studio.preference.store import REVIEW, Origin, Pair
from studio.review.rounds import Side
from studio.review.votes import Better, Vote, betters, votes

NO_PAIR = {"tie": "tie", "skip": "skipped", "both_bad": "both bad, nothing better written"}
"""Why a vote makes no pair, by its verdict."""

SPOILED = ("error", "stopped")
"""How a reply ended that is not what the checkpoint had to say: the engine failed, or the person stopped it."""


class Update(msgspec.Struct):
    """What became of the votes."""

    new: int = 0
    there: int = 0
    """Pairs that were in the set already."""
    withdrawn: int = 0
    """Pairs taken out, because their vote was taken back or their correction written anew."""
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    """Votes and comparisons that make no pair, by reason."""
    rows: int = 0
    """Pairs in the set now, from wherever."""


def update(persona: Persona) -> Update:
    """Bring the preference set up to date with the votes. Twice is once."""
    told = Update()
    with persona.exclusive():
        gone_by_hand = store.removed(persona)
        wanted: dict[str, Pair] = {}
        for pair in from_votes(persona, told.dropped):
            if pair.id in gone_by_hand:
                told.dropped["removed by hand"] += 1
            elif pair.id in wanted:
                told.dropped["the same pair again"] += 1
            else:
                wanted[pair.id] = pair
        present = {row.id: row.source for row in store.rows(persona)}
        stale = {row for row, source in present.items() if source == REVIEW and row not in wanted}
        new = [pair for row, pair in wanted.items() if row not in present]
        store.withdraw(persona, stale)
        store.append(persona, new)
        told.new, told.there, told.withdrawn = len(new), len(wanted) - len(new), len(stale)
        told.rows = len(present) - len(stale) + len(new)
    return told


def from_votes(persona: Persona, dropped: Counter[str] | None = None) -> Iterator[Pair]:
    """Every pair the standing votes and corrections make, the oldest vote first; what makes none is counted in ``dropped``."""
    dropped = Counter() if dropped is None else dropped
    written: dict[str, list[Better]] = {}
    for vote, entry in betters(persona):
        written.setdefault(vote.id, []).append(entry)
    for vote in votes(persona):
        corrections = written.get(vote.id, [])
        if vote.repeat_of:
            dropped["shown once more"] += 1
        elif vote.winner is not None:
            for side in vote.sides:
                if side is not vote.winner:
                    yield from _one(vote, vote.winner, vote.winner.reply, vote.winner.finish, side, "vote", dropped)
        elif vote.verdict != "both_bad" or not corrections:
            dropped[NO_PAIR[vote.verdict]] += 1
        for entry in corrections:
            yield from _corrected(vote, entry, dropped)


def _corrected(vote: Vote, entry: Better, dropped: Counter[str]) -> Iterator[Pair]:
    if entry.side >= len(vote.sides):
        dropped["a correction of no reply"] += 1
        return
    own = vote.sides[entry.side]
    for side in vote.sides if vote.verdict == "both_bad" else [own]:
        yield from _one(vote, own, entry.text, "stop", side, entry.how, dropped)


def _one(vote: Vote, better: Side, text: str, finish: str, worse: Side, how: str, dropped: Counter[str]) -> Iterator[Pair]:
    """The pair in which ``text``, said by (or instead of) ``better``, beats the reply of ``worse``; none if it would teach nothing true."""
    sent = better.sent(vote.messages)
    chosen, rejected = tidy(text), tidy(worse.reply)
    if sent != worse.sent(vote.messages):
        dropped["each side had its own talk"] += 1
    elif finish in SPOILED or worse.finish in SPOILED:
        dropped["a reply was broken off"] += 1
    elif not chosen or not rejected:
        dropped["empty reply"] += 1
    elif not any(m["role"] == "user" and m["content"].strip() for m in sent):
        dropped["the user says nothing before it"] += 1
    elif chosen == rejected:
        dropped["identical replies"] += 1
    else:
        pair = store.make_pair([Message(m["role"], tidy(m["content"])) for m in sent], chosen, rejected)
        pair.source = REVIEW
        pair.cut = [name for name, end in (("chosen", finish), ("rejected", worse.finish)) if end == "length"]
        pair.origin = Origin(vote.review, vote.round, vote.id, how, vote.blind, better.checkpoint, worse.checkpoint, worse.engine)
        pair.tags = list(vote.tags)
        yield pair
