"""``studio plan | train | quantize | jobs``."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from studio import launch
from studio.checkpoints.store import get_checkpoint
from studio.cli import output
from studio.errors import StudioError
from studio.jobs import control
from studio.jobs.runs import DONE, ENDED, Run, read_run
from studio.jobs.telling import event_line
from studio.persona.folder import Persona
from studio.recipes.files import explained, resolve
from studio.recipes.schema import Recipe
from studio.text import duration, size


def _recipe(arguments: Namespace, persona: Persona, stage: str) -> Recipe:
    return resolve(persona, stage, Path(arguments.recipe) if arguments.recipe else None, arguments.set)


def plan(arguments: Namespace, persona: Persona) -> None:
    recipe = _recipe(arguments, persona, arguments.stage)
    planned = launch.plan(persona, arguments.stage, recipe, arguments.start)
    if arguments.json:
        output.json({"plan": planned, "recipe": recipe})
        return
    output.say(f"{arguments.stage} from {planned.parent}, reading {planned.snapshot or 'nothing'}")
    facts: list[tuple[str, Any]] = [("parameters", planned.parameters), ("of them trained", planned.trainable)]
    facts += [("rows", planned.rows), ("tokens an epoch", planned.tokens), ("sequences an epoch", planned.sequences), ("steps", planned.steps)]
    facts += [("memory, estimated", "")] + [(f"  {part}", size(value)) for part, value in planned.memory.items()]
    facts += [("disk it will write", f"{size(planned.disk)} of {size(planned.disk_free)} free")]
    measured = f"{duration(planned.seconds)} at the rate measured in {planned.seconds_from}" if planned.seconds else "not known before a first run"
    facts += [("time", measured)]
    output.table(("", ""), [(name, value) for name, value in facts if value is not None], "lr")
    output.say()
    output.table(("recipe", "", ""), explained(recipe))
    for warning in planned.warnings:
        output.say(f"! {warning}")


def train(arguments: Namespace, persona: Persona) -> int:
    recipe = _recipe(arguments, persona, arguments.stage)
    return _started(launch.start(persona, arguments.stage, recipe, arguments.start, arguments.snapshot), arguments)


def quantize(arguments: Namespace, persona: Persona) -> int:
    parent = get_checkpoint(persona, arguments.checkpoint)
    arguments.set = [f"scheme={arguments.scheme}", *arguments.set] if arguments.scheme else arguments.set
    return _started(launch.start(persona, "quantize", _recipe(arguments, persona, "quantize"), parent.id), arguments)


def _started(run: Run, arguments: Namespace) -> int:
    if not arguments.wait:
        if arguments.json:
            output.json({"id": run.id, "run": str(run.path), "state": run.status.state})
        else:
            output.say(f"{run.id} is queued; follow it with: studio jobs follow {run.id}")
        return 0
    code = follow(run, quiet=arguments.json)
    if arguments.json:
        ended = read_run(run.path)
        output.json({"id": ended.id, "run": str(ended.path), "state": ended.status.state, "checkpoints": ended.status.checkpoints})
    return code


def follow(run: Run, quiet: bool = False) -> int:
    """Print a run's events until it ends. Exit code 0 only if it is done. Ctrl+C leaves it running and says so."""
    try:
        for event in control.follow(run.path):
            if not quiet and (line := event_line(event)):
                output.progress(f"{run.id}: {line}")
    except KeyboardInterrupt:
        output.progress(f"{run.id} goes on without you; look in with: studio jobs follow {run.id}, end it with: studio jobs cancel {run.id}")
        return 130
    ended = read_run(run.path)
    if ended.status.state != DONE:
        print(f"{run.id} {ended.status.state}: {ended.status.message}", file=sys.stderr)
        return 1
    if not quiet:
        output.progress(f"{run.id} done: {', '.join(ended.status.checkpoints)}")
    return 0


def jobs(arguments: Namespace, persona: Persona) -> int | None:
    match arguments.action:
        case "follow":
            return follow(control.run(persona, arguments.run))
        case "cancel":
            run = control.cancel(persona, arguments.run)
            output.say(f"{run.id} is {run.status.state}." if run.status.state in ENDED else f"{run.id} was asked to save and stop.")
        case "retry":
            run = control.retry(persona, arguments.run)
            output.say(f"{run.id} is queued again; follow it with: studio jobs follow {run.id}")
        case "show":
            _show(control.run(persona, arguments.run), arguments.json)
        case _:
            rows = control.listing(persona)
            if arguments.json:
                output.json(rows)
            elif not rows:
                output.say(f"Nothing has been run in {persona.name} yet; start with: studio train cpt")
            else:
                output.table(
                    ("run", "state", "step", "checkpoints", "message"),
                    [(r["id"], r["state"], f"{r['step']}/{r['steps']}", ", ".join(r["checkpoints"]), r["message"]) for r in rows],
                )
    return None


def _show(run: Run, as_json: bool) -> None:
    from studio.jobs.runs import read_events

    events = read_events(run.path)
    if as_json:
        output.json({"id": run.id, "inputs": run.inputs, "status": run.status, "recipe": run.recipe_text, "events": events})
        return
    output.say(f"{run.id}: {run.status.state} {run.status.message}".rstrip())
    output.say(f"from {run.inputs.parent}, reading {run.inputs.snapshot or 'nothing'}, in {run.path}")
    for event in events:
        if line := event_line(event):
            output.say(f"  {line}")


def require_done(run: Run) -> None:
    ended = read_run(run.path)
    if ended.status.state != DONE:
        raise StudioError(f"{run.id} {ended.status.state}: {ended.status.message}")
