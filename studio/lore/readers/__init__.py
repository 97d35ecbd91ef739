"""Readers: the bytes of one file to text. One small module a format, each with ``read(raw, name) -> Reading``.

Text comes out as paragraphs with blank lines between, chapter heads as ``# Head``. What a reader leaves out it counts by reason. Formats read
by libraries in C, or big enough to run away, are read in a process of their own (``apart``).
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import PurePosixPath

import msgspec

from studio.decoding import Unreadable as Unreadable


class Reading(msgspec.Struct):
    """What a file says."""

    text: str
    format: str
    encoding: str = "utf-8"
    changed: Counter[str] = msgspec.field(default_factory=Counter)
    """Left out or resolved on the way, by what was done."""
    unread: list[tuple[int, str]] = []
    """Lines of the file that could not be read, and why."""
    probes: list[dict[str, object]] = []
    """Cloze questions that a lorebook's entries make."""


FORMATS = {
    ".txt": "plain",
    ".text": "plain",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".epub": "epub",
    ".pdf": "pdf",
    ".docx": "docx",
    ".jsonl": "rows",
    ".ndjson": "rows",
    ".json": "books",
    ".png": "books",
    ".apng": "books",
    ".charx": "books",
    ".srt": "subtitles",
    ".vtt": "subtitles",
    ".ass": "subtitles",
    ".ssa": "subtitles",
    ".fountain": "scripts",
    ".rpy": "scripts",
    ".csv": "scripts",
    ".tsv": "scripts",
    ".wiki": "wiki",
    ".mediawiki": "wiki",
    ".xml": "wiki",
}
"""The reader of each ending."""

APART = {"html", "epub", "pdf", "docx"}
"""Read by C libraries or out of archives: in a process of their own, so that a hostile file ends that and not the studio."""

MARKDOWN = {"markdown", "html", "epub", "pdf", "docx", "books", "wiki"}
"""Readers that write heads as ``# Head``; what they read is kept as ``.md``."""

MAGIC = ((b"%PDF-", ".pdf"), (b"PK\x03\x04", ".zip"), (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xd0\xcf\x11\xe0", ".doc"))
"""How some files begin whatever they are called."""

LARGEST = 512 * 2**20
"""Bytes of a single file that are read at most."""


def ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def reader_of(name: str, raw: bytes) -> str:
    """Which reader reads this. Unreadable when none does, or when the file is not what its ending says."""
    said = ending(name)
    really = next((kind for magic, kind in MAGIC if raw.startswith(magic)), "")
    reader = FORMATS.get(said)
    if reader is None:
        kinds = "txt, md, html, epub, pdf, docx, jsonl, json and png (lorebooks, cards), srt, vtt, ass, fountain, rpy, csv, wiki, zip"
        raise Unreadable("not a kind of file that is read as lore", f"{said or 'no ending'}: read as lore are {kinds}")
    zipped = reader in ("epub", "docx") or said == ".charx"
    if really and really != said and not (zipped and really == ".zip") and not (said == ".apng" and really == ".png"):
        raise Unreadable("not what its ending says", f"the file is called {said} but is a {really[1:]} file inside; rename it and add it again")
    return reader


def read_here(reader: str, raw: bytes, name: str) -> Reading:
    """Run one reader in this process."""
    if len(raw) > LARGEST:
        raise Unreadable("too large", f"the file has {len(raw) >> 20} MB, more than the {LARGEST >> 20} MB that are read; split it")
    reading: Reading = import_module(f"studio.lore.readers.{reader}").read(raw, name)
    return reading
