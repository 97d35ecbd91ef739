"""Markdown: kept as it is but for front matter and comments."""

from __future__ import annotations

import re
from collections import Counter

from studio.lore.readers import Reading
from studio.lore.readers.plain import decoded

_FRONT = re.compile(r"\A---[ \t]*\n(?:[\w-]+[ \t]*:.*\n|[ \t]+.*\n|-[ \t].*\n|#.*\n|[ \t]*\n)*---[ \t]*(?:\n|\Z)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def read(raw: bytes, name: str) -> Reading:
    text, encoding = decoded(raw)
    changed: Counter[str] = Counter()
    text, fronts = _FRONT.subn("", text, count=1)
    changed["front matter left out"] += fronts
    if "<!--" in text and "-->" in text:
        text, comments = _COMMENT.subn("", text)
        changed["comments left out"] += comments
    return Reading(text, "markdown", encoding, +changed)
