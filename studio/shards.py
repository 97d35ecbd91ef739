"""Rows in shards: ``NNNN.jsonl`` files of 200 rows each, the truth about dialogue and preference, readable and diffable.

A row never moves to another shard, so that adding one changes one small file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from studio.errors import StudioError
from studio.files import read_lines, write_atomic

SHARD_ROWS = 200

T = TypeVar("T")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.jsonl"))


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


def append_rows(folder: Path, new: Collection[Any]) -> None:
    """Fill the last shard, then write further ones; each atomically."""
    if not new:
        return
    existing = shards(folder)
    number = int(existing[-1].stem) if existing else 0
    kept = [msgspec.json.encode(value) for _, value in read_lines(existing[-1])] if existing else []
    if not existing or len(kept) >= SHARD_ROWS:
        number, kept = number + 1, []
    waiting = [msgspec.json.encode(row) for row in new]
    while waiting:
        room = SHARD_ROWS - len(kept)
        kept, waiting = kept + waiting[:room], waiting[room:]
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
