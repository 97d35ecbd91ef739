"""Which rows hold certain words, by scanning the texts of all of them.

One core scans most of a million rows in a second, so much text is shared out among the cores: ``python -m studio.dialogue.scanning`` takes its
part (msgpack) on standard input and gives keys (eight bytes each) on standard output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from studio.jobs.processes import python

Block = tuple[int, int, int]
"""The key of its first row, where it begins, and how many bytes it has. A row ends in a zero byte."""

SHARE = 128 * 2**20
"""Bytes that are worth another process: they take one a fifth of a second and it a tenth to start."""

MOST_PROCESSES = 8

Condition = tuple[bytes, bool]
"""A word, and whether a row must hold it (or must not)."""


class Words(msgspec.Struct, frozen=True):
    """What a row has to hold and what it must not, in the form in which texts count as the same."""

    held: list[bytes]
    """At least one, all of which are meant."""
    absent: list[bytes] = []


def scan(path: Path, blocks: Sequence[Block], words: Words, tell: Callable[[int], None] = lambda done: None) -> array[int]:
    """Keys of the rows that are meant, in their order.

    ``tell`` gets how many blocks are done; what it raises ends the search. OSError or ValueError if the texts are gone or cut off.
    """
    cores = len(os.sched_getaffinity(0))
    shares = _shared(blocks, max(1, min(MOST_PROCESSES, cores, sum(size for *_, size in blocks) // SHARE)))
    helpers = [
        subprocess.Popen(python("studio.dialogue.scanning"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in shares[1:]
    ]
    try:
        for helper, share in zip(helpers, shares[1:], strict=True):
            _send(helper, msgspec.msgpack.encode((os.fsencode(path), words, share)))
        found = _scanned(path, shares[0], words, lambda done: tell(done * len(shares)))
        for helper, share in zip(helpers, shares[1:], strict=True):
            assert helper.stdout
            raw = helper.stdout.read()
            # One that failed (no memory, killed) leaves its part to this process.
            found.frombytes(raw if not helper.wait() else _scanned(path, share, words, lambda done: None).tobytes())
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
            if helper.stdout:
                helper.stdout.close()
    return found


def _shared(blocks: Sequence[Block], number: int) -> list[Sequence[Block]]:
    """The blocks in so many runs of as many."""
    return [blocks[first:end] for first, end in pairwise(len(blocks) * place // number for place in range(number + 1))]


def _send(helper: subprocess.Popen[bytes], task: bytes) -> None:
    assert helper.stdin
    try:
        with helper.stdin:
            helper.stdin.write(task)
    except BrokenPipeError:
        pass  # it has failed, which its exit code says


def _scanned(path: Path, blocks: Sequence[Block], words: Words, tell: Callable[[int], None]) -> array[int]:
    found = array("Q")
    asked = [(word, True) for word in words.held] + [(word, False) for word in words.absent]
    with path.open("rb", buffering=0) as texts:
        for done, (key, start, size) in enumerate(blocks):
            if done % 500 == 0:
                tell(done)
            texts.seek(start)
            block = texts.read(size)
            if len(block) < size:
                raise ValueError("cut off")
            taste = block[: size // 16].split(b"\0")
            # What the fewest rows meet is asked first: of most rows nothing else is.
            shares = sorted((sum((word in row) is held for row in taste), word, held) for word, held in asked)
            conditions = [(word, held) for _, word, held in shares]
            rare = shares[0][2] and 4 * shares[0][0] < len(taste)
            found.extend(map(key.__add__, (_from_hit_to_hit if rare else _row_by_row)(block, conditions)))
    return found


def _from_hit_to_hit(block: bytes, conditions: Sequence[Condition]) -> Iterator[int]:
    """Places of the rows that are meant: twice as fast as row by row where few rows have the first word, which must be one that is held."""
    (first, _), *others = conditions
    find = block.find
    at, begins, place = find(first), 0, 0
    while at >= 0:
        place += block.count(b"\0", begins, at)
        ends = find(b"\0", at)
        begins = block.rfind(b"\0", begins, at) + 1 or begins
        for word, held in others:
            if (find(word, begins, ends) >= 0) is not held:
                break
        else:
            yield place
        place, begins = place + 1, ends + 1
        at = find(first, begins)


def _row_by_row(block: bytes, conditions: Sequence[Condition]) -> Sequence[int]:
    rows = block.split(b"\0")
    places: Sequence[int] = range(len(rows) - 1)
    for word, held in conditions:
        places = [place for place in places if (word in rows[place]) is held]
    return places


def main() -> int:
    path, words, blocks = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=tuple[bytes, Words, list[Block]])
    sys.stdout.buffer.write(_scanned(Path(os.fsdecode(path)), blocks, words, lambda done: None).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
