"""Lore cut into passages: the unit of the train/val split."""

from __future__ import annotations

import re
from statistics import median
from typing import NamedTuple

from studio.text import normal

PASSAGE_CHARACTERS = 1200
"""A passage is whole paragraphs, closed as soon as it has this many characters (Han characters count three)."""


class Passage(NamedTuple):
    file: str
    line: int
    """First line in the file, 1-based."""
    first: int
    """Index of its first paragraph in the file."""
    text: str


def is_hard_wrapped(text: str) -> bool:
    """Whether lines end where a typewriter's would: inside paragraphs of several lines, most lines are 50 to 90 wide and none much wider."""
    inner = [len(line) for block in re.split(r"\n\s*\n", text) for line in block.split("\n")[:-1] if line.strip()]
    return len(inner) >= 20 and 50 <= median(inner) <= 90 and sum(width > 100 for width in inner) < 0.01 * len(inner)


def _blocks(text: str) -> list[tuple[int, str]]:
    """``(line, text)`` of every paragraph: blocks between blank lines; a hard-wrapped text's lines are joined, others' kept."""
    joiner = " " if is_hard_wrapped(text) else "\n"
    found: list[tuple[int, str]] = []
    lines: list[str] = []
    start = 1
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            if not lines:
                start = number
            lines.append(line.strip() if joiner == " " else line.rstrip())
        elif lines:
            found.append((start, joiner.join(lines)))
            lines = []
    return found


def paragraphs(text: str) -> list[str]:
    return [block for _, block in _blocks(text)]


def weight(text: str) -> int:
    """Length of ``text`` with Han, kana and Hangul counted three: a translation weighs about what its original does."""
    return len(text) + 2 * len(re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", text))


def passages(file: str, text: str, cuts: list[int] | None = None) -> list[Passage]:
    """The passages of a file, in order. ``cuts`` (paragraph indexes) forces the boundaries of a parallel translation."""
    blocks = _blocks(text)
    if cuts is None:
        cuts, gathered = [], 0
        for index, (_, block) in enumerate(blocks):
            if not gathered:
                cuts.append(index)
            gathered += weight(block)
            if gathered >= PASSAGE_CHARACTERS:
                gathered = 0
    ends = [*cuts[1:], len(blocks)]
    return [
        Passage(file, blocks[first][0], first, "\n\n".join(block for _, block in blocks[first:end]))
        for first, end in zip(cuts, ends, strict=True)
        if first < end
    ]


def sibling_key(file: str) -> str:
    """``tale.en.md`` and ``tale.zh.md`` are translations of each other: both give ``tale``. Other names give themselves."""
    found = re.fullmatch(r"(.+)\.[a-z]{2,3}(?:-[A-Za-z]{2,4})?\.(?:md|txt)", file)
    return found[1] if found else file


def aligned_passages(texts: dict[str, str]) -> tuple[list[Passage], list[list[int]]]:
    """All passages of all files, and groups of indexes that must stay on one side of a split.

    Translations with the same number of paragraphs are cut at the same paragraphs and their counterparts grouped; with different
    numbers the whole family is one group. Passages that share a long paragraph are grouped as well.
    """
    families: dict[str, list[str]] = {}
    for file in texts:
        families.setdefault(sibling_key(file), []).append(file)
    found: list[Passage] = []
    groups: list[list[int]] = []
    for members in families.values():
        parts = [passages(members[0], texts[members[0]])]
        cuts = [passage.first for passage in parts[0]]
        same = all(len(paragraphs(texts[m])) == len(paragraphs(texts[members[0]])) for m in members)
        parts += [passages(m, texts[m], cuts if same else None) for m in members[1:]]
        offsets = []
        for part in parts:
            offsets.append(len(found))
            found += part
        if len(members) > 1 and same:
            groups += [[offset + i for offset in offsets] for i in range(len(cuts))]
        elif len(members) > 1:
            groups.append(list(range(offsets[0], len(found))))
    holders: dict[str, list[int]] = {}
    for index, passage in enumerate(found):
        for paragraph in {normal(p) for p in passage.text.split("\n\n")}:
            if weight(paragraph) >= 60:
                holders.setdefault(paragraph, []).append(index)
    groups += [indexes for indexes in holders.values() if len(indexes) > 1]
    return found, groups
