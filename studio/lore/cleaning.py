"""What is mended in lore, step by step. Every step has a name, every change is kept with what stood there before.

The steps of ``ALWAYS`` are done when a file is added: they only take out or repair what is provably not the author's (encoding accidents,
a publisher's frame, typewriter line breaks). Those of ``ASKED`` also judge the text itself and are done by ``studio lore clean`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from studio.garbled import SAID
from studio.lore.characters import controls, mojibake
from studio.lore.draft import Cleaned, Draft
from studio.lore.frames import frame, furigana, pages, wiki
from studio.lore.litter import links, symbols
from studio.lore.unwrapping import paragraphs, spaces, wrapped

STEPS = {
    "mojibake": SAID,
    "controls": "invisible and control characters left out",
    "frame": "publisher's frame cut (Project Gutenberg, Aozora)",
    "wiki": "wiki boilerplate cut",
    "pages": "page numbers cut",
    "furigana": "readings in brackets left out (furigana)",
    "wrapped": "hard-wrapped lines joined",
    "paragraphs": "blank lines put between paragraphs",
    "spaces": "spaces at line ends and surplus blank lines left out",
    "links": "links cut",
    "symbols": "paragraphs of symbols left out",
    "repeated": "lines that stand in many files left out",
    "duplicates": "repeated paragraphs left out",
    "near": "nearly the same paragraphs left out",
}
"""What each step does, in the words of a report."""

ALWAYS = ("mojibake", "controls", "frame", "wiki", "pages", "furigana", "wrapped", "paragraphs", "spaces")
ASKED = ("links", "symbols", "repeated", "duplicates", "near")
USUAL = (*ALWAYS, "symbols", "repeated", "duplicates")
"""What ``lore clean`` does unless told otherwise: all but links, which may be part of a sentence, and near duplicates, which may be revisions."""


def clean(text: str, steps: Iterable[str] = ALWAYS) -> Cleaned:
    """``text`` after those of ``steps`` that look at one text alone, in their order. Cleaning twice changes nothing more."""
    draft = Draft(text)
    run(draft, steps)
    return draft.done()


def run(draft: Draft, steps: Iterable[str]) -> None:
    wanted = set(steps)
    for name, step in _ALONE.items():
        if name in wanted:
            step(draft)


_ALONE: dict[str, Callable[[Draft], None]] = {
    "mojibake": mojibake,
    "controls": controls,
    "frame": frame,
    "wiki": wiki,
    "pages": pages,
    "furigana": furigana,
    "wrapped": wrapped,
    "paragraphs": paragraphs,
    "links": links,
    "symbols": symbols,
    "spaces": spaces,
}
"""Steps that need no other file, in the order in which they are done."""
