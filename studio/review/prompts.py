"""Where the prompts of a review come from: the person's own words, the probes, held-out dialogue, the card's greetings."""

from __future__ import annotations

import random

import msgspec

from studio.files import read_lines
from studio.persona.folder import Persona
from studio.review.probes import load_probes, opening
from studio.snapshots import latest_snapshot

Messages = list[dict[str, str]]


class Prompt(msgspec.Struct, frozen=True):
    """One thing to ask every checkpoint."""

    id: str
    messages: Messages
    """The conversation, the prompt last."""
    source: str = "typed"
    """As in ``Round.source``."""


def written(persona: Persona, texts: list[str], source: str = "typed") -> list[Prompt]:
    """Prompts in the person's own words; a pasted scene is one of several lines."""
    return [Prompt("", opening(persona, text), source) for text in texts]


def probes(persona: Persona, most: int) -> list[Prompt]:
    """The first ``most`` open probes."""
    found = [p for p in load_probes(persona) if p.kind == "open"][:most]
    return [Prompt("", opening(persona, p.prompt), f"probe:{p.id}") for p in found]


def held_out(persona: Persona, most: int, seed: int = 17) -> list[Prompt]:
    """Conversations of the validation split, each up to one of the user's turns: what she was never trained to answer.

    StudioError without a snapshot of the dialogue.
    """
    snapshot = latest_snapshot(persona, "dialogue")
    chance = random.Random(seed)
    found = []
    rows = [row for _, row in read_lines(persona.snapshots / snapshot.id / "val.jsonl")]
    chance.shuffle(rows)
    for row in rows[:most]:
        messages: Messages = row["messages"]
        answered = [i for i, message in enumerate(messages) if message["role"] == "assistant" and i and messages[i - 1]["role"] == "user"]
        if answered:
            found.append(Prompt("", messages[: chance.choice(answered)], f"dialogue:{row.get('id', '')}"))
    return found


def greetings(persona: Persona) -> list[Messages]:
    """Beginnings of a talk in which she speaks first: the card's greeting and its alternatives. Empty without a card."""
    from studio.persona.cards import read_card

    if not persona.card.is_file():
        return []
    said = read_card(persona.card).greetings(persona.manifest.character.user)
    return [[*opening(persona, "")[:-1], {"role": "assistant", "content": text}] for text in said]
