"""PDF: pages hold lines at places, not paragraphs; these are joined here by indents, gaps, short last lines and sentence ends.

Words come from PDFium (it keeps them apart where others glue them). Lines that stand on page after page and page numbers are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from studio.lore.readers import Reading, Unreadable
from studio.zips import one_sentence

MOST_PAGES = 20_000
HEAD = 1.18
"""A short line whose letters are so many times as high as the median's is a head."""

_HYPHEN = "\ufffe\x02\u00ad"
"""How PDFium gives a hyphen that only breaks a word."""

_ENDS = tuple(".!?…:;\"'”’»)]。！？」』）—")
_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


class Line(NamedTuple):
    text: str
    left: float
    right: float
    top: float
    height: float
    page: int


def read(raw: bytes, name: str) -> Reading:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("encrypted", "the PDF wants a password; save it without one") from error
        raise Unreadable("damaged file", f"it cannot be read as a PDF ({one_sentence(error)}); save it anew") from error
    pages = len(document)
    if pages > MOST_PAGES:
        raise Unreadable("too large", f"the PDF has {pages:,} pages, more than the {MOST_PAGES:,} that are read; split it")
    lines: list[list[Line]] = []
    unread: list[tuple[int, str]] = []
    for number in range(pages):
        try:
            lines.append(_lines_of(document, number))
        except pypdfium2.PdfiumError as error:
            unread.append((0, f"page {number + 1} cannot be read ({one_sentence(error)})"))
    if not any(lines):
        raise Unreadable("no text in it", "the PDF holds pictures of pages and no text; run it through OCR first (ocrmypdf does it)")
    changed: Counter[str] = Counter()
    kept = _without_furniture(lines, changed)
    text = "\n\n".join(_paragraphs(kept, changed))
    if not text.strip():
        raise Unreadable("no text in it", "the PDF holds nothing but page numbers and running heads")
    return Reading(text + "\n", "pdf", "utf-8", +changed, unread)


def _lines_of(document: Any, number: int) -> list[Line]:
    import pypdfium2

    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            size = text_page.count_chars()
            if size <= 0:
                return []
            text = text_page.get_text_range(0, size)
            found: list[Line] = []
            at = 0
            for part in re.split(r"(\r\n|\r|\n)", text):
                stripped = part.strip()
                if stripped and part not in ("\r\n", "\r", "\n"):
                    first = at + len(part) - len(part.lstrip())
                    last = at + len(part.rstrip()) - 1
                    boxes = []
                    for index in (first, (first + last) // 2, last):
                        try:
                            boxes.append(text_page.get_charbox(index, loose=True))
                        except (pypdfium2.PdfiumError, IndexError):
                            continue
                    if boxes:
                        left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
                        top, low = max(box[3] for box in boxes), min(box[1] for box in boxes)
                        heights = [box[3] - box[1] for box in boxes]
                        found.append(Line(stripped, left, right, top, max(heights) if top - low > 0 else 1.0, number))
                    else:
                        found.append(Line(stripped, 0, 0, 0, 0, number))
                at += sum(2 if ord(character) > 0xFFFF else 1 for character in part) if not part.isascii() else len(part)
            return found
        finally:
            text_page.close()
    finally:
        page.close()


def _without_furniture(pages: list[list[Line]], changed: Counter[str]) -> list[Line]:
    """The lines without page numbers and without first and last lines that come again on other pages (numbers in them not counted)."""
    edges: Counter[str] = Counter()
    for lines in pages:
        edges.update({shape for _, shape in _edges(lines)})
    least = max(3, len([lines for lines in pages if lines]) // 10)
    kept: list[Line] = []
    for lines in pages:
        at_edge = dict(_edges(lines))
        for place, line in enumerate(lines):
            if place in at_edge and _PAGE_NUMBER.fullmatch(line.text):
                changed["page numbers left out"] += 1
            elif place in at_edge and edges[at_edge[place]] >= least and len(line.text) < 120:
                changed["running heads left out"] += 1
            else:
                kept.append(line)
    return kept


_PAGE_NUMBER = re.compile(r"[-–—\s]*(?:(?:page|seite|p\.?)\s*)?(?:\d{1,5}|[ivxlc]{1,8})[-–—\s]*", re.IGNORECASE)


def _edges(lines: list[Line]) -> list[tuple[int, str]]:
    """The two highest and two lowest lines of a page, and what they are known by: the outermost without their numbers."""
    by_height = sorted(range(len(lines)), key=lambda place: -lines[place].top)
    outer = {*by_height[:1], *by_height[-1:]}
    inner = {*by_height[1:2], *by_height[-2:-1]} - outer
    return [*((place, _shape(lines[place].text)) for place in outer), *((place, lines[place].text) for place in inner)]


def _shape(text: str) -> str:
    return re.sub(r"\d+", "#", text.casefold()).strip()


def _paragraphs(lines: list[Line], changed: Counter[str]) -> list[str]:
    if not lines:
        return []
    words = {word for line in lines for word in re.findall(r"[^\W\d_]{4,}", line.text.casefold())}
    long = [line for line in lines if len(line.text) > 20] or lines
    height = median(line.height for line in long) or 1.0
    left = Counter(round(line.left) for line in long).most_common(1)[0][0]
    right = sorted(line.right for line in long)[int(0.9 * (len(long) - 1))]
    gaps = [a.top - b.top for a, b in pairwise(lines) if a.page == b.page and 0 < a.top - b.top < 6 * height]
    gap = median(gaps) if gaps else height * 1.2
    found: list[str] = []
    before: Line | None = None
    for line in lines:
        head = line.height > HEAD * height and len(line.text) < 100
        if head:
            joined = before is not None and found and found[-1].startswith("# ") and before.height > HEAD * height and before.page == line.page
            if joined and before and abs(before.top - line.top) < 3 * line.height:
                found[-1] += " " + line.text
            else:
                found.append("# " + line.text)
        elif before is None or not found or found[-1].startswith("# ") or _begins(line, before, left, right, gap, height):
            found.append(line.text)
        else:
            found[-1] = _joined(found[-1], line.text, words, changed)
        before = line
    compounds = {word for part in found for word in re.findall(r"[^\W\d_]+-[^\W\d_]+", part.casefold())}
    return [_mended(part, compounds, changed) if any(c in part for c in _HYPHEN) else part for part in found]


def _mended(text: str, compounds: set[str], changed: Counter[str]) -> str:
    """PDFium's marks for hyphens at line ends resolved: the word is one, unless it stands elsewhere with its hyphen."""

    def whole(found: re.Match[str]) -> str:
        if f"{found[1]}-{found[2]}".casefold() in compounds:
            return f"{found[1]}-{found[2]}"
        changed["words broken at line ends joined"] += 1
        return found[1] + found[2]

    return re.sub(rf"([^\W\d_]+)[{_HYPHEN}]\s?([^\W\d_]+)", whole, text).translate({ord(c): "-" for c in _HYPHEN})


def _begins(line: Line, before: Line, left: float, right: float, gap: float, height: float) -> bool:
    """Whether ``line`` begins a paragraph after ``before``."""
    ended = before.text.endswith(_ENDS)
    indented = line.left > left + 0.8 * height and line.left < left + 8 * height and abs(before.left - line.left) > 0.5 * height
    short = before.right < right - max(0.1 * (right - left), 2 * height)
    if re.match(r"(?:[•▪◦‣*–—-]|\(?\d{1,3}[.)])\s", line.text):
        return True
    if line.page != before.page:
        return ended and (indented or short)
    step = before.top - line.top
    if step > 1.45 * gap:
        return True
    if step < -2 * height:  # the next column
        return ended and (indented or short)
    return (indented and (ended or short)) or (short and ended)


def _joined(text: str, more: str, words: set[str], changed: Counter[str]) -> str:
    """Two lines of a paragraph as one; a word broken at the line's end is made whole where the whole word stands elsewhere too."""
    if text[-1] in _HYPHEN:
        return text + more
    if broken := re.search(r"([^\W\d_]+)-$", text):
        following = re.match(r"[^\W\d_]+", more)
        if following and following[0][0].islower() and (broken[1] + following[0]).casefold() in words:
            changed["words broken at line ends joined"] += 1
            return text[:-1] + more
        return text + more
    glue = "" if _CJK.match(text[-1]) or _CJK.match(more[0]) else " "
    return text + glue + more
