"""The dialogue of a persona: conversations in shards, each with where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from studio.decoding import keep_original, walk
from studio.dialogue.formats import FORMATS, Message, read_file
from studio.errors import StudioError, UsageError
from studio.files import append_line, sha256_bytes
from studio.persona.folder import Persona
from studio.reports import AddReport, Fault
from studio.shards import append_rows, read_rows
from studio.shards import shards as files_of
from studio.text import normal


ACCEPTED = "accepted"
REJECTED = "rejected"
SYNTHETIC = "synthetic"


class Row(msgspec.Struct, omit_defaults=True):
    """One conversation with where it came from."""

    id: str
    """Hash of its text as it was added: the same conversation has the same id. An edit leaves it."""
    messages: list[Message]
    source: str = ""
    """File it was added from."""
    line: int = 0
    """Line, or number of the record, its first message stands at."""
    tags: list[str] = []
    time: str = ""
    """When its first message was said, ISO 8601, with a zone only if the file knew one; empty if it has no times."""
    message_ids: list[str] = []
    """The ids the file gave its messages, in their order; empty if it gave none."""
    state: str = ""
    """``accepted``, ``rejected`` (kept, and never built), or empty: nobody has judged it."""
    made: str = ""
    """``synthetic`` if a model wrote it; no edit takes that away. Empty: it was read from somewhere."""
    edited: bool = False
    """Whether its text was changed by hand after it was added."""
    of: list[str] = []
    """Ids of the rows it was split from or merged of."""

    @property
    def replies(self) -> list[str]:
        return [m.content for m in self.messages if m.role == "assistant"]


def row_id(messages: list[Message]) -> str:
    """``d`` and ten hex digits of the conversation's normalized text."""
    return "d" + sha256_bytes("\0".join(f"{m.role}\1{normal(m.content)}" for m in messages).encode())[:10]


def shards(persona: Persona) -> list[Path]:
    return files_of(persona.dialogue)


def rows(persona: Persona) -> Iterator[Row]:
    """Every conversation in order. StudioError naming file and line if a shard is damaged."""
    return read_rows(persona.dialogue, Row)


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
        append_rows(persona.dialogue, new)
    return report
