"""Web pages and the inside of e-books: what a browser would show as text, menus and scripts left out."""

from __future__ import annotations

import re
from collections import Counter

from studio.lore.readers import Reading, Unreadable
from studio.lore.readers.plain import decoded

NOT_TEXT = "script,style,nav,noscript,template,svg,math annotation,iframe,object,form,button,select,textarea"
READINGS = "rt,rp"
WIKI = (
    ".mw-editsection,.reference,#toc,.toc,.navbox,.catlinks,.noprint,#mw-navigation,.printfooter,#siteSub,#contentSub,#jump-to-nav,"
    ".mw-jump-link,.mw-cite-backlink,.sistersitebox,.metadata,.ambox,.hatnote,#footer,.mw-footer,.page-footer,.global-navigation,.wds-tabs,"
    ".page-header__actions,.fandom-community-header"
)
PAGE_BREAKS = '[epub\\:type="pagebreak"],[role="doc-pagebreak"],.pagebreak,.pagenum,.pageno'
DEEPEST = 2000
"""Elements within one another; the parsers call themselves for each and a page made to break them has a million."""

_HEAD = "\ue0f1"
"""Marks a head's level on its way through the extraction; private use, and dropped from the page before."""

_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)
_XML = re.compile(rb"\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_:.-]{2,40})[\"']")


def decoded_page(raw: bytes) -> tuple[str, str]:
    """As any text; if it is no UTF-8, the encoding that the page names is tried first."""
    named = _XML.search(raw[:1024]) or _META.search(raw[:4096])
    if named and named[1].lower() not in (b"utf-8", b"utf8"):
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            try:
                return raw.decode(named[1].decode("ascii")), named[1].decode("ascii").lower()
            except (LookupError, UnicodeDecodeError):
                pass
    return decoded(raw)


def too_deep(page: str) -> bool:
    """Whether elements stand within one another more than ``DEEPEST`` times."""
    depth = 0
    for tag in re.finditer(r"<(/?)([a-zA-Z][\w:-]*)([^<>]*)>", page):
        if tag[2].lower() in _ALONE or tag[3].endswith("/"):
            continue
        depth += -1 if tag[1] else 1
        depth = max(depth, 0)
        if depth > DEEPEST:
            return True
    return False


_ALONE = {"br", "hr", "img", "meta", "link", "input", "p", "li", "td", "tr", "th", "dt", "dd", "option", "col", "wbr", "source", "area", "base"}
"""Elements without an end, or whose end may be left away."""


def page_text(page: str, changed: Counter[str]) -> str:
    """The text of a page, heads as ``# Head``; what was left out is counted in ``changed``."""
    from resiliparse.extract.html2text import extract_plain_text
    from selectolax.lexbor import LexborHTMLParser

    if too_deep(page):
        raise Unreadable("too deeply nested", f"its elements stand more than {DEEPEST:,} deep in one another, which no page needs; save it anew")
    tree = LexborHTMLParser(page.replace(_HEAD, ""))
    for selector, what in (
        (NOT_TEXT, "scripts, styles, menus left out"),
        (READINGS, "readings (ruby) left out"),
        (WIKI, "wiki furniture left out"),
        (PAGE_BREAKS, "page numbers left out"),
    ):
        for node in tree.css(selector):
            if node.parent is not None:
                changed[what] += selector != READINGS or node.tag == "rt"
                node.decompose()
    for level in range(1, 7):
        for node in tree.css(f"h{level}"):
            words = " ".join(node.text().split())
            if words:
                node.inner_html = f"{_HEAD}{level}{_escaped(words)}"
    text = extract_plain_text(tree.html or "", preserve_formatting=True, main_content=False, alt_texts=False, links=False, form_fields=False)
    text = re.sub(rf"^[ \t]*{_HEAD}([1-6])", lambda found: "\n" + "#" * int(found[1]) + " ", text, flags=re.MULTILINE)
    text = text.replace("\u00a0", " ").replace(_HEAD, "")
    text = re.sub(r"^(#+ .*)\n(?!\n)", r"\1\n\n", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def read(raw: bytes, name: str) -> Reading:
    page, encoding = decoded_page(raw)
    changed: Counter[str] = Counter()
    return Reading(page_text(page, changed), "html", encoding, +changed)
