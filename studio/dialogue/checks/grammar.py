"""Cheap hints at broken sentences: a word written twice, marks that open and do not close, replies that break off."""

from __future__ import annotations

import re
from collections.abc import Sequence

from studio.dialogue.checks.base import ByMessage, Check, Context, Examiner, about, hers
from studio.dialogue.flags import Flag
from studio.dialogue.store import Row

_TWICE = (
    "the a an of to in for with at by from was were be are his their its my your this as or but and und ist ein eine einen "
    "mit von zu im auf für den dem des nicht oder les un une des est dans que du au pour avec sur los las una con por para "
    "del és egy hogy van volt vagy mint gli che per di nel della os as um uma com em się jest że oraz на по из от за для что "
    "не и"
)
"""Words that nobody says twice in a row on purpose, as they do “no no”, “bye bye”, “that that” or “die, die”."""

_REPEATED = re.compile(rf"(?<![\w'’-])({'|'.join(_TWICE.split())})\s+\1(?![\w'’-])")

_SMILEY = re.compile(r"[:;=8xX]'?[-^o]?[()\[\]]+|[()\[\]]+[-^o]?'?[:;=](?!\w)|\^_*\^|¯\\_\(ツ\)_/¯|<\(|\)>")
_LISTED = re.compile(r"^\s*(?:\w{1,3}[).]|[*•-])\s", re.MULTILINE)
_INCHES = re.compile(r"\d\"")
_STARS = re.compile(r"\*\*|(?<=\w)\*+(?=\w)|(?<=\s)\*(?=\s)")

_BRACKETS = (("(", ")"), ("（", "）"), ("「", "」"), ("『", "』"), ("《", "》"), ("«", "»"))


class _Repeated(ByMessage):
    def find(self, text: str) -> Sequence[tuple[int, int, str]]:
        small = text.lower()
        return [(*match.span(), "a word twice: {}") for match in _REPEATED.finditer(small)] if len(small) == len(text) else ()


class _Unbalanced(ByMessage):
    def find(self, text: str) -> Sequence[tuple[int, int, str]]:
        return [(0, 0, f"{what}: {{}}") for what in unbalanced(text)]


def unbalanced(text: str) -> list[str]:
    """What is opened and not closed in a turn, in words. Quotations that go on over paragraphs open in each and close in the last."""
    bare = _LISTED.sub(" ", _SMILEY.sub(" ", text))
    wrong = []
    if _STARS.sub("", bare).count("*") % 2:
        wrong.append("an asterisk without its fellow")
    paragraphs = [part for part in re.split(r"\n\s*\n|\n", _INCHES.sub(" ", bare)) if part.strip()]
    for number, part in enumerate(paragraphs):
        goes_on = number + 1 < len(paragraphs) and paragraphs[number + 1].lstrip()[:1] in ('"', "“", "„")
        if part.count('"') % 2 and not goes_on:
            wrong.append("a quotation mark without its fellow")
            break
        opened, closed = (part.count("„"), part.count("“") + part.count("”")) if "„" in part else (part.count("“"), part.count("”"))
        if opened > closed and not goes_on and not (opened == closed + 1 and part.count('"') % 2):
            wrong.append("a quotation that does not end")
            break
    # More closing than opening ones are smiles in half the world.
    wrong += [f"“{left}” without “{right}”" for left, right in _BRACKETS if bare.count(left) > bare.count(right)]
    return wrong


_ENDED = re.compile(r"[.!?…。！？‥～~♪♥\"”’'»」』）)\]*_:;—–-]\s*$")


class _BrokenOff(Examiner):
    """Only where nearly all of her replies end with a mark: people who chat without full stops break nothing off."""

    times = 2
    SHORT = 40

    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.least = check.name, context.threshold(check)
        self.ended = self.replies = 0

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        found = []
        for number, text in hers(row):
            if len(text) < self.SHORT:
                continue
            last = text.rstrip()[-1:]
            whole = bool(_ENDED.search(text)) or (not last.isalnum() and last not in ",，、")
            if time == 1:
                self.replies += 1
                self.ended += whole
            elif not whole and self.ended >= self.least * self.replies:
                start = max(0, len(text) - 50)
                found.append(Flag(self.name, f"her turn breaks off: {about(text, start, len(text))}", 1, number, start, len(text)))
        return found


CHECKS = (
    Check(
        "repeated-word",
        "a word written twice by mistake",
        1,
        "times in a row's replies; from it on",
        "our own list of words nobody doubles on purpose",
        _Repeated,
    ),
    Check(
        "unbalanced",
        "marks that open and do not close",
        1,
        "kinds of mark in a row's replies; from it on",
        "role-play logs mark actions with *",
        _Unbalanced,
    ),
    Check(
        "broken-off",
        "replies that end in the middle of a sentence",
        0.9,
        "share of her long replies that end with a mark; where fewer do, nothing is flagged",
        "our own",
        _BrokenOff,
    ),
)
