"""Wikis: MediaWiki's XML export, page by page, and single pages of wikitext."""

from __future__ import annotations

import html
import io
import re
from collections import Counter
from xml.etree import ElementTree

from studio.lore.readers import Reading, Unreadable, ending
from studio.lore.readers.plain import decoded
from studio.zips import one_sentence

_DROPPED = re.compile(
    r"<!--.*?-->|<ref\b[^<>]*/>|<(ref|gallery|math|timeline|templatedata|score|syntaxhighlight|source)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)
_FURNITURE = {
    "references", "external links", "see also", "notes", "gallery", "navigation", "einzelnachweise", "weblinks", "siehe auch", "liens externes",
    "références", "参考资料", "外部链接", "参见", "脚注", "外部リンク", "関連項目",
}  # fmt: skip


def read(raw: bytes, name: str) -> Reading:
    if ending(name) == ".xml":
        return _dump(raw)
    text, encoding = decoded(raw)
    changed: Counter[str] = Counter()
    return Reading(plain(text, changed) + "\n", "wikitext", encoding, +changed)


def _dump(raw: bytes) -> Reading:
    """Every article of an export under its title; talk pages, templates and redirects are left out."""
    if b"<!ENTITY" in raw[: 1 << 16]:
        raise Unreadable("damaged file", "it declares entities, which no wiki export does; export it again")
    changed: Counter[str] = Counter()
    parts: list[str] = []
    depth = 0
    root = None
    try:
        for event, element in ElementTree.iterparse(io.BytesIO(raw), events=("start", "end")):
            local = str(element.tag).rpartition("}")[2]
            if event == "start":
                depth += 1
                if root is None:
                    root = element
                    if local != "mediawiki":
                        raise Unreadable("not a wiki export", "of XML only MediaWiki's export is read (its first element is <mediawiki>)", 1)
                if depth > 50:
                    raise Unreadable("too deeply nested", "its elements stand too deep in one another for a wiki export")
                continue
            depth -= 1
            if local == "page":
                fields = {str(child.tag).rpartition("}")[2]: child for child in element.iter()}
                title = (fields["title"].text or "").strip() if "title" in fields else ""
                space = (fields["ns"].text or "0").strip() if "ns" in fields else "0"
                source = (fields["text"].text or "") if "text" in fields else ""
                if "redirect" in fields or re.match(r"\s*#redirect", source, re.IGNORECASE):
                    changed["redirects left out"] += 1
                elif space != "0":
                    changed["talk, template and other pages left out"] += 1
                elif body := plain(source, changed).strip():
                    parts.append(f"# {title}\n\n{body}" if title else body)
                else:
                    changed["empty pages left out"] += 1
                element.clear()
                if root is not None:
                    root.clear()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        line = getattr(error, "position", (0, 0))[0]
        raise Unreadable("damaged file", f"the XML breaks off or is damaged ({one_sentence(error)}); export it again", line) from error
    if not parts:
        raise Unreadable("no text in it", "the export holds no article")
    return Reading("\n\n".join(parts) + "\n", "wiki export", changed=+changed)


def plain(text: str, changed: Counter[str]) -> str:
    """Wikitext as text: templates, tables, references, files and categories out, links as their words, heads as ``## Head``."""
    text, dropped = _DROPPED.subn("", text)
    changed["references and comments left out"] += dropped
    text = _without_pairs(text, "{{", "}}", changed, "templates left out")
    text = _without_pairs(text, "{|", "|}", changed, "tables left out")
    text = _links(text, changed)
    text = re.sub(r"\[(?:https?:|//)[^\s\]]*\s*([^\]\n]*)\]", r"\1", text)
    text = re.sub(r"'{2,5}", "", text)
    text = re.sub(r"__[A-Z]{3,20}__", "", text)
    text = re.sub(r"<br\s*/?>", "\n", text, flags=re.IGNORECASE)
    text = html.unescape(re.sub(r"</?[a-zA-Z][^<>\n]{0,300}>", "", text))
    text = re.sub(r"^(={1,6})\s*(.+?)\s*\1\s*$", lambda found: "\n" + "#" * min(6, len(found[1])) + " " + found[2] + "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^([^\n#*:;|!{\s][^\n]*)\n(?=[^\n#*:;|!{\s])", r"\1\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"^[*#]+(?!#* \S*#)\s*", lambda found: "- " if "*" in found[0] else found[0], text, flags=re.MULTILINE)
    text = re.sub(r"^[:;]+\s*", "", text, flags=re.MULTILINE)
    kept = []
    for section in re.split(r"(?m)^(?=## )", text):
        head = section.split("\n", 1)[0].lstrip("# ").strip().casefold()
        if section.startswith("## ") and head in _FURNITURE:
            changed["reference sections left out"] += 1
        else:
            kept.append(section)
    return re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip()


def _without_pairs(text: str, opening: str, closing: str, changed: Counter[str], what: str) -> str:
    """``text`` without what stands between nested pairs; one that is never closed stays."""
    if opening not in text:
        return text
    kept: list[str] = []
    stack: list[int] = []
    for piece in re.split(f"({re.escape(opening)}|{re.escape(closing)})", text):
        if piece == opening:
            stack.append(len(kept))
            kept.append(piece)
        elif piece == closing and stack:
            del kept[stack.pop() :]
            changed[what] += 1
        else:
            kept.append(piece)
    return "".join(kept)


def _links(text: str, changed: Counter[str]) -> str:
    """``[[Page|words]]`` as its words; files and categories out. Innermost first, since captions hold links."""
    pattern = re.compile(r"\[\[([^\[\]\n]{0,2000}(?:\n[^\[\]\n]{0,2000}){0,3})\]\]")

    def words(found: re.Match[str]) -> str:
        target, _, shown = found[1].partition("|")
        space = target.strip().lstrip(":").partition(":")[0].strip().casefold() if ":" in target else ""
        named = space in ("file", "image", "category", "datei", "kategorie", "bild", "fichier", "catégorie", "文件", "分类", "ファイル", "カテゴリ")
        if named and not target.strip().startswith(":"):
            changed["pictures and categories left out"] += 1
            return ""
        if re.fullmatch(r"[a-z]{2,3}(?:-[a-z]+)?", space) and not shown:
            changed["links to other languages left out"] += 1
            return ""
        return shown.rpartition("|")[2] if shown else target.strip().lstrip(":")

    for _ in range(5):
        text, number = pattern.subn(words, text)
        if not number:
            break
    return text
