"""A run is queued; and when its turn comes, what it lacks is said, or its start is found in what the run before it made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from studio.checkpoints.store import Checkpoint
from studio.errors import StudioError
from studio.files import write_atomic, write_json
from studio.forecast import DISK_FLOOR, keep_plan, plan
from studio.jobs import control
from studio.jobs.runs import Inputs, Run, read_run
from studio.persona.folder import Persona, open_persona
from studio.readiness import prepare
from studio.recipes.files import from_toml, to_toml
from studio.recipes.schema import Ahead, Export, Merge, Recipe, Serve
from studio.text import size

DISK_LEAST = 16_000_000
"""Bytes that must be free for anything to be started at all."""


def check_engine(recipe: Serve) -> None:
    """StudioError if the engine could not be started when its turn comes."""
    if recipe.engine == "vllm":
        from studio.engines import environment

        environment.require()


def start(persona: Persona, stage: str, recipe: Recipe, parent_id: str = "", snapshot_id: str = "", give_way: bool = False, on: str = "") -> Run:
    """Queue a run. Refused in words when it could not end well: no room on the disk, a file or base missing."""
    planned = plan(persona, stage, recipe, parent_id)
    inputs = prepare(persona, stage, recipe, parent_id, snapshot_id)
    inputs.give_way, inputs.on = give_way, on
    if not os.environ.get("STUDIO_IGNORE_DISK"):
        inputs.disk = planned.disk
        if planned.disk + DISK_FLOOR > planned.disk_free:
            raise StudioError(f"{stage} was not started. {planned.warnings[-1]}")
    return keep_plan(control.submit(persona, inputs, to_toml(recipe)), planned)


def start_ahead(persona: Persona, review: str, engine: str) -> Run:
    """Queue the writing of a review's missing replies. An engine that runs meanwhile is used where it serves the checkpoints."""
    inputs = Inputs(stage="ahead", persona=str(persona.root), parent=review, parent_path="")
    return control.submit(persona, inputs, to_toml(Ahead(review=review, engine="vllm" if engine == "vllm" else "embedded")))


def start_export(persona: Persona, checkpoint: Checkpoint, form: str, to: Path, untried: bool = False) -> Run:
    """Queue the writing of a checkpoint in one of the forms that ``leaving.by_run`` names. StudioError where that could not end well."""
    from studio.checkpoints import gguf, leaving

    to = to.expanduser().resolve()
    needed = leaving.check(checkpoint, form, to)
    there = next(place for place in (to, *to.parents) if place.exists())
    free = shutil.disk_usage(there).free
    looked_at = not os.environ.get("STUDIO_IGNORE_DISK")
    if looked_at and needed + DISK_FLOOR > free:
        raise StudioError(f"{checkpoint.id} was not exported: it may take {size(needed)}, and {there} has {size(free)} free; name another folder.")
    inputs = Inputs(
        stage="export",
        persona=str(persona.root),
        parent=checkpoint.id,
        parent_path=checkpoint.path,
        parent_kind=checkpoint.kind,
        base=persona.manifest.base,
        # Looked at again when its turn comes, on the persona's disk: for another one it says nothing.
        disk=needed if looked_at and there.stat().st_dev == persona.root.stat().st_dev else 0,
    )
    llama = str(gguf.find_tools().converter.parent) if form.startswith("gguf ") else ""
    return control.submit(persona, inputs, to_toml(Export(form=form, to=str(to), untried=untried, llama_cpp=llama)))


def why_not_now(run: Run) -> tuple[str, bool]:
    """What a queued run lacks at this moment, in one sentence, and whether waiting cannot mend it; ("", False) if it can start.

    For a run that waited for another this is where its parent checkpoint is found and written into its inputs.
    """
    inputs = run.inputs
    if inputs.after and not inputs.parent_path:
        try:
            inputs = follow_on(run)
        except StudioError as error:
            return str(error), True
    for what, place in (("parent checkpoint", inputs.parent_path), ("weights", inputs.weights_path), ("snapshot", inputs.data)):
        if place and not Path(place).exists():
            return f"Its {what} {place} is not there any more; put it back or queue the run anew.", True
    try:
        free = shutil.disk_usage(run.path).free
    except OSError as error:
        return f"{run.path} cannot be looked at: {error.strerror}.", False
    needed = inputs.disk + DISK_FLOOR if inputs.disk and not run.status.attempts else DISK_LEAST
    if free < needed:
        return f"Waiting for room on the disk: it needs {size(needed)} and {size(free)} are free; it starts when there is enough.", False
    return "", False


def follow_on(run: Run) -> Inputs:
    """The inputs of a run that waited for another, its parent the last checkpoint that one made."""
    other = read_run(run.path.parent / run.inputs.after)
    if not other.status.checkpoints:
        raise StudioError(f"{other.id} made no checkpoint that {run.id} could start from.")
    persona, parent = open_persona(run.path.parent.parent), other.status.checkpoints[-1]
    recipe = from_toml(run.inputs.stage, run.recipe_text)
    if isinstance(recipe, Merge):
        recipe = msgspec.structs.replace(recipe, checkpoints=[parent])
        write_atomic(run.path / "recipe.toml", to_toml(recipe))
    found = prepare(persona, run.inputs.stage, recipe, parent, run.inputs.snapshot)
    found = msgspec.structs.replace(found, after=run.inputs.after, disk=run.inputs.disk, give_way=run.inputs.give_way, on=run.inputs.on)
    write_json(run.path / "inputs.json", found)
    return found
