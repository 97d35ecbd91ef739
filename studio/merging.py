"""From checkpoints to a queued merge: whether they go together is known before anything is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from studio.checkpoints.base import count_parameters
from studio.checkpoints.lineage import common_ancestor
from studio.checkpoints.store import get_checkpoint, weights_root
from studio.errors import StudioError
from studio.forecast import DISK_FLOOR
from studio.jobs import control
from studio.jobs.runs import Inputs, Run
from studio.persona.folder import Persona
from studio.recipes.files import to_toml
from studio.recipes.schema import Merge
from studio.snapshots import all_snapshots
from studio.text import size


def start_merge(persona: Persona, recipe: Merge) -> Run:
    """Queue a merge. StudioError where the checkpoints, the method and the result do not go together."""
    members = [get_checkpoint(persona, name) for name in recipe.checkpoints]
    recipe = msgspec.structs.replace(recipe, checkpoints=[c.id for c in members])
    roots = {weights_root(persona, c).id for c in members}
    if len(set(recipe.checkpoints)) < len(members):
        raise StudioError("A checkpoint cannot be merged with itself; name different ones.")
    for c in members:
        if c.kind == "external" or c.scheme:
            raise StudioError(
                f"{c.id} is {'an outside endpoint' if c.kind == 'external' else 'quantized'} and cannot be merged; take what it was made from."
            )
        if not weights_root(persona, c).path:
            raise StudioError(f"The weights under {c.id} are not on this machine; fetch them with: studio fetch {c.base}")
    if len(members) == 1 and members[0].kind != "adapter":
        raise StudioError(f"{members[0].id} has all its weights already; a single checkpoint is merged only if it is an adapter.")
    if recipe.weights and len(recipe.weights) != len(members):
        raise StudioError(f"There are {len(members)} checkpoints and {len(recipe.weights)} weights; give one weight for each, or none.")
    if recipe.late and len(recipe.late) != len(members):
        raise StudioError(f"There are {len(members)} checkpoints and {len(recipe.late)} weights of the last layer; give one for each, or none.")
    if recipe.late and (recipe.result == "adapter" or len(members) < 2):
        raise StudioError("Layers are merged differently only where several checkpoints become full weights; leave the last layer's weights away.")
    if any(shares and not sum(shares) > 0 for shares in (recipe.weights, recipe.late)):
        raise StudioError("The weights of a merge must have a sum above zero.")
    if recipe.result == "adapter" and (len(members) < 2 or len(roots) > 1 or any(c.kind != "adapter" for c in members) or recipe.method == "slerp"):
        raise StudioError("An adapter comes only out of several adapters on the same weights, and not by slerp; leave --result away.")
    if recipe.result == "full" and recipe.method in ("cat", "svd"):
        raise StudioError(f"{recipe.method} merges adapters; add --result adapter, or take linear, slerp, ties, dare-linear or dare-ties.")
    if recipe.method == "slerp" and len(members) != 2:
        raise StudioError(f"slerp goes between two checkpoints, not {len(members)}; take linear.")
    if recipe.result == "full" and recipe.method in ("ties", "dare-linear", "dare-ties"):
        common_ancestor(persona, members)
    weights = Path(weights_root(persona, members[0]).path)
    needed = count_parameters(weights) * 2 * (1 + sum(c.kind == "adapter" for c in members) * (len(members) > 1))
    free = shutil.disk_usage(persona.root).free
    if recipe.result == "full" and needed + DISK_FLOOR > free:
        raise StudioError(f"merge was not started. It will write about {size(needed)} and only {size(free)} are free; free some space.")
    snapshot = all_snapshots(persona, "dialogue")
    inputs = Inputs(
        stage="merge",
        persona=str(persona.root),
        parent=members[0].id,
        parent_path=members[0].path,
        parent_kind=members[0].kind,
        weights_path=str(weights),
        base=persona.manifest.base,
        snapshot=snapshot[-1].id if snapshot else "",
        data=str(persona.snapshots / snapshot[-1].id) if snapshot else "",
        trust_remote_code=persona.manifest.base in persona.manifest.trust.remote_code,
    )
    return control.submit(persona, inputs, to_toml(recipe))
