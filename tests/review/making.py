"""Votes and rounds as a sitting leaves them, made in one line each."""

from __future__ import annotations

from collections.abc import Sequence

from studio.checkpoints.store import get_checkpoint
from studio.persona.folder import Persona
from studio.review.rounds import Review, Round, Sampling, Side, digest, record, rounds
from studio.review.votes import Verdict, Vote, cast


def vote(
    sides: Sequence[tuple[str, str]],
    verdict: Verdict,
    prompt: str = "Tea?",
    round_id: str = "r",
    repeat_of: str = "",
    tags: Sequence[str] = (),
) -> Vote:
    """A blind vote on ``(checkpoint, reply)`` in the order on screen."""
    made = [Side(name, "", reply) for name, reply in sides]
    messages = [{"role": "user", "content": prompt}]
    return Vote("v", 0.0, "review-1", round_id, verdict, True, messages, made, Sampling(), tags=list(tags), repeat_of=repeat_of)


def add_checkpoint(persona: Persona, name: str, stage: str = "sft", extra: str = "") -> None:
    folder = persona.checkpoints / name
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint.toml").write_text(f'id = "{name}"\nname = "{name}"\nstage = "{stage}"\nparent = "base"\n{extra}')


def played(persona: Persona, review: Review, replies: dict[str, str], prompt: str = "Tea?", finish: str = "stop", repeat_of: str = "") -> Round:
    """A recorded round with these replies, in this order."""
    number = len(rounds(persona, review)) + 1
    sides = [Side(name, digest(get_checkpoint(persona, name)), text, finish, seed=number) for name, text in replies.items()]
    messages = [{"role": "user", "content": prompt}]
    made = Round(f"{review.id}.{number}", review.id, number, messages, sides, t=1_767_225_600.0 + number, repeat_of=repeat_of)
    return record(persona, review, made)


def voted(
    persona: Persona,
    review: Review,
    replies: dict[str, str],
    verdict: Verdict,
    prompt: str = "Tea?",
    tags: Sequence[str] = (),
    note: str = "",
    repeat_of: str = "",
) -> Vote:
    """A round and its vote, on disk."""
    return cast(persona, review, played(persona, review, replies, prompt, repeat_of=repeat_of), verdict, tags=list(tags), note=note)
