"""What the checks found, row by row, where a screen can ask for it without checking again.

``.studio/flags/<check>.jsonl``, one file a check, written whole each time it runs: the first line says how it ran, each further one holds the
flags of one row. All of it can be made again with ``studio dialogue check``. It holds words of the conversations and is private as they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from studio.dialogue.store import Row
from studio.files import sha256_bytes, write_atomic
from studio.persona.folder import Persona


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


def text_of(row: Row) -> str:
    """Ten hex digits of what is said in the row. Flags with another one are about words that have been edited since."""
    return sha256_bytes("\0".join(f"{m.role}\1{m.content}" for m in row.messages).encode("utf-8", "surrogatepass"))[:10]


def keep(persona: Persona, check: str, threshold: float, rows: int, found: Iterable[Flagged]) -> Ran:
    """Put the findings of one check in place of its older ones."""
    lines = [msgspec.json.encode(row) for row in found]
    ran = Ran(check, threshold, time.time(), rows, len(lines))
    write_atomic(_folder(persona) / f"{check}.jsonl", b"\n".join([msgspec.json.encode(ran), *lines]) + b"\n")
    return ran


def forget(persona: Persona, check: str) -> None:
    (_folder(persona) / f"{check}.jsonl").unlink(missing_ok=True)


def ran(persona: Persona) -> dict[str, Ran]:
    """How each check ran last, by its name. Those that never ran are not in it."""
    return {each.check: each for path in _files(persona) if (each := _head(path))}


def flags_of(persona: Persona, checks: Iterable[str] = ()) -> dict[str, list[Flag]]:
    """The flags of every flagged row by its id (of these checks only, if any are named).

    A row that was edited or deleted since may still be in it: ``flagged`` tells by its text.
    """
    found: dict[str, list[Flag]] = {}
    for row in flagged(persona, checks):
        found.setdefault(row.id, []).extend(row.flags)
    return found


def flagged(persona: Persona, checks: Iterable[str] = ()) -> list[Flagged]:
    """What each check says of each row, check by check, with the text it was said of."""
    wanted = set(checks)
    decoder = msgspec.json.Decoder(Flagged)
    found: list[Flagged] = []
    for path in _files(persona):
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


def stamp(persona: Persona) -> str:
    """Changes whenever a check has run: what was read before is then old."""
    return sha256_bytes("\n".join(f"{path.name}:{path.stat().st_mtime_ns}" for path in _files(persona)).encode())[:16]


def _folder(persona: Persona) -> Path:
    return persona.private / "flags"


def _files(persona: Persona) -> list[Path]:
    return sorted(_folder(persona).glob("*.jsonl"))


def _head(path: Path) -> Ran | None:
    with path.open("rb") as file:
        try:
            return msgspec.json.decode(file.readline(), type=Ran)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
