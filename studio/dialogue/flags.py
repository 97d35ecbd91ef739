"""What the checks found, row by row, where a screen can ask for it without checking again.

``.studio/flags/<check>.jsonl`` (of preference pairs: ``flags/preference/``), one file a check, written whole each time it runs: the first line
says how it ran, each further one holds the flags of one row. All of it can be made again with ``studio dialogue check`` (``preference check``).
It holds words of the conversations and is private as they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from studio.dialogue.formats import Message
from studio.files import sha256_bytes, write_atomic
from studio.persona.folder import Persona

DIALOGUE = "dialogue"


class Told(Protocol):
    """What has messages: a conversation, a pair."""

    @property
    def messages(self) -> list[Message]: ...


class Flag(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a check has to say of a row."""

    check: str
    """Its name."""
    what: str
    """For people: what was found, in some words of the row."""
    value: float = 0.0
    """What was measured, in the unit of the check's threshold."""
    message: int = -1
    """Index of the message that is meant; -1: the row as a whole."""
    start: int = 0
    stop: int = 0
    """Where in the message, in characters; both 0 if no place is meant."""
    other: str = ""
    """Id of a row that this one is like."""


class Ran(msgspec.Struct, frozen=True):
    """How a check ran last."""

    check: str
    threshold: float
    t: float
    """When, in seconds since the epoch."""
    rows: int
    """Rows it looked at."""
    offenders: int
    """Rows it flagged."""


class Flagged(msgspec.Struct, frozen=True):
    """What one check says of one row."""

    id: str
    text: str
    """``text_of`` the row as it was then."""
    flags: list[Flag]


def text_of(row: Told) -> str:
    """Ten hex digits of what is said in the row. Flags with another one are about words that have been edited since."""
    return sha256_bytes("\0".join(f"{m.role}\1{m.content}" for m in row.messages).encode("utf-8", "surrogatepass"))[:10]


def keep(persona: Persona, check: str, threshold: float, rows: int, found: Iterable[Flagged], kind: str = DIALOGUE) -> Ran:
    """Put the findings of one check in place of its older ones."""
    lines = [msgspec.json.encode(row) for row in found]
    ran = Ran(check, threshold, time.time(), rows, len(lines))
    write_atomic(_folder(persona, kind) / f"{check}.jsonl", b"\n".join([msgspec.json.encode(ran), *lines]) + b"\n")
    return ran


def forget(persona: Persona, check: str, kind: str = DIALOGUE) -> None:
    (_folder(persona, kind) / f"{check}.jsonl").unlink(missing_ok=True)


def ran(persona: Persona, kind: str = DIALOGUE) -> dict[str, Ran]:
    """How each check ran last, by its name. Those that never ran are not in it."""
    return {each.check: each for path in _files(persona, kind) if (each := _head(path))}


def by_row(persona: Persona, kind: str = DIALOGUE) -> dict[str, list[Flagged]]:
    """What the checks said of each row, by its id. ``standing`` tells what of it still holds."""
    found: dict[str, list[Flagged]] = {}
    for said in flagged(persona, kind=kind):
        found.setdefault(said.id, []).append(said)
    return found


def standing(said: Iterable[Flagged], row: Told) -> list[Flag]:
    """The flags of this row as it is now: not those about words that were edited since."""
    text = text_of(row)
    return [flag for one in said if one.text == text for flag in one.flags]


def flagged(persona: Persona, checks: Iterable[str] = (), kind: str = DIALOGUE) -> list[Flagged]:
    """What each check says of each row, check by check, with the text it was said of."""
    wanted = set(checks)
    decoder = msgspec.json.Decoder(Flagged)
    found: list[Flagged] = []
    for path in _files(persona, kind):
        if wanted and path.stem not in wanted:
            continue
        with path.open("rb") as file:
            next(file, b"")
            for line in file:
                try:
                    found.append(decoder.decode(line))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
    return found


def stamp(persona: Persona, kind: str = DIALOGUE) -> str:
    """Changes whenever a check has run: what was read before is then old."""
    return sha256_bytes("\n".join(f"{path.name}:{path.stat().st_mtime_ns}" for path in _files(persona, kind)).encode())[:16]


def _folder(persona: Persona, kind: str) -> Path:
    return persona.private / "flags" / ("" if kind == DIALOGUE else kind)


def _files(persona: Persona, kind: str) -> list[Path]:
    return sorted(_folder(persona, kind).glob("*.jsonl"))


def _head(path: Path) -> Ran | None:
    with path.open("rb") as file:
        try:
            return msgspec.json.decode(file.readline(), type=Ran)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
