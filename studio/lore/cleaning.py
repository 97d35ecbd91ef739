"""What is mended in lore, step by step. Every step has a name, every change is kept with what stood there before.

The steps of ``ALWAYS`` are done when a file is added: they only take out or repair what is provably not the author's (encoding accidents,
a publisher's frame, typewriter line breaks). Those of ``ASKED`` also judge the text itself and are done by ``studio lore clean`` alone.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import pairwise
from statistics import median
from typing import Any

import msgspec

STEPS = {
    "mojibake": "garbled characters repaired (UTF-8 once read as something else)",
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

SILENT = ("spaces",)
"""Counted but not kept one by one."""


class Change(msgspec.Struct, frozen=True):
    """One place that was changed."""

    step: str
    line: int
    """First line in the text before, 1-based."""
    at: int
    """Where it stands, or would stand, in the text after."""
    before: str
    after: str
    """Empty: left out."""


class Cleaned(msgspec.Struct):
    text: str
    changes: list[Change]
    counts: Counter[str]
    """Changes by step."""


class Draft:
    """A text as lines that remember their number, while steps work on it."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.origin = list(range(1, len(self.lines) + 1))
        self.changes: list[Change] = []
        self.counts: Counter[str] = Counter()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def note(self, step: str, origin: int, before: str, after: str) -> None:
        self.counts[step] += 1
        if step not in SILENT:
            self.changes.append(Change(step, origin, 0, before, after))

    def edit(self, index: int, line: str, step: str) -> None:
        self.note(step, self.origin[index], self.lines[index], line)
        self.lines[index] = line

    def drop(self, first: int, end: int, step: str) -> None:
        """Leave out the lines ``first`` to ``end - 1`` as one change."""
        before = "\n".join(self.lines[first:end])
        if before.strip():
            self.note(step, self.origin[first], before, "")
        if end < len(self.lines) and not self.lines[end].strip() and (not first or not self.lines[first - 1].strip()):
            end += 1  # the blank line that set it apart
        self.lines[first:end] = []
        self.origin[first:end] = []

    def drop_all(self, indexes: Collection[int], step: str, blanks: Collection[int] = ()) -> None:
        """Leave out lines one by one, many at once, and the blank lines ``blanks`` with them."""
        gone = {*indexes, *blanks}
        for index in sorted(indexes):
            self.note(step, self.origin[index], self.lines[index], "")
        kept: list[int] = []
        for index, line in enumerate(self.lines):
            after_gap = index - 1 in gone and not line.strip() and (not kept or not self.lines[kept[-1]].strip())
            if after_gap:
                gone.add(index)
            elif index not in gone:
                kept.append(index)
        self.lines, self.origin = [self.lines[i] for i in kept], [self.origin[i] for i in kept]

    def blocks(self) -> list[tuple[int, int]]:
        """``(first, end)`` of every run of lines without a blank one."""
        found: list[tuple[int, int]] = []
        first = -1
        for index, line in enumerate(self.lines):
            if not line or line.isspace():
                if first >= 0:
                    found.append((first, index))
                first = -1
            elif first < 0:
                first = index
        if first >= 0:
            found.append((first, len(self.lines)))
        return found

    def done(self) -> Cleaned:
        """The text, and the changes with their places in it."""
        place = {origin: number for number, origin in reversed(list(enumerate(self.origin, 1)))} if self.changes else {}
        known = sorted(place)
        placed = []
        for change in self.changes:
            after = bisect_left(known, change.line)
            at = place[known[after]] if after < len(known) else max(1, len(self.lines))
            placed.append(msgspec.structs.replace(change, at=at))
        placed.sort(key=lambda change: change.line)
        return Cleaned(self.text.strip("\n") + "\n" if self.text.strip() else "", placed, self.counts)


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


# ------------------------------------------------------------------------------------------------ characters

_CONTROLS = "\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff"
_INVISIBLE = re.compile(f"[{_CONTROLS}]")
_BREAKS = re.compile("[\x0c\x85\u2028\u2029]")
_UNSEEN = re.compile(f"[{_CONTROLS}\x0c\x85\u2028\u2029]")
_SUSPECT = re.compile(
    "[\u00c2-\u00f4\u0413\u0420\u0421][\u0080-\u00bf\u0152-\u0178\u0192\u02c6\u02dc\u0402-\u040f\u0451-\u045f\u2013-\u203a\u20ac\u2116\u2122]"
)
"""How text of two UTF-8 bytes looks that was read as Latin-1 or Windows-125x: the gate before the slow look."""


def _controls(draft: Draft) -> None:
    whole = draft.text
    if not _UNSEEN.search(whole):
        return
    if _BREAKS.search(whole):
        lines: list[str] = []
        origin: list[int] = []
        for line, number in zip(draft.lines, draft.origin, strict=True):
            if _BREAKS.search(line):
                draft.note("controls", number, line, _BREAKS.sub("\n\n", line))
                for part in _BREAKS.split(line):
                    lines += [part, ""]
                    origin += [number, number]
            else:
                lines.append(line)
                origin.append(number)
        draft.lines, draft.origin = lines, origin
    for index, line in enumerate(draft.lines):
        if _INVISIBLE.search(line):
            draft.edit(index, _INVISIBLE.sub("", line), "controls")


def _mojibake(draft: Draft) -> None:
    whole = draft.text
    if whole.isascii() or not _SUSPECT.search(whole):
        return
    import ftfy

    config = _careful(ftfy)
    for index, line in enumerate(draft.lines):
        if not line.isascii() and _SUSPECT.search(line):
            fixed = ftfy.fix_encoding(line, config)
            if fixed != line and "\ufffd" not in fixed:
                draft.edit(index, unicodedata.normalize("NFC", fixed), "mojibake")


def _careful(ftfy: Any) -> Any:
    """Only what can be undone: bytes that were decoded wrongly as a whole. The library's defaults change two of three clean Chinese lines."""
    return ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        restore_byte_a0=True,
        replace_lossy_sequences=False,
        decode_inconsistent_utf8=False,
        fix_c1_controls=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )


# ------------------------------------------------------------------------------------------------ frames

_START = re.compile(r"\*{3}\s*START OF (?:THE|THIS) PROJECT GUTENBERG|\*END\*?\s*THE SMALL PRINT", re.IGNORECASE)
_END = re.compile(r"\*{3}\s*END OF (?:THE|THIS) PROJECT GUTENBERG|^End of (?:the |this )?Project Gutenberg", re.IGNORECASE)
_CREDITS = re.compile(r"(?:Produced by|E-?text prepared by|Transcribed from|This e-?text was|Credits:)", re.IGNORECASE)
_PICTURE = re.compile(r"\[Illustration(?:[:.][^\]]{0,400})?\]", re.IGNORECASE)


def _frame(draft: Draft) -> None:
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


def _wiki(draft: Draft) -> None:
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


def _pages(draft: Draft) -> None:
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


# ------------------------------------------------------------------------------------------------ readings

_HAN = "\u3400-\u4dbf\u4e00-\u9fff々〆ヶ"
_AOZORA = re.compile(f"[｜|]([^｜|《》\\n]{{1,20}})《[^《》\\n]{{1,30}}》|(?<=[{_HAN}])《[\u3040-\u30ff・]{{1,30}}》")
_BRACKETS = re.compile(f"(?<=[{_HAN}])(?:（[\u3041-\u309f・ー]{{1,12}}）|\\([\u3041-\u309f・ー]{{1,12}}\\))")
LEAST_READINGS = 3
"""Readings in brackets that make a habit; one or two may be an author's remark."""


def _furigana(draft: Draft) -> None:
    whole = draft.text
    if "《" in whole:
        for index, line in enumerate(draft.lines):
            if "《" in line and _AOZORA.search(line):
                draft.edit(index, _AOZORA.sub(lambda found: found[1] or "", line), "furigana")
    if ("（" in whole or "(" in whole) and len(_BRACKETS.findall(whole)) >= LEAST_READINGS:
        for index, line in enumerate(draft.lines):
            if _BRACKETS.search(line):
                draft.edit(index, _BRACKETS.sub("", line), "furigana")


# ------------------------------------------------------------------------------------------------ lines and paragraphs

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


def _wrapped(draft: Draft) -> None:
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


def _paragraphs(draft: Draft) -> None:
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


def _spaces(draft: Draft) -> None:
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


# ------------------------------------------------------------------------------------------------ asked for

LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"'）」』】]{3,}", re.IGNORECASE)
_MARKDOWN_LINK = re.compile(r"(!?)\[([^\[\]\n]{0,300})\]\((?:[^()\s]|\([^()\s]*\)){1,500}(?:\s+\"[^\"\n]*\")?\)")


def _links(draft: Draft) -> None:
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


def _symbols(draft: Draft) -> None:
    for first, end in reversed(draft.blocks()):
        if is_symbols("".join(draft.lines[first:end])):
            draft.drop(first, end, "symbols")


_ALONE: dict[str, Callable[[Draft], None]] = {
    "mojibake": _mojibake,
    "controls": _controls,
    "frame": _frame,
    "wiki": _wiki,
    "pages": _pages,
    "furigana": _furigana,
    "wrapped": _wrapped,
    "paragraphs": _paragraphs,
    "links": _links,
    "symbols": _symbols,
    "spaces": _spaces,
}
"""Steps that need no other file, in the order in which they are done."""
