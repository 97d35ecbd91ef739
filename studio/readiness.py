"""What a run starts from and what it reads, found and checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from studio.checkpoints import schemes
from studio.checkpoints.base import check_tokenizer, context_length, require_base
from studio.checkpoints.store import get_checkpoint, weights_root
from studio.errors import StudioError
from studio.jobs.runs import Inputs
from studio.persona.folder import Persona
from studio.recipes.schema import MATERIAL, Quantize, Recipe, Training
from studio.snapshots import Snapshot, latest_snapshot, read_snapshot


def default_parent(persona: Persona, stage: str) -> str:
    """Where a stage starts from when nobody says: CPT from the base, the rest from the newest checkpoint that leads there."""
    wanted = {"cpt": (), "sft": ("cpt",), "dpo": ("sft",), "orpo": ("sft", "cpt"), "quantize": ("dpo", "orpo", "sft", "cpt")}[stage]
    for earlier in wanted:
        try:
            return get_checkpoint(persona, earlier).id
        except StudioError:
            continue
    if stage == "dpo":
        raise StudioError(
            "There is no SFT checkpoint to start dpo from: it only moves what she can say already. First: studio train sft (or --from)."
        )
    return "base"


def prepare(persona: Persona, stage: str, recipe: Recipe, parent_id: str = "", snapshot_id: str = "") -> Inputs:
    """Everything a run reads, checked as far as that is possible without loading it. Raises StudioError with what is missing."""
    parent = get_checkpoint(persona, parent_id or default_parent(persona, stage))
    if parent.stage == "base":
        parent.path = str(require_base(persona.manifest.base))
    if parent.kind == "external":
        raise StudioError(f"{parent.id} is an outside endpoint without weights here; {stage} starts from a checkpoint of your own.")
    if parent.scheme and stage != "serve":
        raise StudioError(f"{parent.id} is quantized ({parent.scheme}) and cannot be the start of {stage}; take its parent {parent.parent}.")
    if stage == "cpt" and parent.kind == "adapter":
        raise StudioError(f"{parent.id} is an adapter; CPT trains all weights and starts from a full checkpoint.")
    root = weights_root(persona, parent)
    if root.stage == "base":
        root.path = str(require_base(persona.manifest.base))
    check_tokenizer(Path(root.path))
    count = recipe.devices if isinstance(recipe, Training) else 1
    if isinstance(recipe, Training) and recipe.batch % count:
        raise StudioError(f"batch is {recipe.batch} and cannot be shared evenly by {count} devices; take a batch that is a multiple of {count}.")
    snapshot = read_snapshot(persona.snapshots / snapshot_id) if snapshot_id else material(persona, stage, recipe)
    if isinstance(recipe, Training) and recipe.length > context_length(Path(root.path)):
        raise StudioError(
            f"length is {recipe.length:,} but {persona.manifest.base} reads at most {context_length(Path(root.path)):,} tokens; lower length."
        )
    if isinstance(recipe, Quantize) and (persona.checkpoints / f"{parent.id}-{recipe.scheme}").exists():
        made = f"{parent.id}-{recipe.scheme}"
        raise StudioError(f"{made} exists already; delete it first with: studio checkpoints delete {made}.")
    if isinstance(recipe, Quantize) and (found := quantized_layers(recipe, Path(root.path))).unfit and not found.groups:
        raise StudioError(schemes.refusal(schemes.SCHEMES[recipe.scheme], found))
    character = persona.manifest.character
    return Inputs(
        stage=stage,
        persona=str(persona.root),
        parent=parent.id,
        parent_path=parent.path,
        parent_kind=parent.kind,
        weights_path=root.path,
        base=persona.manifest.base,
        snapshot=snapshot.id if snapshot else "",
        data=str(persona.snapshots / snapshot.id) if snapshot else "",
        character=character.name,
        system_prompt=character.system_prompt,
        trust_remote_code=persona.manifest.base in persona.manifest.trust.remote_code,
        devices=count,
    )


def material(persona: Persona, stage: str, recipe: Recipe) -> Snapshot | None:
    """The newest snapshot the stage reads; None for one that reads none. Data-free quantization takes one only to check itself against."""
    if stage not in MATERIAL:
        return None
    try:
        return latest_snapshot(persona, MATERIAL[stage])
    except StudioError:
        if isinstance(recipe, Quantize) and not schemes.SCHEMES[recipe.scheme].calibrated:
            return None
        raise


def quantized_layers(recipe: Quantize, weights: Path) -> schemes.Layers:
    """What the recipe would make of the layers of a model, from the headers of its files."""
    return schemes.layers(schemes.SCHEMES[recipe.scheme], recipe.group_size, schemes.linear_layers(weights, recipe.ignore))
