"""Where checkpoints come from."""

from __future__ import annotations

from studio.checkpoints.store import Checkpoint, get_checkpoint
from studio.errors import StudioError
from studio.persona.folder import Persona


def ancestors(persona: Persona, checkpoint: Checkpoint) -> list[Checkpoint]:
    """The checkpoint and those it was made from, the nearest first; of a merge the line of its first parent."""
    line = [checkpoint]
    while line[-1].parent and len(line) < 100:
        try:
            line.append(get_checkpoint(persona, line[-1].parent))
        except StudioError:
            break  # it was deleted
    return line


def dialogue_of(persona: Persona, checkpoint_id: str) -> str:
    """The dialogue snapshot that a checkpoint learned to talk from: its own or its nearest ancestor's. Empty if it learned from none that is
    known: a base, CPT alone, a checkpoint that is gone, an outside endpoint.
    """
    try:
        line = ancestors(persona, get_checkpoint(persona, checkpoint_id))
    except StudioError:
        return ""
    return next((c.snapshot for c in line if c.snapshot.startswith("dialogue-")), "")


def common_ancestor(persona: Persona, checkpoints: list[Checkpoint]) -> Checkpoint:
    """The nearest checkpoint that all were made from and that is none of them. StudioError if there is none on this machine."""
    own = {c.id for c in checkpoints}
    lines = [[c for c in ancestors(persona, checkpoint) if c.id not in own] for checkpoint in checkpoints]
    for candidate in lines[0]:
        if all(candidate.id in {c.id for c in line} for line in lines[1:]):
            if not candidate.path:
                raise StudioError(
                    f"{candidate.id}, from which all of them came, is not on this machine; fetch it with: studio fetch {candidate.base}"
                )
            return candidate
    raise StudioError(f"{', '.join(sorted(own))} have no common ancestor here: what each learned is not known; merge by linear or slerp.")
