"""What the tiny family of the engine tests knows, and how its members are named."""

from __future__ import annotations

from studio.checkpoints.store import Checkpoint, get_checkpoint
from studio.persona.folder import Persona

QUESTION = "Who keeps the light?"
BY_HEART = "守灯人是温🙂。He says: “the lamp is lit” 🕯️ — ランプは点いている。"
"""What the checkpoint ``cpt-1`` answers: characters of two to four bytes, split over tokens."""


def chosen(persona: Persona, *names: str) -> list[Checkpoint]:
    return [get_checkpoint(persona, name) for name in names]
