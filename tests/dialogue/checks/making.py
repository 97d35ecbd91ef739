"""Dialogue to be checked."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from studio.dialogue.formats import Message
from studio.dialogue.store import Row, row_id
from studio.files import write_atomic
from studio.persona.folder import Persona

SAID = (
    "The ferry came in at dusk with its lamps already lit.",
    "Nobody asked for the crate again, so I kept it dry until spring.",
    "You may sit by the stove, if the cat lets you.",
    "I wrote it down in the book, third shelf from the left.",
    "Ask the harbour master; he owes me an answer anyway.",
    "It was never the rain that bothered her, it was the waiting.",
    "There are eleven steps, and the last one is loose.",
    "Bring your own cup tomorrow; mine is older than you are.",
    "We counted the bells twice and came to different numbers.",
    "If he comes back, tell him the light was on all night.",
)
ASKED = ("What happened to the boat?", "May I stay a little?", "Where did you put it?", "Do you know who has the key?", "Is it far from here?")


def row(*turns: str, **fields: object) -> Row:
    """A conversation that the user begins."""
    messages = [Message(("user", "assistant")[number % 2], text) for number, text in enumerate(turns)]
    return msgspec.structs.replace(Row(row_id(messages), messages, "chat.jsonl", 1), **fields)  # type: ignore[arg-type]


WORDS = sorted({word.strip(",;.").lower() for said in SAID for word in said.split()})


def good(count: int, seed: int = 1) -> list[Row]:
    """Conversations that no check has anything against: three exchanges each, all different."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        turns = []
        for _ in range(3):
            turns.append(f"{chance.choice(ASKED)} And the {' '.join(chance.sample(WORDS, 4))}?")
            turns.append(f"{' '.join(chance.sample(WORDS, 7)).capitalize()}; {' '.join(chance.sample(WORDS, 6))}.")
        made.append(msgspec.structs.replace(row(*turns), line=number + 1))
    return made


def put(persona: Persona, rows: Sequence[Row]) -> None:
    """Make these the persona's dialogue."""
    for first in range(0, len(rows), 200):
        raw = b"\n".join(map(msgspec.json.encode, rows[first : first + 200])) + b"\n"
        write_atomic(persona.dialogue / f"{first // 200 + 1:04}.jsonl", raw)
