"""E-books: the chapters of the spine, in reading order."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections import Counter
from urllib.parse import unquote
from xml.etree import ElementTree

from studio.lore.readers import Reading, Unreadable
from studio.lore.readers.html import decoded_page, page_text
from studio.zips import content, one_sentence, opened

_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "")
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Ways of obfuscating fonts, which no reader of text minds."""


def read(raw: bytes, name: str) -> Reading:
    archive = opened(raw)
    members = {member.filename: member for member in archive.infolist()}
    _refuse_locked(archive, members)
    package = _package(archive, members)
    folder = posixpath.dirname(package)
    tree = _parsed(archive, members, package)
    items = {item.get("id", ""): item for item in tree.iter() if _local(item) == "item"}
    spine = [ref.get("idref", "") for ref in tree.iter() if _local(ref) == "itemref"]
    changed: Counter[str] = Counter()
    parts: list[str] = []
    unread: list[tuple[int, str]] = []
    seen: set[str] = set()
    for reference in spine:
        item = items.get(reference)
        if item is None or item.get("media-type", "") not in _PAGES:
            continue
        path = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", "").partition("#")[0])))
        if path in seen:
            continue
        seen.add(path)
        if "nav" in (item.get("properties") or "").split():
            changed["tables of contents left out"] += 1
            continue
        if path not in members:
            unread.append((0, f"the chapter {path} is named in the spine but not in the book"))
            changed["chapters that cannot be read left out"] += 1
            continue
        try:
            page, _ = decoded_page(content(archive, members[path]))
            parts.append(page_text(page, changed).strip())
        except Unreadable as error:
            unread.append((0, f"the chapter {path} cannot be read: {error}"))
            changed["chapters that cannot be read left out"] += 1
    text = "\n\n".join(part for part in parts if part)
    if not text.strip():
        if unread:
            raise Unreadable("damaged book", unread[0][1])
        raise Unreadable("no text in it", "the book's spine names no page with text; convert it anew (Calibre does it)")
    return Reading(text + "\n", "epub", "utf-8", +changed, unread)


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _parsed(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: str) -> ElementTree.Element:
    if path not in members:
        raise Unreadable("damaged book", f"the book has no {path}; fetch it again")
    raw = content(archive, members[path])
    if b"<!ENTITY" in raw:
        raise Unreadable("damaged book", f"{path} in the book declares entities, which no book needs; convert it anew (Calibre does it)")
    try:
        return ElementTree.fromstring(raw)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unreadable("damaged book", f"{path} in the book cannot be read ({one_sentence(error)}); fetch or convert it again") from error


def _package(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> str:
    container = _parsed(archive, members, "META-INF/container.xml")
    path = next((root.get("full-path", "") for root in container.iter() if _local(root) == "rootfile"), "")
    return posixpath.normpath(unquote(path)) if path else "content.opf"


def _refuse_locked(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> None:
    if "META-INF/encryption.xml" in members:
        ways = re.findall(rb'Algorithm="([^"]+)"', content(archive, members["META-INF/encryption.xml"]))
        if any(way.decode("utf-8", "replace") not in _FONTS for way in ways):
            raise Unreadable("encrypted", "the book is locked by copy protection and cannot be read; get it without")
