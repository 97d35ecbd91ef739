"""Links and paragraphs of symbols."""

from __future__ import annotations

import re

from studio.lore.draft import Draft

LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"'）」』】]{3,}", re.IGNORECASE)
_MARKDOWN_LINK = re.compile(r"(!?)\[([^\[\]\n]{0,300})\]\((?:[^()\s]|\([^()\s]*\)){1,500}(?:\s+\"[^\"\n]*\")?\)")


def links(draft: Draft) -> None:
    for index, line in enumerate(draft.lines):
        if "](" in line or "http" in line or "www." in line.casefold():
            plain = _MARKDOWN_LINK.sub(lambda found: "" if found[1] else found[2], line)
            plain = re.sub(r"\s*[(<\[]?" + LINK.pattern + r"[)>\]]?", "", plain, flags=re.IGNORECASE)
            if plain != line:
                draft.edit(index, plain.strip(), "links")


LEAST_SYMBOLS = 24
"""Characters of a paragraph of symbols; three stars between two scenes are no spam."""

_SPACE = re.compile(r"\s+")
_LETTERS = re.compile(r"[^\W_]+")
_TRIPLE = re.compile(r"(\S)\1\1")
_RUN = re.compile(r"([^\w\s]|_)\1{29,}|(\w)\2{59,}")


def is_symbols(text: str) -> bool:
    """Whether a paragraph is hardly made of letters, or of one character over and over."""
    if len(text) < LEAST_SYMBOLS:
        return False
    sample = text[::7]
    if sum(map(str.isalnum, sample)) > 0.6 * len(sample) and not _TRIPLE.search(text[::10]):  # nearly every paragraph, at a tenth of the cost
        return False
    packed = len(text) - sum(map(len, _SPACE.findall(text)))
    letters = sum(map(len, _LETTERS.findall(text)))
    return packed >= LEAST_SYMBOLS and (letters < 0.35 * packed or bool(_RUN.search(text)))


def symbols(draft: Draft) -> None:
    for first, end in reversed(draft.blocks()):
        if is_symbols("".join(map(str.strip, draft.lines[first:end]))):  # spaces at line ends go later
            draft.drop(first, end, "symbols")
