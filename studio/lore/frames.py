"""What a publisher, a wiki or a printer put around and between the author's words."""

from __future__ import annotations

import re
from itertools import pairwise

from studio.lore.draft import Draft

_START = re.compile(r"\*{3}\s*START OF (?:THE|THIS) PROJECT GUTENBERG|\*END\*?\s*THE SMALL PRINT", re.IGNORECASE)
_END = re.compile(r"\*{3}\s*END OF (?:THE|THIS) PROJECT GUTENBERG|^End of (?:the |this )?Project Gutenberg", re.IGNORECASE)
_CREDITS = re.compile(r"(?:Produced by|E-?text prepared by|Transcribed from|This e-?text was|Credits:)", re.IGNORECASE)
_PICTURE = re.compile(r"\[Illustration(?:[:.][^\]]{0,400})?\]", re.IGNORECASE)


def frame(draft: Draft) -> None:
    whole = draft.text
    if "gutenberg" in whole.casefold():
        starts = [i for i, line in enumerate(draft.lines) if _START.search(line)]
        ends = [i for i, line in enumerate(draft.lines) if _END.search(line) and (not starts or i > starts[-1])]
        if ends:
            draft.drop(ends[0], len(draft.lines), "frame")
        if starts:
            draft.drop(0, starts[-1] + 1, "frame")
            blocks = draft.blocks()
            if blocks and _CREDITS.match(draft.lines[blocks[0][0]].strip()) and blocks[0][1] - blocks[0][0] < 8:
                draft.drop(*blocks[0], "frame")
        if starts or ends:
            for index, line in enumerate(draft.lines):
                if "[illustration" in line.casefold() and _PICTURE.search(line):
                    draft.edit(index, _PICTURE.sub("", line).strip(), "frame")
    if "底本" in whole or "［＃" in whole or "《" in whole:
        _aozora(draft)


def _aozora(draft: Draft) -> None:
    rules = [i for i, line in enumerate(draft.lines[:60]) if re.fullmatch(r"-{20,}", line.strip())]
    if len(rules) >= 2 and "テキスト中に現れる記号" in "\n".join(draft.lines[rules[0] : rules[1]]):
        draft.drop(rules[0], rules[1] + 1, "frame")
    foot = next((i for i in range(len(draft.lines) - 1, -1, -1) if draft.lines[i].startswith(("底本：", "底本:"))), None)
    if foot is not None and len(draft.lines) - foot < 60:
        draft.drop(foot, len(draft.lines), "frame")
    for index, line in enumerate(draft.lines):
        if "［＃" in line:
            draft.edit(index, re.sub(r"［＃[^［］]{0,200}］", "", line), "frame")


_WIKI_LINE = re.compile(
    r"\s*(?:Retrieved from [\"“]|Categor(?:y|ies)\s*:\s|Hidden categories:|This page was last (?:edited|modified)|Jump to (?:navigation|search)\b"
    r"|From Wikipedia, the free encyclopedia|Community content is available under|Text is available under the Creative Commons|Privacy policy\b"
    r"|(?:取自|检索自)[“\"]|最后更新|本页面最后(?:编辑|修订)|この(?:ページ|項目)の最終更新|カテゴリ[:：]"
    r"|Kategorien?:"
    r"|Diese Seite wurde zuletzt|Sign in to edit\b|View (?:source|history)\s*$|Advertisement\s*$|\[?(?:edit|bearbeiten|编辑|編集)\]?\s*$)",
    re.IGNORECASE,
)
_WIKI_SURE = re.compile(
    r"\s*(?:Retrieved from [\"“]|This page was last (?:edited|modified)|From Wikipedia, the free|Community content is available under"
    r"|Text is available under the Creative|(?:取自|检索自)[“\"]|本页面最后(?:编辑|修订)|この(?:ページ|項目)の最終更新|Diese Seite wurde zuletzt)",
    re.IGNORECASE,
)
"""One such line is enough; of the others three are wanted, or an edit mark: people write "Category: …" themselves."""

_EDIT = re.compile(
    r"\s?\[\s?(?:edit(?: \| edit source| source)?|Bearbeiten(?: \| Quelltext bearbeiten)?|编辑(?:源代码)?|編集|modifier(?: le code)?|editar)\s?\]",
    re.IGNORECASE,
)
_MARK = re.compile(r"(?<=[\w.,;:!?)”\"'。，！？」』])\[(?:\d{1,3}|[a-z]|note \d{1,2}|citation needed|来源请求|要出典)\]", re.IGNORECASE)


def wiki(draft: Draft) -> None:
    gone = [i for i, line in enumerate(draft.lines) if len(line) < 400 and _WIKI_LINE.match(line)]
    edits = [i for i, line in enumerate(draft.lines) if "[" in line and _EDIT.search(line)]
    if not edits and len(gone) < 3 and not any(_WIKI_SURE.match(draft.lines[i]) for i in gone):
        return
    for index in edits:
        draft.edit(index, _EDIT.sub("", draft.lines[index]), "wiki")
    for index, line in enumerate(draft.lines):
        if "[" in line and _MARK.search(line):
            draft.edit(index, _MARK.sub("", line), "wiki")
    draft.drop_all([i for i in gone if draft.lines[i].strip()], "wiki")


_PAGE = re.compile(r"\s*(?:[-–—\[(|]\s*)?(?:page\s+|p\.\s*|seite\s+|第\s*)?(\d{1,4})(?:\s*页|\s*頁)?(?:\s*[-–—\])|])?\s*", re.IGNORECASE)


def pages(draft: Draft) -> None:
    """Page numbers: lines of one number each, going up by ones, that cut sentences in two. Chapter numbers cut none."""
    if len(draft.lines) < 50:
        return
    found = [(i, int(match[1])) for i, line in enumerate(draft.lines) if len(line) < 24 and (match := _PAGE.fullmatch(line))]
    rising = [(i, n) for (i, n), (_, last) in zip(found[1:], found, strict=False) if n == last + 1]
    if len(rising) < 5 or len(rising) < 0.7 * len(found):
        return
    numbers = {i for i, _ in rising} | {i for (i, n), (_, following) in pairwise(found) if following == n + 1}
    inside = [i for i in numbers if _goes_on(draft.lines, i)]
    if len(inside) < 0.25 * len(numbers):
        return
    draft.drop_all(numbers, "pages", {j for i in inside for j in _blank_around(draft.lines, i)})


def _goes_on(lines: list[str], index: int) -> bool:
    """Whether the text before line ``index`` breaks off inside a sentence that the text after it goes on with."""
    before = next((lines[i].rstrip() for i in range(index - 1, max(-1, index - 4), -1) if lines[i].strip()), "")
    after = next((lines[i].strip() for i in range(index + 1, min(len(lines), index + 4)) if lines[i].strip()), "")
    if not before or not after:
        return False
    return (before[-1].isalnum() or before[-1] in ",;-") and (after[0].islower() or ord(after[0]) > 0x2E80)


def _blank_around(lines: list[str], index: int) -> list[int]:
    found = []
    for step in (-1, 1):
        i = index + step
        while 0 <= i < len(lines) and not lines[i].strip():
            found.append(i)
            i += step
    return found


_HAN = "\u3400-\u4dbf\u4e00-\u9fff々〆ヶ"
_AOZORA = re.compile(f"[｜|]([^｜|《》\\n]{{1,20}})《[^《》\\n]{{1,30}}》|(?<=[{_HAN}])《[\u3040-\u30ff・]{{1,30}}》")
_BRACKETS = re.compile(f"(?<=[{_HAN}])(?:（[\u3041-\u309f・ー]{{1,12}}）|\\([\u3041-\u309f・ー]{{1,12}}\\))")
LEAST_READINGS = 3
"""Readings in brackets that make a habit; one or two may be an author's remark."""


def furigana(draft: Draft) -> None:
    whole = draft.text
    if "《" in whole:
        for index, line in enumerate(draft.lines):
            if "《" in line and _AOZORA.search(line):
                draft.edit(index, _AOZORA.sub(lambda found: found[1] or "", line), "furigana")
    if ("（" in whole or "(" in whole) and len(_BRACKETS.findall(whole)) >= LEAST_READINGS:
        for index, line in enumerate(draft.lines):
            if _BRACKETS.search(line):
                draft.edit(index, _BRACKETS.sub("", line), "furigana")
