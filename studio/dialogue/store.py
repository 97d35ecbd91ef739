"""The dialogue of a persona: shards of 200 rows, the truth, readable and diffable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from studio.decoding import keep_original, walk
from studio.dialogue.formats import FORMATS, Message, read_file
from studio.errors import StudioError, UsageError
from studio.files import append_line, read_lines, sha256_bytes, write_atomic
from studio.persona.folder import Persona
from studio.reports import AddReport, Fault
from studio.text import normal

SHARD_ROWS = 200


class Row(msgspec.Struct):
    """One conversation with where it came from."""

    id: str
    """Hash of its text: the same conversation has the same id."""
    messages: list[Message]
    source: str = ""
    """File it was added from."""
    line: int = 0
    tags: list[str] = []

    @property
    def replies(self) -> list[str]:
        return [m.content for m in self.messages if m.role == "assistant"]


def row_id(messages: list[Message]) -> str:
    """``d`` and ten hex digits of the conversation's normalized text."""
    return "d" + sha256_bytes("\0".join(f"{m.role}\1{normal(m.content)}" for m in messages).encode())[:10]


def shards(persona: Persona) -> list[Path]:
    return sorted(persona.dialogue.glob("[0-9]*.jsonl"))


def rows(persona: Persona) -> Iterator[Row]:
    """Every conversation in order. StudioError naming file and line if a shard is damaged."""
    for shard in shards(persona):
        with shard.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield msgspec.json.decode(line, type=Row)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise StudioError(f"{shard}:{number}: this row is damaged ({error}); delete the line or restore the file.") from error


def get_row(persona: Persona, row: str) -> Row:
    """The row with that id, or the one that uniquely begins so."""
    found = [r for r in rows(persona) if r.id.startswith(row)]
    if len(found) != 1:
        raise StudioError(f"There {'is no dialogue row' if not found else 'are several dialogue rows'} {row!r} in {persona.name}.")
    return found[0]


def add(persona: Persona, paths: list[Path], asked: str = "", me: str = "", character: str = "") -> AddReport:
    """Add the conversations of files and folders. Rows that are here already are dropped as duplicates.

    ``asked`` forces a format; ``me`` and ``character`` map the ``name`` of messages to user and assistant, which decides who is who
    where the roles of a file are the wrong way round.
    """
    if asked and asked not in FORMATS:
        raise UsageError(f"The format {asked!r} is not read; there are: {', '.join(FORMATS)}.")
    roles = {name: role for name, role in ((me, "user"), (character, "assistant")) if name}
    report = AddReport()
    with persona.exclusive():
        present = {row.id for row in rows(persona)}
        new: list[Row] = []
        for path in walk(paths):
            report.files.append(str(path))
            if path.suffix.lower() not in (".jsonl", ".json"):
                report.read += 1
                report.drop("not a json or jsonl file", Fault(str(path), 0, "only .jsonl and .json are read as dialogue"))
                continue
            before = len(new)
            for conversation in read_file(path, report, asked, roles):
                messages = conversation.messages
                identity = row_id(messages)
                if identity in present:
                    report.drop("duplicate", Fault(str(path), conversation.line, f"the same conversation is here already ({identity})"))
                    continue
                present.add(identity)
                for message in messages:
                    report.speakers[message.name or message.role] += 1
                new.append(Row(identity, messages, path.name, conversation.line))
            if len(new) > before:
                original = keep_original(persona.sources, path, path.read_bytes())
                append_line(persona.sources / "index.jsonl", {"kind": "dialogue", "original": original, "from": str(path), "rows": len(new) - before})
        report.kept = len(new)
        _append(persona, new)
    return report


def _append(persona: Persona, new: list[Row]) -> None:
    """Fill the last shard, then write further ones; each atomically."""
    existing = shards(persona)
    number = int(existing[-1].stem) if existing else 0
    kept = [msgspec.json.encode(value) for _, value in read_lines(existing[-1])] if existing else []
    if not existing or len(kept) >= SHARD_ROWS:
        number, kept = number + 1, []
    waiting = [msgspec.json.encode(row) for row in new]
    while waiting:
        room = SHARD_ROWS - len(kept)
        kept, waiting = kept + waiting[:room], waiting[room:]
        write_atomic(persona.dialogue / f"{number:04}.jsonl", b"\n".join(kept) + b"\n")
        number, kept = number + 1, []
