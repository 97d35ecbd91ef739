"""Rows in shards: ``NNNN.jsonl`` files of 200 rows each, the truth about dialogue and preference, readable and diffable.

A row never moves to another shard, so that adding or changing one writes one small file. Lines that are not touched stay as they are,
byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from studio.errors import StudioError
from studio.files import read_lines, write_atomic

SHARD_ROWS = 200

T = TypeVar("T")


class _Named(msgspec.Struct):
    id: str


_named = msgspec.json.Decoder(_Named)


def shards(folder: Path) -> list[Path]:
    """The shards in their order: by number, which from the ten-thousandth on is not that of their names."""
    try:
        found = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".jsonl") and entry.name[:-6].isdecimal()]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(found, key=lambda name: (int(name[:-6]), name))]


def lines_of(raw: bytes) -> list[bytes]:
    """The rows of a shard as they stand. Splits on ``\\n`` alone; blank lines are none."""
    return [line for line in raw.split(b"\n") if line.strip()]


def read_rows(folder: Path, kind: type[T]) -> Iterator[T]:
    """Every row in order. StudioError naming file and line if a shard is damaged."""
    for shard in shards(folder):
        with shard.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield msgspec.json.decode(line, type=kind)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise StudioError(f"{shard}:{number}: this row is damaged ({error}); delete the line or restore the file.") from error


def append_rows(folder: Path, new: Collection[Any], tell: Callable[[int], None] = lambda done: None) -> None:
    """Fill the last shard, then write further ones; each atomically. ``tell`` gets how many rows are written."""
    if not new:
        return
    existing = shards(folder)
    number = int(existing[-1].stem) if existing else 0
    kept = lines_of(existing[-1].read_bytes()) if existing else []
    if not existing or len(kept) >= SHARD_ROWS:
        number, kept = number + 1, []
    waiting = [msgspec.json.encode(row) for row in new]
    done = 0
    while done < len(waiting):
        some = waiting[done : done + SHARD_ROWS - len(kept)]
        kept, done = kept + some, done + len(some)
        tell(done)
        write_atomic(folder / f"{number:04}.jsonl", b"\n".join(kept) + b"\n")
        number, kept = number + 1, []


def remove_rows(folder: Path, gone: Collection[str]) -> None:
    """Take rows out by their ``id``; only the shards they stand in are written anew."""
    for shard in shards(folder) if gone else []:
        values = [value for _, value in read_lines(shard)]
        kept = [msgspec.json.encode(value) for value in values if value.get("id") not in gone]
        if len(kept) == len(values):
            continue
        if kept:
            write_atomic(shard, b"\n".join(kept) + b"\n")
        else:
            shard.unlink()


class Shard:
    """One shard while it is changed: read once, written once, only if something came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.raw = path.read_bytes()
        except FileNotFoundError:
            self.raw = b""
        self.lines = lines_of(self.raw)

    def find(self, identity: str) -> int:
        """Place of the row, -1 if it is not here."""
        wanted = identity.encode()
        return next((place for place, line in enumerate(self.lines) if wanted in line and identity_of(line) == identity), -1)

    def id_at(self, place: int) -> str:
        """The row's id; empty before the first row, and of a damaged one."""
        return identity_of(self.lines[place]) if place >= 0 else ""

    def value(self, place: int) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.lines[place])
        return found

    def replace(self, place: int, value: Mapping[str, Any]) -> None:
        self.lines[place] = msgspec.json.encode(value)

    def insert(self, place: int, value: Mapping[str, Any]) -> None:
        self.lines.insert(place, msgspec.json.encode(value))

    def remove(self, place: int) -> None:
        del self.lines[place]

    def save(self) -> None:
        """Atomically and durably. A shard without rows goes."""
        if not self.lines:
            self.path.unlink(missing_ok=True)
        elif (raw := b"\n".join(self.lines) + b"\n") != self.raw:
            write_atomic(self.path, raw)


def identity_of(line: bytes) -> str:
    """The row's id; empty if the line is damaged."""
    try:
        return _named.decode(line).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def read_at(folder: Path, kind: type[T], places: Sequence[tuple[str, int]]) -> list[T | StudioError]:
    """The rows at ``(shard name, place in it)``, in that order; for one that cannot be read, the sentence that says why."""
    decoder = msgspec.json.Decoder(kind)
    opened: tuple[str, list[bytes]] = ("", [])
    found: list[T | StudioError] = []
    for name, place in places:
        path = folder / name
        try:
            if opened[0] != name:
                opened = (name, lines_of(path.read_bytes()))
            found.append(decoder.decode(opened[1][place]))
        except (OSError, IndexError, msgspec.DecodeError, UnicodeDecodeError) as error:
            why = "it is no longer there" if isinstance(error, IndexError) else str(error)
            found.append(StudioError(f"{path.parent.name}/{path.name}: row {place + 1} cannot be read ({why}); mend the line or restore the file."))
    return found
