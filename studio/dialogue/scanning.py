"""Which rows hold certain words, by scanning the texts of all of them.

One core scans most of a million rows in a second, so much text is shared out among the cores: ``python -m studio.dialogue.scanning`` takes its
part (msgpack) on standard input and gives keys (eight bytes each) on standard output.
"""

from __future__ import annotations

import mmap
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
    if not blocks:
        return found
    first, more = words.held[0], len(words.held) > 1 or bool(words.absent)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as texts:
        for done, (key, start, size) in enumerate(blocks):
            if done % 500 == 0:
                tell(done)
            # As bytes of its own a block is searched faster than in the map, the copy included (3.11: mmap.find compares byte by byte).
            block = texts[start : start + size]
            taste = size // 16
            often = more and 4 * block.count(first, 0, taste) > block.count(b"\0", 0, taste)
            found.extend(key + place for place in (_row_by_row if often else _from_hit_to_hit)(block, words))
    return found


def _from_hit_to_hit(block: bytes, words: Words) -> Iterator[int]:
    """Places of the rows that are meant: three times as fast as row by row where few rows have the first word."""
    first, *others = words.held
    at, begins, place = block.find(first), 0, 0
    while at >= 0:
        place += block.count(b"\0", begins, at)
        ends = block.index(b"\0", at)
        if not (others or words.absent) or _meant(block[block.rfind(b"\0", begins, at) + 1 or begins : ends], others, words.absent):
            yield place
        place, begins = place + 1, ends + 1
        at = block.find(first, begins)


def _row_by_row(block: bytes, words: Words) -> Iterator[int]:
    """The same, twice as fast where most rows have the first word and others are to be looked for in each."""
    first, *others = words.held
    return (place for place, row in enumerate(block.split(b"\0")) if first in row and _meant(row, others, words.absent))


def _meant(row: bytes, held: Sequence[bytes], absent: Sequence[bytes]) -> bool:
    for each in held:
        if each not in row:
            return False
    for each in absent:  # noqa: SIM110 (a generator takes as long as looking does)
        if each in row:
            return False
    return True


def main() -> int:
    path, words, blocks = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=tuple[bytes, Words, list[Block]])
    sys.stdout.buffer.write(_scanned(Path(os.fsdecode(path)), blocks, words, lambda done: None).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
