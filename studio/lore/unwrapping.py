"""Typewriter line breaks: lines joined to paragraphs again, blank lines put between paragraphs."""

from __future__ import annotations

import re
from itertools import pairwise
from statistics import median

from studio.lore.draft import Change, Draft

_ITEM = re.compile(r"\s*(?:[-*•◦▪‣+]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S")
_KEPT_LINE = re.compile(r"\s*(?:#{1,6}\s|\||>|```|~~~|:::)|\t|.*\t.*\t")
_SENTENCE_END = re.compile('[.!?…:。！？：”"’』」）)*—-]\\s*$')
_CJK_EDGE = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


def wrap_width(lines: list[str], blocks: list[tuple[int, int]]) -> int:
    """The width a typewriter or mail program broke the lines at, or 0: inside paragraphs of several lines most are nearly full, none much wider."""
    inner = [len(line.rstrip()) for first, end in blocks for line in lines[first : end - 1]]
    if len(inner) < 20:
        return 0
    middle = median(inner)
    inner.sort()
    wide = inner[int(0.95 * (len(inner) - 1))]
    if 50 <= middle <= 90 and sum(width > 100 for width in inner) < 0.01 * len(inner):
        return wide
    sample = "".join(lines[first] for first, _ in blocks[:200])
    han = len(re.findall("[\u3040-\u30ff\u3400-\u9fff]", sample)) > 0.5 * max(1, len(sample))
    ended = sum(bool(_SENTENCE_END.search(line)) for first, end in blocks for line in lines[first : end - 1])
    if (
        han
        and ended < 0.5 * len(inner)
        and 15 <= middle <= 60
        and sum(width >= wide - 2 for width in inner) > 0.7 * len(inner)
        and inner[-1] <= wide + 3
    ):
        return wide
    return 0


def wrapped(draft: Draft) -> None:
    blocks = draft.blocks()
    width = wrap_width(draft.lines, blocks)
    if not width:
        return
    lines: list[str] = []
    origin: list[int] = []
    at = 0
    for first, end in blocks:
        lines += draft.lines[at:first]
        origin += draft.origin[at:first]
        for number, part in enumerate(_parts(draft.lines, first, end)):
            if number:
                lines.append("")
                origin.append(draft.origin[part[0]])
            source = draft.lines[part[0] : part[1]]
            joined = join_lines(source, width) if len(source) > 1 else source
            if len(joined) != len(source):
                draft.note("wrapped", draft.origin[part[0]], "\n".join(source), "\n".join(joined))
                lines += joined
                origin += [draft.origin[part[0]]] * len(joined)
            else:
                lines += source
                origin += draft.origin[part[0] : part[1]]
        at = end
    draft.lines, draft.origin = lines + draft.lines[at:], origin + draft.origin[at:]


def _parts(lines: list[str], first: int, end: int) -> list[tuple[int, int]]:
    """A block cut where an indented line begins a new paragraph without a blank one before it."""
    if end - first < 3:
        return [(first, end)]
    indents = [len(line) - len(line.lstrip(" \t\u3000")) for line in lines[first:end]]
    least = min(indents)
    begins = [i for i, indent in enumerate(indents) if least + 1 <= indent <= least + 8 and (indent - least >= 2 or lines[first + i][:1] == "\u3000")]
    if not begins or len(begins) > 0.5 * len(indents) or len({indents[i] for i in begins}) > 1:
        return [(first, end)]
    starts = sorted({0, *begins})
    return [(first + a, first + b) for a, b in zip(starts, [*starts[1:], end - first], strict=True)]


def join_lines(lines: list[str], width: int) -> list[str]:
    """The lines of one block joined where they were only broken for want of room; verse, lists and tables come back as they are.

    A break is for want of room when the next line's first word would not have fitted.
    """
    if any(_KEPT_LINE.match(line) for line in lines):
        return lines
    forced = [len(line.rstrip()) + 1 + _first_word(following) > width - 3 for line, following in pairwise(lines)]
    if sum(forced) < 0.75 * len(forced):
        return lines
    items = sum(bool(_ITEM.match(line)) for line in lines) >= 2
    joined = [lines[0].strip()]
    for line in lines[1:]:
        stripped = line.strip()
        if items and _ITEM.match(line):
            joined.append(stripped)
        else:
            joined[-1] = glued(joined[-1], stripped)
    return joined


def _first_word(line: str) -> int:
    stripped = line.strip()
    if _CJK_EDGE.match(stripped):
        return 0
    return len(stripped.partition(" ")[0])


def glued(before: str, after: str) -> str:
    """Two lines as one: a space between words, none in Han and kana, none after a dash or a hyphen that joins two words."""
    if not before or not after:
        return before + after
    if before.endswith(("--", "—")) or (before[-1] == "-" and len(before) > 1 and before[-2].isalpha() and after[0].isalpha()):
        return before + after
    if _CJK_EDGE.match(before[-1]) and _CJK_EDGE.match(after[0]):
        return before + after
    return f"{before} {after}"


def paragraphs(draft: Draft) -> None:
    """A text whose every line is a paragraph (no blank lines between): they are put in."""
    lines = draft.lines
    full = [i for i, line in enumerate(lines) if line and not line.isspace()]
    if len(full) < 20 or (len(lines) - len(full)) > 0.2 * len(full):
        return
    sample = full[:5000]
    indented = sum(lines[i][:1] in " \t\u3000" for i in sample)
    ended = sum(bool(_SENTENCE_END.search(lines[i])) for i in sample)
    items = sum(bool(_ITEM.match(lines[i]) or _KEPT_LINE.match(lines[i])) for i in sample)
    long = median(len(lines[i]) * (3 if _CJK_EDGE.search(lines[i]) else 1) for i in sample)
    if items > 0.2 * len(sample) or not (indented > 0.6 * len(sample) or (ended > 0.6 * len(sample) and long >= 60)):
        return
    wide: list[str] = []
    origin: list[int] = []
    for index, (line, number) in enumerate(zip(lines, draft.origin, strict=True)):
        blank = not line or line.isspace()
        if not blank and index and wide and wide[-1] and not wide[-1].isspace():
            wide.append("")
            origin.append(number)
            draft.counts["paragraphs"] += 1
        wide.append(line.strip() if not blank else "")
        origin.append(number)
    if draft.counts["paragraphs"]:
        draft.changes.append(Change("paragraphs", draft.origin[0], 0, "\n".join(lines[:6]), "\n".join(wide[:12])))
    draft.lines, draft.origin = wide, origin


def spaces(draft: Draft) -> None:
    lines: list[str] = []
    origin: list[int] = []
    blank = 0
    for line, number in zip(draft.lines, draft.origin, strict=True):
        stripped = line.rstrip()
        if stripped != line:
            draft.counts["spaces"] += 1
            line = stripped
        blank = 0 if stripped else blank + 1
        if blank > 1:
            draft.counts["spaces"] += 1
            continue
        lines.append(line)
        origin.append(number)
    draft.lines, draft.origin = lines, origin
    draft.counts = +draft.counts
