"""Which rows stand in which shard: a row is known by a number that tells where it lies."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

PLACES = 1 << 20
"""A key is the shard's number times this, plus the row's place in it. Rows never move between shards, so keys sort as rows stand."""


class Layout(NamedTuple):
    """Which rows stand where, as of one look at the shards."""

    numbers: Sequence[int]
    names: Sequence[str]
    starts: Sequence[int]
    """How many rows stand before each shard."""
    size: int

    def key(self, index: int) -> int:
        at = bisect_right(self.starts, index) - 1
        return self.numbers[at] * PLACES + index - self.starts[at]

    def before(self, key: int) -> int:
        """How many rows stand before this one."""
        at = bisect_right(self.numbers, key // PLACES) - 1
        return self.starts[at] + key % PLACES if at >= 0 else 0

    def place(self, key: int) -> tuple[str, int]:
        at = bisect_right(self.numbers, key // PLACES) - 1
        return self.names[at] if at >= 0 and self.numbers[at] == key // PLACES else f"{key // PLACES:04}.jsonl", key % PLACES
