"""One run of checks over the dialogue: every row is read as often as the most curious of them asks, and shown to all."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from studio.dialogue import flags
from studio.dialogue.checks import grammar, likeness, litter, losses, opinions, personal, tongue, turns, wording
from studio.dialogue.checks.base import Check, Context, Examiner, load_settings, settings_path
from studio.dialogue.flags import Flag, Flagged, text_of
from studio.dialogue.store import Row, shards
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.reports import Fault
from studio.shards import SHARD_ROWS

CHECKS: dict[str, Check] = {
    check.name: check for family in (turns, likeness, wording, tongue, litter, grammar, personal, losses, opinions) for check in family.CHECKS
}
"""All checks by name, in the order in which they are told."""

BREATH = 500
"""Rows between two words on the progress."""


class Offender(msgspec.Struct):
    """A row that a check flagged."""

    id: str
    source: str
    line: int
    flags: list[Flag]


class Finding(msgspec.Struct):
    """What one check found."""

    check: str
    finds: str
    threshold: float
    meaning: str
    source: str
    skipped: str
    """Why it was not made; empty if it was."""
    remarks: list[str]
    """On the set as a whole."""
    offenders: list[Offender]


class Outcome(msgspec.Struct):
    rows: int
    """Rows that were looked at; rejected ones are not."""
    flagged: int
    """Rows that at least one check flagged."""
    seconds: float
    checks: list[Finding]


def run(
    persona: Persona,
    only: Sequence[str] = (),
    changes: Mapping[str, float] | None = None,
    progress: Progress = quiet,
    engine: str = "",
) -> Outcome:
    """Make the checks named in ``only``, or all but those that are off or are made when asked for alone; keep what they found as flags.

    ``changes``: thresholds for this run. StudioError if a shard is damaged, UsageError for a name that no check has.
    """
    began = clock.monotonic()
    context = Context(persona, load_settings(persona), dict(changes or {}), progress, engine)
    for name in (*context.settings.thresholds, *context.settings.off):
        if name not in CHECKS:
            raise StudioError(f"{settings_path(persona)}: there is no check {name!r}; there are: {', '.join(CHECKS)}.")
    for name in (*only, *context.changes):
        if name not in CHECKS:
            raise UsageError(f"There is no check {name!r}; there are: {', '.join(CHECKS)}.")
    chosen = [c for c in CHECKS.values() if (c.name in only if only else not c.asked_only and c.name not in context.settings.off)]
    findings = {c.name: Finding(c.name, c.finds, context.threshold(c), c.meaning, c.source, "", [], []) for c in chosen}
    seen = examine(context, chosen)
    for name, why in seen.skipped.items():
        findings[name].skipped = why
    for name, examiner in seen.examiners.items():
        ordered = [seen.found[name][index] for index in sorted(seen.found[name])]
        findings[name].offenders = [offender for offender, _ in ordered]
        findings[name].remarks = list(examiner.remarks())
        flags.keep(persona, name, findings[name].threshold, seen.rows, (Flagged(one.id, text, one.flags) for one, text in ordered))
    flagged_rows = {one.id for finding in findings.values() for one in finding.offenders}
    return Outcome(seen.rows, len(flagged_rows), round(clock.monotonic() - began, 2), list(findings.values()))


class Examined(NamedTuple):
    """What some checks have to say of the rows of one context."""

    examiners: dict[str, Examiner]
    skipped: dict[str, str]
    """Checks that could not be made, and why."""
    found: dict[str, dict[int, tuple[Offender, str]]]
    """For each check by the row's place: what is flagged, and what the row said."""
    rows: int


def examine(context: Context, chosen: Iterable[Check]) -> Examined:
    """Show every row to these checks, as often as the most curious of them asks."""
    examiners: dict[str, Examiner] = {}
    skipped: dict[str, str] = {}
    for check in chosen:
        try:
            examiners[check.name] = check.examine(check, context)
        except StudioError as why:
            skipped[check.name] = str(why)
    found: dict[str, dict[int, tuple[Offender, str]]] = {name: {} for name in examiners}
    rows = number = 0
    expected = SHARD_ROWS * len(shards(context.persona))
    for time in range(1, max((e.times for e in examiners.values()), default=0) + 1):
        asking = {name: examiner for name, examiner in examiners.items() if examiner.times >= time}
        for index, row in enumerate(context.rows()):
            if index % BREATH == 0:
                context.progress(f"rows looked at{f', {time} times' if time > 1 else ''}", index, rows or expected)
            for name, examiner in asking.items():
                if flagged := examiner.look(time, index, row):
                    _add(found[name], index, row, flagged)
            number = index + 1
        rows = number
        for examiner in asking.values():
            examiner.seen(time)
    return Examined(examiners, skipped, found, rows)


def _add(found: dict[int, tuple[Offender, str]], index: int, row: Row, flagged: Sequence[Flag]) -> None:
    if index in found:
        found[index][0].flags.extend(flagged)
    else:
        found[index] = (Offender(row.id, row.source, row.line, list(flagged)), text_of(row))


MOST_FAULTS = 200
"""Faults of one check that ``faults`` lists; the flags hold them all."""


def faults(outcome: Outcome) -> list[Fault]:
    """What was found as lines for people, check by check."""
    told: list[Fault] = []
    for finding in outcome.checks:
        for offender in finding.offenders[:MOST_FAULTS]:
            told += [Fault(offender.source, offender.line, f"{offender.id}: {finding.check}: {flag.what}") for flag in offender.flags[:3]]
        if (more := len(finding.offenders) - MOST_FAULTS) > 0:
            told.append(Fault("dialogue", 0, f"{finding.check}: {more:,} more rows"))
    return told
