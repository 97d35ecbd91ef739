"""``studio plan | train | quantize | jobs``."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from studio import benching, chain, forecast
from studio.checkpoints.store import get_checkpoint
from studio.cli import output
from studio.cli.recipes import for_card
from studio.errors import StudioError
from studio.jobs import control, queue
from studio.jobs.runs import DONE, ENDED, PAUSED, Run, read_run
from studio.jobs.states import RULE
from studio.jobs.telling import event_line
from studio.persona.folder import Persona
from studio.recipes.files import explained, resolve
from studio.recipes.schema import Recipe, Training
from studio.seeing import reading
from studio.text import size


def _with_card(arguments: Namespace, persona: Persona) -> None:
    """``--card`` and ``--fastest`` as settings, before those the person gave."""
    if getattr(arguments, "card", 0):
        arguments.set = [*for_card(persona, arguments.stage, arguments.card), *arguments.set]
    if getattr(arguments, "fastest", False):
        arguments.set = [*benching.settings_for(persona.manifest.base, arguments.stage), *arguments.set]


def _recipe(arguments: Namespace, persona: Persona, stage: str) -> Recipe:
    _with_card(arguments, persona)
    return resolve(persona, stage, Path(arguments.recipe) if arguments.recipe else None, arguments.set)


def plan(arguments: Namespace, persona: Persona) -> None:
    recipe = _recipe(arguments, persona, arguments.stage)
    planned = forecast.plan(persona, arguments.stage, recipe, arguments.start)
    guessed = not planned.seconds or planned.seconds_from.startswith("a guess")
    if arguments.measure or (arguments.measure is None and guessed and forecast.on_gpu() and isinstance(recipe, Training)):
        output.progress("Measuring a few steps …")
        try:
            forecast.measure(persona, arguments.stage, recipe, arguments.start)
        except StudioError as error:
            if arguments.measure:
                raise
            planned.notes.append(str(error))
        else:
            planned = forecast.plan(persona, arguments.stage, recipe, arguments.start)
    if arguments.json:
        output.json({"plan": planned, "recipe": recipe})
        return
    output.say(f"{arguments.stage} from {planned.parent}, reading {planned.snapshot or 'nothing'}")
    facts: list[tuple[str, Any]] = [("parameters", planned.parameters), ("of them trained", planned.trainable)]
    facts += [("rows", planned.rows), ("tokens an epoch", planned.tokens), ("sequences an epoch", planned.sequences), ("steps", planned.steps)]
    facts += [("memory, estimated", "")] + [(f"  {part}", size(value)) for part, value in planned.memory.items()]
    facts += [("disk it will write", f"{size(planned.disk)} of {size(planned.disk_free)} free")]
    facts += [("time", forecast.time_said(planned))]
    output.table(("", ""), [(name, value) for name, value in facts if value is not None], "lr")
    output.say()
    output.table(("recipe", "", ""), explained(recipe))
    for note in planned.notes:
        output.say(f"· {note}")
    for warning in planned.warnings:
        output.say(f"! {warning}")


def train(arguments: Namespace, persona: Persona) -> int:
    _with_card(arguments, persona)
    return _start(arguments, persona, arguments.stage, arguments.start, arguments.snapshot)


def quantize(arguments: Namespace, persona: Persona) -> int:
    parent = get_checkpoint(persona, arguments.checkpoint)
    arguments.set = [f"scheme={arguments.scheme}", *arguments.set] if arguments.scheme else arguments.set
    return _start(arguments, persona, "quantize", parent.id)


def _start(arguments: Namespace, persona: Persona, stage: str, parent: str, snapshot: str = "") -> int:
    own, later = chain.split([*arguments.set, *([f"devices={arguments.gpus}"] if arguments.gpus else [])])
    first = chain.Link(stage, resolve(persona, stage, Path(arguments.recipe) if arguments.recipe else None, [*own, *chain.for_stage(later, stage)]))
    links = chain.links(persona, first, arguments.then, later)
    return queued(chain.start(persona, links, parent, snapshot, arguments.give_way, arguments.on), arguments)


def queued(runs: list[Run], arguments: Namespace) -> int:
    if not arguments.wait:
        if arguments.json:
            first, *rest = runs
            more = {"then": [{"id": run.id, "run": str(run.path)} for run in rest]} if rest else {}
            output.json({"id": first.id, "run": str(first.path), "state": first.status.state, **more})
        else:
            for run in runs:
                after = f" after {run.inputs.after}" if run.inputs.after else ""
                output.say(f"{run.id} is queued{after}; follow it with: studio jobs follow {run.id}")
        return 0
    code = 0
    for run in runs:
        code = code or follow(run, quiet=arguments.json)
    if arguments.json:
        ended = read_run(runs[-1].path)
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
        output.progress(f"{run.id} done" + (f": {', '.join(ended.status.checkpoints)}" if ended.status.checkpoints else ""))
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
        case "up" | "down" | "first" | "last":
            output.say(f"{arguments.run} is number {queue.move(persona, arguments.run, arguments.action)} in the queue.")
        case "give-way":
            run = control.give_way(persona, arguments.run)
            output.say(f"Servers that hold the device stop for {run.id} and come back after it.")
        case "priority":
            run = queue.prioritize(persona, arguments.run, arguments.priority)
            output.say(f"{run.id} has priority {run.status.priority}.")
        case "pause" if not arguments.run:
            queue.pause()
            output.say("The queue is paused: what runs goes on, nothing more is started. Go on with: studio jobs resume")
        case "resume" if not arguments.run:
            queue.resume()
            output.say("The queue goes on.")
        case "pause":
            run = control.pause(persona, arguments.run)
            output.say(f"{run.id} is paused." if run.status.state == PAUSED else f"{run.id} was asked to save and stop; it keeps its place.")
        case "resume":
            output.say(f"{control.resume(persona, arguments.run).id} is queued again and goes on where it was.")
        case "prune":
            freed = control.prune(persona)
            output.say(RULE)
            for name, bytes_ in freed:
                output.say(f"{name}: {size(bytes_)} removed; a retry starts over.")
        case "queue":
            _queue(arguments.json)
        case "show":
            _show(control.run(persona, arguments.run), arguments.json)
        case _:
            list_runs(persona, arguments.json)
    return None


def list_runs(persona: Persona, as_json: bool) -> None:
    rows = control.listing(persona)
    queue.go_on()
    if as_json:
        output.json(rows)
    elif not rows:
        output.say(f"Nothing has been run in {persona.name} yet; start with: studio train cpt")
    else:
        output.table(
            ("run", "state", "step", "checkpoints", "message"),
            [(r["id"], r["state"], f"{r['step']}/{r['steps']}", ", ".join(r["checkpoints"]), r["message"]) for r in rows],
        )


def _queue(as_json: bool) -> None:
    waiting = queue.waiting()
    rows = [
        {
            "id": run.id,
            "persona": run.inputs.persona,
            "stage": run.inputs.stage,
            "state": run.status.state,
            "priority": run.status.priority,
            "after": run.inputs.after or None,
            "message": run.status.message,
        }
        for run in waiting
    ]
    if as_json:
        output.json({"paused": queue.is_paused(), "waiting": rows})
        return
    if queue.is_paused():
        output.say("The queue is paused; it goes on with: studio jobs resume")
    if not rows:
        output.say("Nothing waits.")
        return
    output.table(
        ("", "run", "persona", "state", "priority", "after", "why"),
        [(i, r["id"], Path(str(r["persona"])).name, r["state"], r["priority"], r["after"], r["message"]) for i, r in enumerate(rows, 1)],
        "rlllr",
    )


def _show(run: Run, as_json: bool) -> None:
    from studio.jobs.runs import read_events

    events = read_events(run.path)
    if as_json:
        found = reading.read(events)
        output.json({"id": run.id, "inputs": run.inputs, "status": run.status, "recipe": run.recipe_text, "events": events, "reading": found})
        return
    output.say(f"{run.id}: {run.status.state} {run.status.message}".rstrip())
    output.say(f"from {run.inputs.parent}, reading {run.inputs.snapshot or 'nothing'}, in {run.path}")
    for event in events:
        if line := event_line(event):
            output.say(f"  {line}")
    if found := reading.read(events):
        from studio.cli.running import say_findings

        output.say("what the numbers say:")
        say_findings(found, "  ")


def require_done(run: Run) -> None:
    ended = read_run(run.path)
    if ended.status.state != DONE:
        raise StudioError(f"{run.id} {ended.status.state}: {ended.status.message}")
