"""``studio runs``: what trainings did, read, compared, and made again."""

from __future__ import annotations

from argparse import Namespace

from studio.cli import output
from studio.jobs import control
from studio.jobs.runs import Run, read_events
from studio.persona.folder import Persona
from studio.seeing import reading

SIGNS = {"stop": "✗", "warn": "!", "note": "·", "good": "✓"}


def runs(arguments: Namespace, persona: Persona) -> int | None:
    match arguments.action:
        case "read":
            _read(control.run(persona, arguments.run), arguments.json)
        case _:
            from studio.cli.training import list_runs

            list_runs(persona, arguments.json)
    return None


def _read(run: Run, as_json: bool) -> None:
    found = reading.read(read_events(run.path))
    if as_json:
        output.json({"id": run.id, "state": run.status.state, "findings": found})
        return
    say_findings(found)


def say_findings(found: list[reading.Finding], indent: str = "") -> None:
    if not found:
        output.say(f"{indent}There is nothing to read from it yet.")
    for finding in found:
        output.say(f"{indent}{SIGNS[finding.weight]} {finding.said}")
        output.say(f"{indent}  Try: {finding.try_next}  [{finding.source}]")
