"""Lore cut into paragraphs and passages: a passage is the unit of the train/val split."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from studio.lore.draft import Draft
from studio.lore.unwrapping import join_lines, wrap_width

PASSAGE_CHARACTERS = 1200
"""A passage is whole paragraphs, closed as soon as it has this many characters (Han characters count three)."""


class Block(NamedTuple):
    """A paragraph."""

    line: int
    """Its first line in the file, 1-based."""
    text: str


class Passage(NamedTuple):
    file: str
    line: int
    """First line in the file, 1-based."""
    first: int
    """Index of its first paragraph in the file."""
    text: str


def is_hard_wrapped(text: str) -> bool:
    """Whether lines end where a typewriter's would: inside paragraphs of several lines, most lines are 50 to 90 wide and none much wider."""
    draft = Draft(text)
    return wrap_width(draft.lines, draft.blocks()) > 0


def blocks_of(text: str) -> list[Block]:
    """Every paragraph: what stands between blank lines; a hard-wrapped text's lines are joined, verse and others' kept."""
    draft = Draft(text)
    spans = draft.blocks()
    width = wrap_width(draft.lines, spans)
    found = []
    for first, end in spans:
        lines = draft.lines[first:end]
        if width and end - first > 1:
            lines = join_lines(lines, width)
        found.append(Block(first + 1, "\n".join(line.rstrip() for line in lines) if len(lines) > 1 else lines[0].rstrip()))
    return found


def paragraphs(text: str) -> list[str]:
    return [block.text for block in blocks_of(text)]


_HEAVY = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def weight(text: str) -> int:
    """Length of ``text`` with Han, kana and Hangul counted three: a translation weighs about what its original does."""
    return len(text) if text.isascii() else len(text) + 2 * len(_HEAVY.findall(text))


_HEAD = re.compile(
    r"#{1,6}\s|(?:chapter|part|book|prologue|epilogue|act|scene|kapitel|teil|chapitre|partie|capítulo|глава)\b.{0,60}$|第.{1,8}[章回节節幕部巻卷]",
    re.IGNORECASE,
)


def is_head(text: str) -> bool:
    """Whether a paragraph is the head of what follows."""
    return len(text) < 120 and text.count("\n") < 3 and bool(_HEAD.match(text))


def passages(file: str, blocks: str | Sequence[Block], cuts: Sequence[int] | None = None, allowed: Collection[int] | None = None) -> list[Passage]:
    """The passages of a file, in order. ``cuts`` (paragraph indexes) forces the boundaries of a parallel translation; ``allowed`` are those at
    which a boundary may be. A head goes with what follows it."""
    if isinstance(blocks, str):
        blocks = blocks_of(blocks)
    if cuts is None:
        begins, gathered, heads = [], 0, True
        for index, block in enumerate(blocks):
            head = is_head(block.text)
            full = gathered >= PASSAGE_CHARACTERS or (head and gathered >= PASSAGE_CHARACTERS // 2)
            if not index or (full and not heads and (allowed is None or index in allowed)):
                begins.append(index)
                gathered = 0
            gathered += weight(block.text)
            heads = head
        cuts = begins
    ends = [*cuts[1:], len(blocks)]
    return [
        Passage(file, blocks[first].line, first, "\n\n".join(block.text for block in blocks[first:end]))
        for first, end in zip(cuts, ends, strict=True)
        if first < end
    ]
