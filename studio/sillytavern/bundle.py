"""Everything SillyTavern needs to talk with a served checkpoint as it was trained: the card and the presets."""

from __future__ import annotations

from pathlib import Path

import msgspec

from studio.checkpoints.base import context_length
from studio.checkpoints.store import Checkpoint, weights_root
from studio.checkpoints.templates import template_for
from studio.files import write_atomic
from studio.persona.cards import read_card, to_png
from studio.persona.folder import Persona
from studio.review.rounds import Sampling
from studio.sillytavern.presets import master_preset

LONGEST = 8192
"""Tokens of context that the sampler preset asks for at most."""


def write_bundle(persona: Persona, checkpoint: Checkpoint, to: Path) -> list[Path]:
    """Write the presets and, where there is one, the card into a folder; returns the files."""
    folder, root = Path(checkpoint.path), Path(weights_root(persona, checkpoint).path)
    template = template_for(folder if (folder / "tokenizer.json").is_file() else root)
    character = persona.manifest.character
    preset = master_preset(f"{character.name} {checkpoint.id}", template, character.system_prompt, Sampling(), min(LONGEST, context_length(root)))
    to.mkdir(parents=True, exist_ok=True)
    written = [to / f"{checkpoint.id}-master-import.json"]
    write_atomic(written[0], msgspec.json.format(msgspec.json.encode(preset), indent=2))
    if persona.card.is_file():
        written.append(to / "card.png")
        write_atomic(written[1], to_png(read_card(persona.card)))
    return written
