"""Runs made again: the very same, one epoch more, another way from the same place; and a state saved at a wish."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec

from studio import forecast, launch, readiness
from studio.checkpoints.store import get_checkpoint
from studio.errors import StudioError
from studio.files import write_atomic
from studio.jobs import control
from studio.jobs.control import TRAININGS
from studio.jobs.runs import ENDED, RUNNING, Inputs, Run, get_run
from studio.jobs.states import SAVE
from studio.persona.folder import Persona
from studio.recipes.files import from_toml, to_toml
from studio.recipes.schema import Cpt, Dpo, Orpo, Sft
from studio.snapshots import read_snapshot


def recipe_of(run: Run) -> Cpt | Sft | Dpo | Orpo:
    """The recipe of a training run; StudioError for other stages."""
    recipe = from_toml(run.inputs.stage, run.recipe_text, str(run.path / "recipe.toml"))
    if not isinstance(recipe, Cpt | Sft | Dpo | Orpo):
        raise StudioError(f"{run.id} is no training ({run.inputs.stage}); only cpt, sft, dpo and orpo go on or are branched.")
    return recipe


def reproduce(persona: Persona, checkpoint_id: str) -> Run:
    """Queue the run that made a checkpoint once more: the same start, snapshot and recipe, the seed with it.

    Its card is enough; the run's folder need not be there any more. StudioError with what is gone or has changed.
    """
    checkpoint = get_checkpoint(persona, checkpoint_id)
    if checkpoint.stage not in TRAININGS:
        raise StudioError(f"{checkpoint.id} was not trained ({checkpoint.stage}); only what cpt, sft, dpo and orpo made is reproduced.")
    recipe = from_toml(checkpoint.stage, checkpoint.recipe, f"the card of {checkpoint.id}")
    if not (persona.snapshots / checkpoint.snapshot).is_dir():
        raise StudioError(f"The snapshot {checkpoint.snapshot} that {checkpoint.id} was trained on is gone; without it the run cannot be the same.")
    check_snapshot(persona.snapshots / checkpoint.snapshot)
    inputs = readiness.prepare(persona, checkpoint.stage, recipe, checkpoint.parent, checkpoint.snapshot)
    try:
        before = get_run(persona, checkpoint.run).inputs
        # Who she was then: probes are asked with the system prompt of that day.
        inputs = msgspec.structs.replace(inputs, system_prompt=before.system_prompt, character=before.character)
    except StudioError:
        pass
    planned = forecast.plan(persona, checkpoint.stage, recipe, checkpoint.parent)
    return forecast.keep_plan(control.submit(persona, inputs, to_toml(recipe)), planned)


def check_snapshot(folder: Path) -> None:
    """StudioError if the rows are not those that the snapshot's name was made from."""
    digest = sha256(read_snapshot(folder).kind.encode())
    try:
        for half in ("train", "val"):
            digest.update(b"\0")
            with (folder / f"{half}.jsonl").open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise StudioError(f"The snapshot {folder} cannot be read: {error.strerror}.") from error
    if digest.hexdigest()[:12] != folder.name.rpartition("-")[2]:
        raise StudioError(f"The rows in {folder} were changed after it was frozen; what was trained on is not there any more.")


def extend(persona: Persona, run_id: str) -> Run:
    """Queue one epoch more: a run from the last checkpoint of ``run_id`` with its recipe, in another order.

    A run that still goes on is waited for. The step size rises and falls anew, since the old schedule ends at zero.
    """
    run = control.run(persona, run_id)
    recipe = recipe_of(run)
    longer = msgspec.structs.replace(recipe, epochs=1.0, seed=(recipe.seed + 1) % 2**32)
    if run.status.state in ENDED and not run.status.checkpoints:
        raise StudioError(f"{run.id} is {run.status.state} and made no checkpoint to go on from; retry it: studio jobs retry {run.id}.")
    if run.status.state in ENDED:
        return launch.start(persona, run.inputs.stage, longer, run.status.checkpoints[-1], run.inputs.snapshot)
    inputs = Inputs(
        stage=run.inputs.stage, persona=str(persona.root), parent="", parent_path="", snapshot=run.inputs.snapshot, data=run.inputs.data, after=run.id
    )
    return control.submit(persona, inputs, to_toml(longer))


def save_now(persona: Persona, run_id: str) -> Run:
    """Ask a running training to save its state and a checkpoint at the end of its step. It goes on."""
    run = control.run(persona, run_id)
    if run.status.state != RUNNING or run.inputs.stage not in TRAININGS:
        raise StudioError(f"{run.id} is {run.status.state}; only a training that runs can save now.")
    write_atomic(run.path / SAVE, "")
    return run
