"""The dialogue of a persona: conversations in shards, each with where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from studio.dialogue.formats import Message
from studio.errors import StudioError
from studio.files import sha256_bytes
from studio.persona.folder import Persona
from studio.shards import read_rows
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
    """The row with that id, or the one that uniquely begins so. StudioError if it is none, several, or damaged."""
    from studio.dialogue.index import Index

    index = Index(persona)
    index.refresh()
    found = index.read([key for identity, key in index.beginning(row) if identity == row]) or index.read([key for _, key in index.beginning(row)])
    index.close()
    if len(found) != 1:
        raise StudioError(f"There {'is no dialogue row' if not found else 'are several dialogue rows'} {row!r} in {persona.name}.")
    if isinstance(found[0], StudioError):
        raise found[0]
    return found[0]
