"""Several stages queued with one command: each starts from what the one before it made, when that has ended well.

The order is a run's ``after``; nothing else is kept, so a chain survives whatever the queue survives. What can be checked before
anything has run is checked before anything is queued.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from studio import forecast, launch, readiness
from studio.checkpoints.base import require_base
from studio.errors import StudioError, UsageError
from studio.jobs import control, executors
from studio.jobs.runs import Inputs, Run
from studio.persona.folder import Persona
from studio.recipes.files import resolve, to_toml
from studio.recipes.schema import Merge, Quantize, Recipe, Serve
from studio.snapshots import all_snapshots
from studio.text import size

LINKS = ("cpt", "sft", "dpo", "orpo", "merge", "quantize", "serve")
"""Stages that may follow another."""


class Link(NamedTuple):
    stage: str
    recipe: Recipe


def links(persona: Persona, first: Link, then: list[str], settings: list[str]) -> list[Link]:
    """The stages of a chain with their recipes. ``settings`` are ``stage.key=value``. UsageError where the order makes no sense."""
    chain = [first]
    for stage in then:
        if stage not in LINKS:
            raise UsageError(f"--then {stage}: there is no such stage; there are {', '.join(LINKS)}.")
        before = chain[-1].stage
        if before == "serve":
            raise UsageError(f"--then {stage}: nothing comes after serve.")
        if before == "quantize" and stage != "serve":
            raise UsageError(f"--then {stage}: quantized weights cannot be trained on; put quantize after {stage}.")
        if stage == "cpt" and before not in ("cpt", "merge"):
            raise UsageError(f"--then cpt: CPT trains full weights and cannot start from what {before} makes; put it first.")
        if stage == "merge" and before not in ("sft", "dpo", "orpo"):
            raise UsageError(f"--then merge: it folds an adapter into its weights, and {before} makes none.")
        own = ['checkpoints=["the one before"]'] if stage == "merge" else []
        chain.append(Link(stage, resolve(persona, stage, None, [*for_stage(settings, stage), *own])))
    known = {link.stage for link in chain}
    for setting in settings:
        if setting.partition(".")[0] not in known:
            raise UsageError(f"--set {setting}: {setting.partition('.')[0]} is no stage of this chain ({', '.join(known)}).")
    return chain


def split(settings: list[str]) -> tuple[list[str], list[str]]:
    """``key=value`` for the first stage, and ``stage.key=value`` for those named."""
    named = [setting for setting in settings if setting.partition("=")[0].partition(".")[0] in LINKS and "." in setting.partition("=")[0]]
    return [setting for setting in settings if setting not in named], named


def for_stage(settings: list[str], stage: str) -> list[str]:
    return [setting.removeprefix(f"{stage}.") for setting in settings if setting.startswith(f"{stage}.")]


def start(persona: Persona, chain: list[Link], parent_id: str = "", snapshot_id: str = "", give_way: bool = False, on: str = "") -> list[Run]:
    """Queue all of it, or nothing. StudioError with what is missing. ``on``: where, for the stages that may be executed elsewhere."""
    places = [executors.choose(link.stage, on) for link in chain]
    first = chain[0]
    planned = forecast.plan(persona, first.stage, first.recipe, parent_id)
    ready = readiness.prepare(persona, first.stage, first.recipe, parent_id, snapshot_id)
    later, disk = [], [planned.disk]
    for link in chain[1:]:
        inputs, needs = _later(persona, link)
        later.append(inputs)
        disk.append(needs)
    if not os.environ.get("STUDIO_IGNORE_DISK"):
        if sum(disk) + forecast.DISK_FLOOR > planned.disk_free:
            raise StudioError(
                f"Nothing was queued: {', '.join(link.stage for link in chain)} together write about {size(sum(disk))} and only "
                f"{size(planned.disk_free)} are free; free some space or lower keep_states and epochs."
            )
        for inputs, needs in zip([ready, *later], disk, strict=True):
            inputs.disk = needs
    ready.give_way, ready.on = give_way, places[0]
    queued = [forecast.keep_plan(control.submit(persona, ready, to_toml(first.recipe)), planned)]
    for link, inputs, place in zip(chain[1:], later, places[1:], strict=True):
        inputs.after, inputs.give_way, inputs.on = queued[-1].id, give_way, place
        queued.append(control.submit(persona, inputs, to_toml(link.recipe)))
    return queued


def _later(persona: Persona, link: Link) -> tuple[Inputs, int]:
    """What a later stage will read, but for its parent, and how much it will write; planned as if it started from the base."""
    if isinstance(link.recipe, Serve):
        launch.check_engine(link.recipe)
        return Inputs(stage=link.stage, persona=str(persona.root), parent="", parent_path=""), 0
    if isinstance(link.recipe, Merge):
        snapshots = all_snapshots(persona, "dialogue")
        snapshot_id = snapshots[-1].id if snapshots else ""
        return Inputs(stage=link.stage, persona=str(persona.root), parent="", parent_path="", snapshot=snapshot_id), (
            forecast.base_parameters(persona) * 2
        )
    if isinstance(link.recipe, Quantize):
        snapshot = readiness.material(persona, link.stage, link.recipe)
        needs = forecast.quantized_bytes(link.recipe, require_base(persona.manifest.base))
        inputs = Inputs(stage=link.stage, persona=str(persona.root), parent="", parent_path="", snapshot=snapshot.id if snapshot else "")
        inputs.data = str(persona.snapshots / snapshot.id) if snapshot else ""
        return inputs, needs
    inputs = readiness.prepare(persona, link.stage, link.recipe, "base")
    needs = forecast.plan(persona, link.stage, link.recipe, "base").disk
    inputs.parent = inputs.parent_path = inputs.weights_path = ""
    return inputs, needs
