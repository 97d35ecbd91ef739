"""``studio dialogue add | formats``: what was read, told by reason and file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from studio.cli import output
from studio.cli.ticker import Ticker
from studio.dialogue.adding import add as add_files
from studio.dialogue.importers.base import Asked, ImportReport
from studio.dialogue.importers.casting import WhoIsWho
from studio.dialogue.importers.registry import FORMATS
from studio.dialogue.store import Row
from studio.persona.folder import Persona
from studio.text import count, one_line

PLACES = 3
"""Lines told for one reason of one file; ``--json`` has more."""

SENTENCES = 30


def add(arguments: Namespace, persona: Persona) -> int:
    """Add files and tell what became of every record; the exit code."""
    asked = Asked(
        arguments.format,
        tuple(arguments.me),
        tuple(arguments.character),
        tuple(arguments.leave_out),
        arguments.dates,
        arguments.silence,
        arguments.burst,
        arguments.exchanges,
        arguments.choices,
    )
    try:
        with Ticker(arguments.json) as progress:
            report = add_files(persona, [Path(path) for path in arguments.paths], asked, arguments.dry_run, progress)
    except WhoIsWho as who:
        if arguments.json:
            output.json({"asked": "character", "speakers": {speaker.name: speaker.count for speaker in who.speakers}, "why": str(who)})
            return 1
        raise
    if arguments.json:
        output.json(report.as_json())
    else:
        tell(report)
    return 0 if report.kept or report.pairs or set(report.dropped) <= {"duplicate"} else 1


def tell(report: ImportReport) -> None:
    places: dict[tuple[str, str], list[int]] = {}
    for fault in report.faults:
        places.setdefault((fault.file, fault.what), []).append(fault.line)
    for (file, what), lines in list(places.items())[:SENTENCES]:
        where = ", ".join(str(line) for line in lines[:PLACES] if line)
        more = f" and {len(lines) - PLACES:,} more" if len(lines) > PLACES else ""
        output.say(f"{file}{':' if where else ''}{where}{more}: {what}")
    if len(places) > SENTENCES:
        output.say(f"… and {len(places) - SENTENCES:,} other reasons or files (all of them with --json)")
    for what, number in report.changed.items():
        output.say(f"{number:,} × {what}")
    for reason, number in report.dropped.items():
        output.say(f"{number:,} dropped: {reason}")
    if report.cast:
        listed = [f"{one_line(name)} {report.speakers[name]:,} ({role})" for name, role in list(report.cast.items())[:12]]
        output.say("speakers: " + ", ".join(listed) + (f"; told by {report.cast_by}" if report.cast_by else ""))
    elif report.speakers:
        output.say("speakers: " + ", ".join(f"{one_line(name)} {number:,}" for name, number in report.speakers.most_common(12)))
    for row in report.preview:
        _show(row)
    would = "would be " if report.dry_run else ""
    records = "records" if len({part.unit for part in report.parts}) > 1 else f"{report.parts[0].unit}s" if report.parts else "records"
    output.say(
        f"{count(report.kept, 'conversation')} {would}kept"
        + (f" and {count(report.pairs, 'preference pair')}" if report.pairs else "")
        + f", of {report.used:,} of {report.read:,} {records} read"
        + (f" ({report.format})." if report.format else ".")
    )


def _show(row: Row) -> None:
    output.say(f"\n{row.id}  {row.source}:{row.line}" + (f"  {row.time}" if row.time else ""))
    for message in row.messages:
        output.say(f"  {message.name or message.role} ({message.role}): {message.content}")
    output.say()


def formats(as_json: bool) -> None:
    if as_json:
        output.json([{"format": f.name, "unit": f.unit, "what": f.title} for f in FORMATS])
    else:
        output.table(("format", "counts", "what"), [(f.name, f"{f.unit}s", f.title) for f in FORMATS])
