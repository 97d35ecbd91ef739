"""From a checkpoint to the queued measuring of it: is she still herself?"""

from __future__ import annotations

import msgspec

from studio.checkpoints.store import Checkpoint, get_checkpoint, weights_root
from studio.errors import StudioError
from studio.jobs import control
from studio.jobs.runs import Inputs, Run
from studio.persona.folder import Persona
from studio.recipes.files import to_toml
from studio.recipes.schema import Herself
from studio.snapshots import all_snapshots


def why_not_examined(checkpoint: Checkpoint) -> str:
    """Why a checkpoint is not held against its parent of its own accord; empty if it is."""
    if checkpoint.kind == "external":
        return f"{checkpoint.id} is an outside endpoint without weights here; compare it in a review."
    if checkpoint.stage == "base":
        return "The base was made from nothing here; there is no parent to hold it against."
    if checkpoint.stage not in ("quantize", "merge"):
        return f"{checkpoint.id} was trained to differ from {checkpoint.parent}; whether for the better only a review tells."
    return ""


def start_examining(persona: Persona, name: str, recipe: Herself) -> Run:
    """Queue the measuring of a checkpoint against ``recipe.against``, or against its parent. StudioError where that makes no sense."""
    child = get_checkpoint(persona, name)
    if not recipe.against and (why := why_not_examined(child)):
        raise StudioError(f"{why} To measure it all the same, name the other one with --against CKPT.")
    other = get_checkpoint(persona, recipe.against or child.parent)
    if child.kind == "external" or other.kind == "external":
        raise StudioError("An outside endpoint has no weights here to measure; compare it in a review.")
    if child.stage == "base":
        raise StudioError("The base belongs to this machine and not to one persona: nothing is written beside it. Hold the other one against it.")
    if child.id == other.id:
        raise StudioError(f"{child.id} is itself; name another checkpoint.")
    for needed in (weights_root(persona, child), weights_root(persona, other)):
        if not needed.path:
            raise StudioError(f"The weights of {needed.id} are not on this machine; fetch them with: studio fetch {needed.base}")
    snapshot = next((s for s in reversed(all_snapshots(persona, "dialogue")) if s.id == child.snapshot or not child.snapshot), None)
    snapshot = snapshot or next(reversed(all_snapshots(persona, "dialogue")), None)
    inputs = Inputs(
        stage="herself",
        persona=str(persona.root),
        parent=child.id,
        parent_path=child.path,
        parent_kind=child.kind,
        weights_path=weights_root(persona, child).path,
        base=persona.manifest.base,
        snapshot=snapshot.id if snapshot else "",
        data=str(persona.snapshots / snapshot.id) if snapshot else "",
        trust_remote_code=persona.manifest.base in persona.manifest.trust.remote_code,
    )
    return control.submit(persona, inputs, to_toml(msgspec.structs.replace(recipe, against=other.id)))
