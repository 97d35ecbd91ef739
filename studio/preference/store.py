"""The preference set of a persona: pairs in shards, each with where it came from.

A row is what TRL reads, ``{"prompt": [messages], "chosen": [message], "rejected": [message]}``, and its provenance beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from studio.decoding import keep_original
from studio.dialogue.formats import Message
from studio.errors import StudioError, UsageError
from studio.files import append_line, read_lines, sha256_bytes
from studio.folders import plain_files
from studio.persona.folder import Persona
from studio.reports import AddReport, Fault
from studio.shards import append_rows, read_rows, remove_rows
from studio.shards import shards as files_of

SIDES = ("chosen", "rejected")

REVIEW = "review"
"""``source`` of the pairs that were made from votes."""


class Origin(msgspec.Struct, omit_defaults=True):
    """The vote a pair was made from."""

    review: str
    round: str
    vote: str
    how: str
    """``vote``: the winner beats another side; ``edited`` or ``swiped``: a correction beats a reply."""
    blind: bool
    chosen: str = ""
    """Checkpoint that gave the better reply; of an edited one, whose reply was edited."""
    rejected: str = ""
    engine: str = ""


class Pair(msgspec.Struct, omit_defaults=True):
    """One prompt with a better and a worse reply."""

    id: str
    """Hash of its texts as it was added: the same pair has the same id. An edit leaves it."""
    prompt: list[Message]
    """The conversation up to the reply, the system prompt included if there was one."""
    chosen: list[Message]
    """One message, hers."""
    rejected: list[Message]
    source: str = ""
    """File it was added from, or ``review``."""
    line: int = 0
    cut: list[str] = []
    """Which of ``chosen`` and ``rejected`` ended at the length limit and not by her: their end is not learned as an end."""
    origin: Origin | None = None
    tags: list[str] = []
    state: str = ""
    """``accepted``, ``rejected`` (kept, and never built), or empty: nobody has judged it."""
    edited: bool = False
    """Whether its texts were changed by hand after it was made."""

    # What the index asks of any row.
    made: ClassVar[str] = ""
    time: ClassVar[str] = ""

    @property
    def messages(self) -> list[Message]:
        """The prompt, the better reply, the worse one."""
        return [*self.prompt, *self.chosen, *self.rejected]

    @property
    def replies(self) -> list[str]:
        return [self.better, self.worse]

    @property
    def better(self) -> str:
        return self.chosen[0].content

    @property
    def worse(self) -> str:
        return self.rejected[0].content


def pair_id(prompt: list[Message], better: str, worse: str) -> str:
    """``p`` and ten hex digits of the exact texts. Case and spacing count here: an edit may change nothing else."""
    texts = [*(f"{m.role}\1{m.content}" for m in prompt), better, worse]
    return "p" + sha256_bytes("\0".join(texts).encode())[:10]


def make_pair(prompt: list[Message], better: str, worse: str) -> Pair:
    """A pair of these texts; they are taken as they stand."""
    return Pair(pair_id(prompt, better, worse), prompt, [Message("assistant", better)], [Message("assistant", worse)])


def shards(persona: Persona) -> list[Path]:
    return files_of(persona.preference)


def rows(persona: Persona) -> Iterator[Pair]:
    """Every pair in order. StudioError naming file and line if a shard is damaged."""
    return read_rows(persona.preference, Pair)


def get_row(persona: Persona, row: str) -> Pair:
    """The pair with that id, or the one that uniquely begins so."""
    found = [r for r in rows(persona) if r.id.startswith(row)]
    if len(found) != 1:
        raise StudioError(f"There {'is no pair' if not found else 'are several pairs'} {row!r} in {persona.name}; see: studio preference list")
    return found[0]


def append(persona: Persona, new: list[Pair]) -> None:
    """Add pairs that are not there yet. The caller holds the persona's lock and has compared the ids."""
    append_rows(persona.preference, new)


def withdraw(persona: Persona, gone: set[str]) -> None:
    """Take pairs out whose vote no longer stands; they are kept in ``withdrawn.jsonl``, should it be the votes that were lost.

    The caller holds the persona's lock.
    """
    for row in rows(persona) if gone else []:
        if row.id in gone:
            append_line(persona.preference / "withdrawn.jsonl", row)
    remove_rows(persona.preference, gone)


def removed(persona: Persona) -> set[str]:
    """Ids the person has taken out by hand; they do not come back from the votes."""
    return {value["id"] for _, value in read_lines(_tombstones(persona)) if isinstance(value, dict) and "id" in value}


def remove(persona: Persona, asked: list[str]) -> list[Pair]:
    """Take pairs out for good. StudioError if one is not there; then all stay."""
    with persona.exclusive():
        gone = [get_row(persona, row) for row in asked]
        for row in gone:
            append_line(_tombstones(persona), row)
        remove_rows(persona.preference, {row.id for row in gone})
    return gone


def _tombstones(persona: Persona) -> Path:
    return persona.preference / "removed.jsonl"


def add(persona: Persona, paths: list[Path], asked: str = "") -> AddReport:
    """Add the pairs of files and folders. Those that are here already are dropped as duplicates. ``asked`` forces a format."""
    from studio.preference.formats import FORMATS, read_file

    if asked and asked not in FORMATS:
        raise UsageError(f"The format {asked!r} is not read; there are: {', '.join(FORMATS)}.")
    report = AddReport()
    with persona.exclusive():
        present = {row.id for row in rows(persona)}
        new: list[Pair] = []
        for path in plain_files(paths):
            report.files.append(str(path))
            if path.suffix.lower() not in (".jsonl", ".json"):
                report.read += 1
                report.drop("not a json or jsonl file", Fault(str(path), 0, "only .jsonl and .json are read as preference"))
                continue
            before = len(new)
            for pair in read_file(path, report, asked):
                if pair.id in present:
                    report.drop("duplicate", Fault(str(path), pair.line, f"the same pair is here already ({pair.id})"))
                    continue
                present.add(pair.id)
                pair.source = path.name
                new.append(pair)
            if len(new) > before:
                original = keep_original(persona.sources, path, path.read_bytes())
                append_line(
                    persona.sources / "index.jsonl", {"kind": "preference", "original": original, "from": str(path), "rows": len(new) - before}
                )
        report.kept = len(new)
        append(persona, new)
    return report
