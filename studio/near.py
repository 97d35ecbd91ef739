"""Near duplicates among many texts, of any script: MinHash over character 5-grams finds candidates, their true likeness decides.

Likeness is the Jaccard index of two texts' sets of 5-grams, in the form in which texts count as the same (``studio.text.normal``).
About 225 bytes a text are held besides the texts. The same texts give the same answer on every machine. numpy is loaded at the first call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from studio.progress import Progress, quiet
from studio.text import normal

if TYPE_CHECKING:
    from numpy import ndarray

GRAM = 5
"""Characters of a gram. Shorter texts are one gram, filled up with spaces."""

THRESHOLD = 0.7
"""From this likeness on two texts count as nearly the same, where nothing else is said: a sentence changed in a paragraph, not a paragraph on the
same matter."""

HASHES = 125
"""25 bands of 5 find a pair of likeness 0.7 in 99 of 100 cases and one of 0.8 in all but one of 10,000."""

ALL_PAIRS = 16
"""Up to so many texts in one bucket are all compared with each other; in a larger one, each with the first few and those beside it."""

_CHUNK = 1 << 16
"""Characters hashed at a time: what fits a core's own cache."""

_HELD = 1 << 23
"""Grams held while candidates are compared (32 MB)."""


class Groups:
    """Which of ``size`` things belong together (union-find)."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def of(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        a, b = self.of(i), self.of(j)
        self.parent[max(a, b)] = min(a, b)

    def lists(self) -> list[list[int]]:
        """All of them, each in order, by their first."""
        found: dict[int, list[int]] = {}
        for i in range(len(self.parent)):
            found.setdefault(self.of(i), []).append(i)
        return list(found.values())


def pairs(texts: Sequence[str], threshold: float = THRESHOLD, progress: Progress = quiet) -> list[tuple[int, int, float]]:
    """``(i, j, likeness)`` with ``i < j``, in order, for texts at least so alike. Empty texts are like nothing.

    A text that is the same as an earlier one is paired with the first such alone, at 1.0, and with nothing else.
    """
    all_hashed = _hash_all(texts, threshold, progress)
    found = [(first, again, 1.0) for again, first in all_hashed.copies]
    compare = _Comparison(texts)
    for i, j in all_hashed.candidates(progress):
        if (likeness := compare(i, j)) >= threshold:
            found.append((i, j, round(likeness, 4)))
    return sorted(found)


def clusters(texts: Sequence[str], threshold: float = THRESHOLD, progress: Progress = quiet) -> list[list[int]]:
    """Indexes of texts that are linked by pairs at least so alike, each cluster of two or more in order, by its first."""
    all_hashed = _hash_all(texts, threshold, progress)
    groups = Groups(len(texts))
    for again, first in all_hashed.copies:
        groups.join(again, first)
    compare = _Comparison(texts)
    for i, j in all_hashed.candidates(progress):
        if groups.of(i) != groups.of(j) and compare(i, j) >= threshold:
            groups.join(i, j)
    return [group for group in groups.lists() if len(group) > 1]


def likeness(one: str, other: str) -> float:
    """The Jaccard index of two texts' 5-grams, 0 to 1; 0 if one is empty."""
    return _Comparison([one, other])(0, 1) if normal(one) and normal(other) else 0.0


def _bands(threshold: float) -> tuple[int, int]:
    """Number of bands and hashes in each: enough to find 98 of 100 pairs at the threshold itself, and few others."""
    for lowest, rows in ((0.7, 5), (0.6, 4), (0.45, 3), (0.3, 2)):
        if threshold >= lowest:
            return HASHES // rows, rows
    return HASHES, 1


def codes(text: str) -> bytes:
    """The text's characters in four bytes each, at least one gram of them."""
    return text.ljust(GRAM).encode("utf-32-le", "surrogatepass")


def hashed(characters: ndarray[Any, Any]) -> ndarray[Any, Any]:
    """A 32-bit hash of the gram that begins at each character but the last four."""
    import numpy as np

    last = len(characters) - GRAM + 1
    found = characters[:last].copy()
    for place in range(1, GRAM):
        found *= np.uint32(0x9E3779B1)
        found += characters[place : place + last]
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):  # MurmurHash3's last steps: every bit then hangs on every other
        found ^= found >> np.uint32(shift)
        found *= np.uint32(factor)
    found ^= found >> np.uint32(16)
    return found


def grams_of(texts: Sequence[str]) -> tuple[ndarray[Any, Any], ndarray[Any, Any]]:
    """The hashed grams of texts in normal form, one text after the other, and where each text's begin."""
    import numpy as np

    lengths = np.fromiter((max(len(text), GRAM) for text in texts), np.int64, len(texts))
    joined = np.frombuffer(b"".join(map(codes, texts)), np.uint32)
    ends = np.cumsum(lengths)
    whole = np.ones(len(joined), bool)
    for back in range(1, GRAM):  # grams that would run from one text into the next
        whole[ends - back] = False
    return hashed(joined)[whole[: len(joined) - GRAM + 1]], np.concatenate(([0], np.cumsum(lengths - GRAM + 1)[:-1]))


class _Chunk:
    """Texts that are hashed at a time, in normal form."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.size = 0

    def add(self, text: str) -> None:
        self.texts.append(text)
        self.size += max(len(text), GRAM)

    def least(self, factors: ndarray[Any, Any]) -> ndarray[Any, Any]:
        """For each factor (as a row) and text the least product with any gram of the text."""
        import numpy as np

        grams, starts = grams_of(self.texts)
        scratch = np.empty_like(grams)
        least = np.empty((len(factors), len(self.texts)), np.uint32)
        for number, factor in enumerate(factors):
            np.multiply(grams, factor, out=scratch)
            np.minimum.reduceat(scratch, starts, out=least[number])
        return least


def _hash_all(texts: Sequence[str], threshold: float, progress: Progress) -> _Hashed:
    import numpy as np

    bands, rows = _bands(threshold)
    factors = np.random.Generator(np.random.PCG64(17)).integers(1 << 31, dtype=np.uint32, size=bands * rows) * np.uint32(2) + np.uint32(1)
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    copies: list[tuple[int, int]] = []
    keys, low = [], []
    chunk = _Chunk()

    def hash_chunk() -> None:
        least = chunk.least(factors)
        key = np.zeros((bands, len(chunk.texts)), np.uint32)
        for row in range(rows):
            key = (key ^ least[row::rows]) * np.uint32(0x01000193)
            key ^= key >> np.uint32(15)
        keys.append(key)
        low.append(least.T.astype(np.uint8))

    for index, text in enumerate(texts):
        if not (plain := normal(text)):
            continue
        first = seen.setdefault(blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest(), index)
        if first != index:
            copies.append((index, first))
            continue
        firsts.append(index)
        chunk.add(plain)
        if chunk.size >= _CHUNK:
            hash_chunk()
            chunk = _Chunk()
            progress("texts hashed", index + 1, len(texts))
    if chunk.texts:
        hash_chunk()
    progress("texts hashed", len(texts), len(texts))
    return _Hashed(threshold, firsts, copies, np.concatenate(keys, axis=1) if keys else None, np.concatenate(low) if low else None)


@dataclass
class _Hashed:
    threshold: float
    firsts: list[int]
    """Indexes of texts that no earlier one equals."""
    copies: list[tuple[int, int]]
    """``(index, the first that is the same)``."""
    keys: ndarray[Any, Any] | None
    """By band and text."""
    low: ndarray[Any, Any] | None
    """By text: the low byte of every hash."""

    def candidates(self, progress: Progress) -> Iterator[tuple[int, int]]:
        """Pairs of indexes whose hashes say that they may be so alike, in order."""
        import numpy as np

        if self.keys is None or self.low is None or len(self.firsts) < 2:
            return
        size = np.uint64(len(self.firsts))
        # Five standard errors of the estimate below the threshold.
        lowest = self.threshold - 5 * np.sqrt(self.threshold * (1 - self.threshold) / self.low.shape[1])
        found = np.empty(0, np.uint64)
        for number, band in enumerate(self.keys, 1):
            left, right = _in_buckets(band)
            alike = np.empty(len(left), np.float32)
            for start in range(0, len(left), _CHUNK):
                part = slice(start, start + _CHUNK)
                alike[part] = (self.low[left[part]] == self.low[right[part]]).mean(axis=1)
            good = alike >= lowest
            found = np.union1d(found, left[good].astype(np.uint64) * size + right[good].astype(np.uint64))
            progress("bands sorted", number, len(self.keys))
        self.keys = self.low = None
        for number, pair in enumerate(found):
            if number % 1000 == 0:
                progress("pairs compared", number, len(found))
            yield self.firsts[int(pair // size)], self.firsts[int(pair % size)]
        progress("pairs compared", len(found), len(found))


def _in_buckets(keys: ndarray[Any, Any]) -> tuple[ndarray[Any, Any], ndarray[Any, Any]]:
    """Pairs of places with the same key, the smaller first."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sizes = np.diff(np.append(starts, len(ordered)))
    place = np.arange(len(ordered)) - np.repeat(starts, sizes)
    size = np.repeat(sizes, sizes)
    first = np.repeat(starts, sizes)
    lefts, rights = [], []
    few = ALL_PAIRS // 4
    for back in range(1, ALL_PAIRS):
        later = np.flatnonzero((place >= back) & ((size <= ALL_PAIRS) | (back <= few)))
        lefts.append(later - back)
        rights.append(later)
    for number in range(few):
        later = np.flatnonzero((size > ALL_PAIRS) & (place > number + few))
        lefts.append(first[later] + number)
        rights.append(later)
    return order[np.concatenate(lefts)], order[np.concatenate(rights)]


class _Comparison:
    """The likeness of texts by their indexes; the grams of those seen last are held."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.grams: dict[int, ndarray[Any, Any]] = {}
        self.held = 0

    def __call__(self, i: int, j: int) -> float:
        import numpy as np

        one, other = self._of(i), self._of(j)
        both = np.concatenate((one, other))
        both.sort()
        shared = int(np.count_nonzero(both[1:] == both[:-1]))
        return shared / (len(one) + len(other) - shared)

    def _of(self, index: int) -> ndarray[Any, Any]:
        import numpy as np

        found = self.grams.get(index)
        if found is None:
            found = np.unique(hashed(np.frombuffer(codes(normal(self.texts[index])), np.uint32)))
            if self.held > _HELD:
                self.grams, self.held = {}, 0
            self.grams[index] = found
            self.held += len(found)
        return found
