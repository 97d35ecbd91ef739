"""``studio runs``: what trainings did, read, compared, and made again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from studio import again, forecast
from studio.cli import output
from studio.errors import StudioError, UsageError
from studio.jobs import control
from studio.jobs.runs import Run, read_events
from studio.persona.folder import Persona
from studio.seeing import reading
from studio.seeing.compare import compare
from studio.seeing.course import course
from studio.seeing.export import export, said
from studio.seeing.probed import NUMBERS, answer, numbers, prompts
from studio.text import duration, size

SIGNS = {"stop": "✗", "warn": "!", "note": "·", "good": "✓"}


def runs(arguments: Namespace, persona: Persona) -> int | None:
    match arguments.action:
        case "read":
            _read(control.run(persona, arguments.run), arguments.json)
        case "probes":
            _probes(control.run(persona, arguments.run), arguments)
        case "diff":
            _diff([control.run(persona, name) for name in arguments.runs], arguments.json)
        case "export":
            exported, folder = control.run(persona, arguments.run), Path(arguments.to)
            files = export(exported, folder)
            if arguments.json:
                output.json({"files": [str(file) for file in files]})
            else:
                for line in said(exported, folder):
                    output.say(line)
        case "extend":
            run = again.extend(persona, arguments.run)
            after = f" after {run.inputs.after}" if run.inputs.after else f" from {run.inputs.parent}"
            _queued(run, f"{run.id} is queued{after}: one epoch more.", arguments.json)
        case "save":
            run = again.save_now(persona, arguments.run)
            _queued(run, f"{run.id} saves a state and a checkpoint at the end of its step, and goes on.", arguments.json)
        case _:
            from studio.cli.training import list_runs

            list_runs(persona, arguments.json)
    return None


def reproduce(arguments: Namespace, persona: Persona) -> int:
    from studio.cli.training import queued

    return queued([again.reproduce(persona, arguments.checkpoint)], arguments)


def _queued(run: Run, sentence: str, as_json: bool) -> None:
    if as_json:
        output.json({"id": run.id, "run": str(run.path), "state": run.status.state})
    else:
        output.say(sentence)


def _diff(runs: list[Run], as_json: bool) -> None:
    if len(runs) < 2:
        raise UsageError("studio runs diff takes two runs or more.")
    found = compare(runs)
    if as_json:
        output.json(found)
        return
    output.table(("recipe", *found.runs), [(line.name, *line.values) for line in found.recipe] or [("the same", *["" for _ in runs])])
    output.say()
    output.table(("came of it", *found.runs), [(line.name, *line.values) for line in found.results])
    if found.weights:
        output.say(f"\nTheir last checkpoints' weights are {found.weights}.")


def _read(run: Run, as_json: bool) -> None:
    found, compared = reading.read(read_events(run.path)), forecast.outcomes(run)
    if as_json:
        planned = [{"name": o.name, "planned": o.planned, "measured": o.measured, "error": round(o.error, 4)} for o in compared]
        output.json({"id": run.id, "state": run.status.state, "findings": found, "plan": planned})
        return
    say_findings(found)
    for outcome in compared:
        output.say(outcome_line(outcome))


def outcome_line(outcome: forecast.Outcome) -> str:
    """``memory: planned 1.8 GB, measured 2.0 GB (-10%)``."""
    show = {"memory": size, "seconds": duration}.get(outcome.name, "{:,.0f}".format)
    name = "time" if outcome.name == "seconds" else outcome.name
    return f"{name}: planned {show(outcome.planned)}, measured {show(outcome.measured)} ({outcome.error:+.0%})"


def _probes(run: Run, arguments: Namespace) -> None:
    asked = course(read_events(run.path)).probes
    if arguments.json:
        output.json({"id": run.id, "probes": [e for e in asked if arguments.step in (-1, e["step"])]})
        return
    if not asked:
        output.say(f"No probes were put in {run.id}: the recipe has probes = 0, or it has not been evaluated yet.")
        return
    if arguments.probe:
        said = [(e["step"], answer(e, arguments.probe)) for e in asked]
        if not any(text for _, text in said):
            names = ", ".join(identity for identity, _ in prompts(asked))
            raise StudioError(f"There is no probe {arguments.probe!r} in {run.id}; there are: {names}.")
        output.table(("step", "answer"), said, "rl")
        return
    shown = [e for e in asked if e["step"] == arguments.step] if arguments.step >= 0 else asked
    if not shown:
        raise StudioError(f"{run.id} was not evaluated at step {arguments.step}; it was at {', '.join(str(e['step']) for e in asked)}.")
    output.table(("step", *NUMBERS), [(e["step"], *numbers(e)) for e in shown], "rrrrrrr")
    output.say()
    last = shown[-1]
    output.table((f"at step {last['step']}", "asked", "answer"), [(identity, prompt, answer(last, identity)) for identity, prompt in prompts([last])])


def say_findings(found: list[reading.Finding], indent: str = "") -> None:
    if not found:
        output.say(f"{indent}There is nothing to read from it yet.")
    for finding in found:
        output.say(f"{indent}{SIGNS[finding.weight]} {finding.said}")
        output.say(f"{indent}  Try: {finding.try_next}  [{finding.source}]")
