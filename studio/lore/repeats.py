"""What stands more than once in the lore: paragraphs, nearly the same paragraphs, whole files, lines that come with every file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from studio.lore.passages import Block, weight
from studio.near import THRESHOLD, clusters
from studio.progress import Progress, quiet
from studio.text import normal

LONG = 60
"""Weight from which a paragraph said twice is a repetition and not an answer like "Yes."."""

NEAR = 120
"""Weight from which paragraphs are compared for being nearly the same."""

LIKENESS = 0.8

LINE = 16
"""Weight from which a line that stands in many files is boilerplate."""

MANY_FILES = 3


class Place(NamedTuple):
    """A paragraph of a file."""

    file: str
    line: int
    number: int
    """Which paragraph of the file."""


class Repeats(NamedTuple):
    """Each with the place that stays first."""

    exact: dict[Place, Place]
    """Paragraphs that stood before, and where."""
    near: dict[Place, Place]
    """Paragraphs that are nearly the same as an earlier one."""
    boilerplate: dict[Place, int]
    """Short paragraphs that stand in three files or more, and in how many."""
    documents: list[list[str]]
    """Files that are nearly the same."""


def largest_first(sizes: Mapping[str, int]) -> list[str]:
    """Files in the order in which what they say counts as said first."""
    return sorted(sizes, key=lambda file: (-sizes[file], file))


def find(texts: Mapping[str, Sequence[Block]], near: bool = True, progress: Progress = quiet) -> Repeats:
    """Look through the paragraphs of all files. Of two that say the same, the one in the larger file stays: an excerpt gives way to its book."""
    first_of: dict[str, Place] = {}
    exact: dict[Place, Place] = {}
    long: list[str] = []
    long_places: list[Place] = []
    holders: dict[str, list[Place]] = {}
    for file in largest_first({file: sum(len(block.text) for block in blocks) for file, blocks in texts.items()}):
        for index, block in enumerate(texts[file]):
            heavy = weight(block.text)
            if heavy < LINE:
                continue
            place = Place(file, block.line, index)
            key = normal(block.text)
            if heavy < 4 * LONG:
                holders.setdefault(key, []).append(place)
            if heavy >= LONG:
                first = first_of.setdefault(key, place)
                if first is not place:
                    exact[place] = first
                elif heavy >= NEAR:
                    long.append(block.text)
                    long_places.append(place)
    boilerplate: dict[Place, int] = {}
    for places in holders.values():
        number = len({place.file for place in places})
        if number >= MANY_FILES:
            boilerplate |= dict.fromkeys(places, number)
    alike: dict[Place, Place] = {}
    if near:
        for group in clusters(long, LIKENESS, progress):
            alike |= {long_places[other]: long_places[group[0]] for other in group[1:]}
    return Repeats(exact, alike, boilerplate, _documents(texts, exact, alike))


def _documents(texts: Mapping[str, Sequence[Block]], exact: dict[Place, Place], near: dict[Place, Place]) -> list[list[str]]:
    """Files most of whose weight stands in one other file, too."""
    shared: Counter[tuple[str, str]] = Counter()
    for copies in (exact, near):
        for place, first in copies.items():
            if place.file != first.file:
                shared[first.file, place.file] += weight(texts[place.file][place.number].text)
    size = {file: sum(weight(block.text) for block in blocks) for file, blocks in texts.items() if any(file == later for _, later in shared)}
    return [[first, later] for (first, later), held in sorted(shared.items()) if held >= THRESHOLD * max(1, size[later])]
