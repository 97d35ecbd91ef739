"""A file as its importer sees it: its bytes, its text, or its JSON with the values still unread."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from functools import cached_property
from pathlib import PurePath
from typing import Any

import msgspec

from studio.decoding import UndecodableText, decode
from studio.dialogue.formats import BadRow, json_objects, json_value

HEAD = 100_000
"""Characters of a file that tell its format."""

PIECE = 1 << 20

_BROKEN_ESCAPE = re.compile(rb"\\(?:\\|x([0-9A-Fa-f]{2}))")


class File:
    """A file, or the member of a zip, as its importer sees it."""

    def __init__(self, name: str, raw: bytes, shown: str = "") -> None:
        self.name = name
        """With its folders, as far as they are known."""
        self.shown = shown or name
        """What reports call it."""
        self.raw = raw.removeprefix(b"\xef\xbb\xbf")
        self.repaired = ""
        """What was mended before it could be parsed."""

    @property
    def base(self) -> str:
        return PurePath(self.name).name

    @property
    def stem(self) -> str:
        return PurePath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePath(self.name).suffix.lower()

    @cached_property
    def decoded(self) -> tuple[str, str]:
        """``(text, encoding)``. Raises UndecodableText."""
        return decode(self.raw)

    @property
    def text(self) -> str:
        return self.decoded[0]

    @cached_property
    def is_utf8(self) -> bool:
        """Whether the bytes are UTF-8 and nothing else; found piece by piece, since the text of a large file takes four times its bytes.

        Zero bytes and escape characters may be other encodings, which ``decode`` knows.
        """
        if b"\0" in self.raw or b"\x1b" in self.raw:
            return False
        decoder = getincrementaldecoder("utf-8")()
        try:
            for start in range(0, len(self.raw), PIECE):
                decoder.decode(self.raw[start : start + PIECE], start + PIECE >= len(self.raw))
        except UnicodeDecodeError:
            return False
        return True

    @cached_property
    def head(self) -> str:
        """The beginning of the text, enough to tell the format by. Raises UndecodableText."""
        if self.is_utf8:
            return self.raw[: 4 * HEAD].decode("utf-8", "ignore")[:HEAD].replace("\r\n", "\n")
        return self.text[:HEAD]

    @cached_property
    def json(self) -> bytes:
        """The bytes of a JSON file as UTF-8. Raises UndecodableText."""
        return self.raw if self.is_utf8 else self.text.encode("utf-8", "replace")

    @cached_property
    def document(self) -> dict[str, msgspec.Raw] | None:
        """The file as one JSON object, its values still unread; None if it is none. Control characters written ``\\x1B`` are mended."""
        if self.json.lstrip()[:1] != b"{":
            return None
        if found := raw_dict(self.json):
            return found
        mended = _escapes(self.json)
        found = raw_dict(mended) if mended != self.json else {}
        if found:
            self.repaired = "control characters written \\xNN mended"
        return found or None

    @cached_property
    def problem(self) -> str:
        """Why the file is no whole JSON object, in the parser's words."""
        try:
            msgspec.json.decode(_escapes(self.json), type=msgspec.Raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return str(error)
        return ""

    @cached_property
    def is_list(self) -> bool:
        return self.json.lstrip()[:1] == b"["

    @cached_property
    def sample(self) -> list[Any]:
        """The first objects of a list or of lines, five at most; lines that are no JSON are passed over."""
        try:
            data = self.json
        except UndecodableText:
            return []
        if data.lstrip()[:1] not in (b"{", b"["):
            return []
        if self.document is not None:
            # A large document is an export; looking at its keys is enough.
            whole = json_value(data, None) if len(data) < 1_000_000 and not self.repaired else None
            return [] if whole is None else [whole]
        found: list[Any] = []
        for _, value in json_objects(data, 40):
            if not isinstance(value, BadRow):
                found.append(value)
            if len(found) == 5:
                break
        return found

    def part(self, key: str) -> Any:
        """One value of the document; None if it is missing or broken."""
        raw = (self.document or {}).get(key)
        if raw is None:
            return None
        return json_value(bytes(raw), None)

    def parts(self, key: str) -> list[msgspec.Raw]:
        """The elements of a list in the document, each still unread: one that is broken does not hurt the others."""
        return raw_list((self.document or {}).get(key))


def _escapes(raw: bytes) -> bytes:
    """``\\x1B`` is no JSON; where the backslash is not itself escaped it becomes ``\\u001B``."""
    return _BROKEN_ESCAPE.sub(lambda m: m[0] if m[1] is None else b"\\u00" + m[1], raw)


def raw_list(raw: msgspec.Raw | bytes | None) -> list[msgspec.Raw]:
    if raw is None:
        return []
    try:
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def raw_dict(raw: msgspec.Raw | bytes | None) -> dict[str, msgspec.Raw]:
    if raw is None:
        return {}
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
