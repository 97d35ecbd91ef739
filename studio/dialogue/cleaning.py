"""``dialogue clean``: personal data replaced, and rows that checks flagged put aside. First it is only said; done, it can be undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from studio.dialogue.checks.base import about, load_settings
from studio.dialogue.checks.running import run
from studio.dialogue.privacy import Finder, Pseudonyms, read_names, redacted
from studio.dialogue.store import REJECTED, rows, shards
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.shards import SHARD_ROWS

EXAMPLES = 20


class Example(msgspec.Struct):
    id: str
    message: int
    before: str
    after: str


class Plan(msgspec.Struct):
    """What cleaning would do."""

    texts: dict[str, tuple[list[str], list[str]]]
    """Contents of all messages, as they are and as they would be, by the id of the row."""
    replaced: Counter[str]
    """Places, by kind of personal data."""
    examples: list[Example]
    reject: dict[str, list[str]]
    """Checks by the id of the row that they put aside."""
    read: int


def pseudonyms_path(persona: Persona) -> Path:
    return persona.private / "pseudonyms.jsonl"


def plan(
    persona: Persona,
    kinds: Sequence[str] = (),
    pseudonyms: bool = False,
    reject: Sequence[str] = (),
    progress: Progress = quiet,
) -> tuple[Plan, Pseudonyms]:
    """What would be replaced (personal data of these ``kinds``) and which rows would be rejected (those that the checks ``reject`` flag now)."""
    settings = load_settings(persona)
    names = read_names(settings.names)
    if "name" in kinds and not names:
        raise StudioError('There are no names to look for; write them into checks.toml, as in: names = ["Anna Kovács", "Tom = Robin"].')
    finder, stand_ins = Finder(kinds, names, settings.regions), Pseudonyms(pseudonyms_path(persona), names)
    made = Plan({}, Counter(), [], {}, 0)
    expected = SHARD_ROWS * len(shards(persona))
    for row in rows(persona) if kinds else ():
        made.read += 1
        if made.read % 500 == 0:
            progress("rows read", made.read, expected)
        after = []
        for number, message in enumerate(row.messages):
            found = finder.find(message.content)
            text = message.content
            if found:
                text = stand_ins.replaced(text, found) if pseudonyms else redacted(text, found)
                made.replaced.update(one.kind for one in found)
                if len(made.examples) < EXAMPLES:
                    made.examples.append(
                        Example(row.id, number, about(message.content, found[0].start, found[0].stop), about(text, found[0].start, found[0].stop))
                    )
            after.append(text)
        before = [message.content for message in row.messages]
        if after != before:
            made.texts[row.id] = (before, after)
    if reject:
        rejected = {row.id for row in rows(persona) if row.state == REJECTED}
        for finding in run(persona, reject, progress=progress).checks:
            if finding.skipped:
                raise StudioError(f"{finding.check} cannot be made: {finding.skipped}")
            for offender in finding.offenders:
                if offender.id not in rejected:
                    made.reject.setdefault(offender.id, []).append(finding.check)
    return made, stand_ins


def carry_out(persona: Persona, made: Plan, stand_ins: Pseudonyms, progress: Progress = quiet) -> list[str]:
    """Do what was planned, each as one step that can be undone. What was done, in words."""
    from studio.dialogue.editing import Editor

    editor = Editor(persona)
    done = []
    if made.texts:
        stand_ins.keep()
        told = ", ".join(f"{number:,} {kind}" for kind, number in made.replaced.items())
        done.append(editor.reword(made.texts, f"personal data replaced ({told})", progress))
    if made.reject:
        done.append(editor.judge(list(made.reject), REJECTED, progress))
    return done
