"""Character cards, V1 to V3, from ``.json`` and ``.png``.

Layout of the formats: SillyTavern's and the V2/V3 specifications' field lists. The whole card is kept as it came, unknown
fields included, so that writing it back loses nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from studio.errors import StudioError

PNG = b"\x89PNG\r\n\x1a\n"

V1_FIELDS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")

EMPTY_V2: dict[str, Any] = {
    "creator_notes": "",
    "system_prompt": "",
    "post_history_instructions": "",
    "alternate_greetings": [],
    "tags": [],
    "creator": "",
    "character_version": "",
    "extensions": {},
}
"""What V2 has more than V1, empty."""

LARGEST_CARD = 32 * 2**20
"""Bytes of a card file that are read at most; larger files are refused before anything is decoded."""


@dataclass(frozen=True)
class Card:
    raw: dict[str, Any]
    """The card as it came."""

    @property
    def data(self) -> dict[str, Any]:
        """The fields: ``raw["data"]`` of V2 and V3, the card itself of V1."""
        inner = self.raw.get("data")
        return inner if isinstance(inner, dict) else self.raw

    def field(self, name: str) -> str:
        value = self.data.get(name)
        return value if isinstance(value, str) else ""

    @property
    def name(self) -> str:
        return self.field("name").strip()

    def fill(self, text: str, user: str) -> str:
        """``text`` with ``{{char}}`` and ``{{user}}`` (also ``<BOT>``, ``<USER>``) replaced, in any case."""
        names = {"char": self.field("nickname") or self.name, "user": user}
        names |= {"bot": names["char"]}
        return re.sub(r"\{\{(char|user)\}\}|<(BOT|USER)>", lambda m: names[(m[1] or m[2]).lower()], text, flags=re.IGNORECASE)

    def greetings(self, user: str) -> list[str]:
        """What she may say first: the greeting and its alternatives, names filled in, each once."""
        others = self.data.get("alternate_greetings")
        texts = [self.field("first_mes"), *(t for t in (others if isinstance(others, list) else []) if isinstance(t, str))]
        return list(dict.fromkeys(self.fill(text, user).strip() for text in texts if text.strip()))

    def told(self, user: str, *names: str) -> str:
        """Some of its fields as one text, names filled in; what is empty is left out."""
        return "\n\n".join(self.fill(text, user).strip() for name in names if (text := self.field(name)).strip())

    def as_spec(self, version: Literal[2, 3]) -> dict[str, Any]:
        """The card in the layout of V2 or V3. Every field it has goes along, also those that the other version does not know."""
        data = {**dict.fromkeys(V1_FIELDS, ""), **EMPTY_V2, **self.data}
        if self.data is self.raw:
            data = {key: value for key, value in data.items() if key in V1_FIELDS or key in EMPTY_V2}
        if version == 3:
            data = {"group_only_greetings": [], **data}
        outside = {key: value for key, value in self.raw.items() if key not in ("spec", "spec_version", "data")}
        spec = {"spec": f"chara_card_v{version}", "spec_version": f"{version}.0", "data": data}
        return {**outside, **spec}

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self.raw), indent=2) + b"\n"


def read_card(path: Path) -> Card:
    """The card in a JSON or PNG file; StudioError with the reason if it holds none."""
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise StudioError(f"{path} has more than {LARGEST_CARD >> 20} MB, which no character card needs; give a smaller file.")
        raw = path.read_bytes()
    except OSError as error:
        raise StudioError(f"The card {path} cannot be read: {error.strerror}.") from error
    text = card_in_png(raw, path) if raw.startswith(PNG) else raw.removeprefix(b"\xef\xbb\xbf")
    try:
        card = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is no character card: its JSON cannot be read ({error}).") from error
    fields = card.get("data", card) if isinstance(card, dict) else None
    if not isinstance(fields, dict) or not isinstance(fields.get("name"), str) or not {"description", "first_mes", "personality"} & fields.keys():
        raise StudioError(f"{path} is no character card: it has no name with a description, personality or first_mes (V1, V2 and V3 are read).")
    return Card(card)


def card_in_png(raw: bytes, path: Path) -> bytes:
    """The JSON in a PNG's ``ccv3`` (preferred) or ``chara`` text chunk."""
    found: dict[str, bytes] = {}
    at = 8
    while at + 12 <= len(raw):
        length, kind = struct.unpack(">I4s", raw[at : at + 8])
        if kind == b"tEXt":
            keyword, _, value = raw[at + 8 : at + 8 + length].partition(b"\0")
            found[keyword.decode("latin-1").lower()] = value
        at += 12 + length
    packed = found.get("ccv3") or found.get("chara")
    if packed is None:
        raise StudioError(f"{path} is a picture without a character in it (no ccv3 or chara text chunk); save the card again as PNG or JSON.")
    try:
        return base64.b64decode(packed, validate=False)
    except binascii.Error as error:
        raise StudioError(f"{path}: the character in this picture is damaged (not base64); save the card again.") from error


def to_png(card: Card, picture: bytes = b"") -> bytes:
    """The card inside a picture: a ``chara`` (V2) and a ``ccv3`` (V3) text chunk before the end, any older ones taken out.

    Without a picture a plain one is made. StudioError if ``picture`` is no PNG.
    """
    picture = picture or _plain_picture()
    if not picture.startswith(PNG):
        raise StudioError("The picture for the card is no PNG; convert it first, or leave it away.")
    made, at = bytearray(PNG), len(PNG)
    while at + 12 <= len(picture):
        length, kind = struct.unpack(">I4s", picture[at : at + 8])
        chunk = picture[at : at + 12 + length]
        if kind == b"IEND":
            break
        if not (kind == b"tEXt" and chunk[8:].partition(b"\0")[0].lower() in (b"chara", b"ccv3")):
            made += chunk
        at += 12 + length
    else:
        raise StudioError("The picture for the card is cut off (it has no end); save it again.")
    for keyword, layout in ((b"chara", card.as_spec(2)), (b"ccv3", card.as_spec(3))):
        made += _chunk(b"tEXt", keyword + b"\0" + base64.b64encode(msgspec.json.encode(layout)))
    return bytes(made + _chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _plain_picture(width: int = 400, height: int = 600) -> bytes:
    """A PNG of one colour."""
    rows = (b"\0" + bytes((70, 78, 96)) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
