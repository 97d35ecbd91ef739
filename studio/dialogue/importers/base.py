"""What every importer works with: a file, what it takes in, and an account of what became of each record."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import PurePath
from typing import Any

import msgspec

from studio.decoding import UndecodableText, decode
from studio.dialogue.formats import BadRow, Message, json_objects, json_value
from studio.preference.store import Pair
from studio.reports import AddReport, Fault
from studio.text import normal

HEAD = 100_000
"""Characters of a file that tell its format."""

PIECE = 1 << 20

MOST_FAULTS = 1000
"""Places remembered for one reason of one file; the count goes on."""

BREATH = 256
"""Records or messages between two words on the progress."""
MOST_NAMES = 50
"""Names of one id that are remembered."""

ME = "me"
HER = "character"

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_BROKEN_ESCAPE = re.compile(rb"\\(?:\\|x([0-9A-Fa-f]{2}))")


class Asked(msgspec.Struct, frozen=True):
    """What the person says about files that cannot say it themselves."""

    format: str = ""
    me: tuple[str, ...] = ()
    character: tuple[str, ...] = ()
    """Names of the character, as many as the files have for her. ``*``: everybody the file itself calls a character."""
    leave_out: tuple[str, ...] = ()
    """Speakers whose messages are not wanted. ``*``: everybody who is not named."""
    dates: str = ""
    """``dmy``, ``mdy`` or ``ymd``: how dates like 03/04/05 are meant. Empty: told from the file, or asked."""
    silence: float = 6.0
    """Hours after which a chat begins anew."""
    burst: float = 30.0
    """Minutes within which messages of one side are one turn; a later one is not the same breath any more."""
    exchanges: int = 6
    """Replies of hers in one row at most; 0: rows are not cut."""
    choices: str = "first"
    """Which branch of a game's choices is taken: ``first``, ``last`` or ``longest``."""


class Part(msgspec.Struct):
    """One file's share of the report."""

    file: str
    format: str = ""
    unit: str = "row"
    """What is counted: ``row`` (a record is a conversation) or ``message``."""
    read: int = 0
    used: int = 0
    """Records that stand in kept rows: read = used + dropped."""
    kept: int = 0
    """Rows of dialogue."""
    pairs: int = 0
    """Pairs for the preference set."""
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    changed: Counter[str] = msgspec.field(default_factory=Counter)


class ImportReport(AddReport):
    """The outcome of ``dialogue add``. ``read`` counts records: rows of row formats, messages of histories; ``kept`` counts rows."""

    used: int = 0
    """Records that stand in kept rows: read = used + dropped, for the whole and for each file."""
    pairs: int = 0
    """Pairs for the preference set: swipes passed over, preference files."""
    cast: dict[str, str] = msgspec.field(default_factory=dict)
    """What each speaker was taken for: ``me``, ``character``, ``user`` or ``out``."""
    cast_by: str = ""
    """How that was decided, in words; empty if the files say it themselves."""
    parts: list[Part] = msgspec.field(default_factory=list)
    dry_run: bool = False
    """Nothing was written; ``preview`` holds the first rows."""
    preview: list[Any] = msgspec.field(default_factory=list)

    def drop_from(self, part: Part, reason: str, line: int, what: str, count: int = 1) -> None:
        """``count`` records of a file are not kept; the place of the first is remembered."""
        if part.dropped[reason] < MOST_FAULTS:
            self.faults.append(Fault(part.file, line, what))
        part.dropped[reason] += count

    def total(self) -> None:
        """Add the files up."""
        self.read = sum(part.read for part in self.parts)
        self.used = sum(part.used for part in self.parts)
        self.kept = sum(part.kept for part in self.parts)
        self.pairs = sum(part.pairs for part in self.parts)
        self.dropped = sum((part.dropped for part in self.parts), Counter())
        self.changed = sum((part.changed for part in self.parts), Counter())
        kinds = [kind for part in self.parts for kind in part.format.split(", ") if kind]
        self.format = ", ".join(dict.fromkeys(kinds))


class Said(msgspec.Struct, gc=False):
    """One message of a chat, a script or a game, before it is known who is who."""

    speaker: str
    """Key of the speaker: an id of the service, or the normalized name."""
    text: str
    source: int
    """Number of its file in the report."""
    line: int
    """Line or number of the record in the file, from 1."""
    at: float = -1.0
    """Seconds since 1970, of local time where the file knows no zone; -1: unknown."""
    id: str = ""
    passed_over: tuple[str, ...] = ()
    """Other replies that were given here and not kept (swipes)."""
    opens: bool = False
    """A new scene begins here."""


class Scene(msgspec.Struct):
    """Messages in their order. Scenes of one ``key`` are parts of one chat; an empty key stands alone."""

    key: str
    said: list[Said]
    zoned: bool = False
    """Whether times are true ones and put the messages in order; local ones run backwards once a year."""
    timed: bool = False
    """Whether silence ends a conversation."""
    placeholders: bool = False
    """Whether ``{{user}}`` and ``{{char}}`` may stand for names."""


class Speaker(msgspec.Struct):
    key: str
    names: list[str]
    """Every name met, the latest last."""
    count: int = 0
    hint: str = ""
    """``me`` or ``character`` where the file itself says so."""

    @property
    def name(self) -> str:
        return self.names[-1]


class Record(msgspec.Struct):
    """A conversation whose roles the file gives."""

    messages: list[Message]
    source: int
    line: int
    time: str = ""
    ids: list[str] = []


class Choice(msgspec.Struct):
    """A pair for the preference set and where it stands; ``own`` if a record of its own was read for it."""

    pair: Pair
    source: int
    records: list[int]
    """Lines of the records it was made of and that nothing else was made of; empty for a swipe, whose message is counted as said."""


class Taken(msgspec.Struct):
    """Everything that was read, in order, before rows are cut."""

    report: ImportReport
    records: list[Record] = []
    choices: list[Choice] = []
    scenes: list[Scene] = []
    speakers: dict[str, Speaker] = {}


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


class Intake:
    """One file's way into what is taken: counts, drops and messages, with the file's own place in the report."""

    def __init__(self, taken: Taken, file: File, format_: str, unit: str, tell: Callable[[int, int], None] = lambda number, line: None) -> None:
        self.taken, self.file, self.tell = taken, file, tell
        """``tell`` gets, now and then, how many records or messages were taken and the line of the last; what it raises ends the reading."""
        self.met = 0
        self.source = len(taken.report.parts)
        self.part = Part(file.shown, format_, unit)
        taken.report.parts.append(self.part)
        taken.report.files.append(file.shown)

    def told(self, kind: str) -> None:
        """Note the format of a record: all that were met, in their order."""
        if kind not in self.part.format.split(", "):
            self.part.format = f"{self.part.format}, {kind}" if self.part.format else kind

    def read(self, count: int = 1) -> None:
        self.part.read += count

    def _meet(self, line: int) -> None:
        self.met += 1
        if self.met % BREATH == 0:
            self.tell(self.met, line)

    def drop(self, reason: str, line: int, what: str = "", count: int = 1) -> None:
        self._meet(line)
        self.taken.report.drop_from(self.part, reason, line, what or reason, count)

    def refuse(self, reason: str, what: str, line: int = 0) -> None:
        """The file as a whole is not read."""
        self.read()
        self.drop(reason, line, what)

    def changed(self, what: str, count: int = 1) -> None:
        self.part.changed[what] += count

    def speaker(self, name: str, id_: str = "", hint: str = "") -> str:
        """The key of a speaker; ids are stronger than names. Empty if there is neither."""
        name, key = plain_name(name)
        key = id_ or key
        if not key:
            return ""
        name = name or id_
        known = self.taken.speakers.get(key)
        if known is None:
            self.taken.speakers[key] = Speaker(key, [name], 0, hint)
        else:
            if name != known.names[-1]:
                known.names = [*[other for other in known.names if other != name][-MOST_NAMES:], name]
            known.hint = known.hint or hint
        return key

    def scene(self, key: str = "", zoned: bool = False, timed: bool = False, placeholders: bool = False) -> list[Said]:
        """A new list of messages to be filled."""
        said: list[Said] = []
        self.taken.scenes.append(Scene(key, said, zoned, timed, placeholders))
        return said

    def record(self, messages: list[Message], line: int, time: str = "", ids: Iterable[str] = ()) -> None:
        self._meet(line)
        self.taken.records.append(Record(messages, self.source, line, time, list(ids)))

    def choice(self, pair: Pair, records: list[int]) -> None:
        self._meet(records[-1] if records else 0)
        self.taken.choices.append(Choice(pair, self.source, records))

    def said(self, speaker: str, text: str, line: int, at: float = -1.0, id_: str = "") -> Said | None:
        """A message ready to be added to a scene, its text made clean; None, counted, if nothing of it is left."""
        cleaned, lost = _CONTROL.subn("", text)
        if lost:
            self.changed("control characters removed", lost)
        cleaned = cleaned.strip()
        if not cleaned:
            self.drop("empty message", line)
            return None
        if not speaker:
            self.drop("no speaker", line, "it is not said who speaks")
            return None
        self._meet(line)
        self.taken.speakers[speaker].count += 1
        return Said(speaker, cleaned, self.source, line, at, id_)


@lru_cache(maxsize=4096)
def plain_name(name: str) -> tuple[str, str]:
    """``(name as it is shown, key)`` of a speaker."""
    shown = " ".join(_CONTROL.sub("", strip_marks(name)).split())
    return shown, normal(shown)


_MARKS = dict.fromkeys((0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF))


def strip_marks(text: str) -> str:
    """``text`` without marks of writing direction, which phones put around names."""
    return text if text.isascii() else text.translate(_MARKS)


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def id_of(value: Any) -> str:
    """An id as text; services write them as numbers or strings."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def moment(value: Any, scale: float = 1.0) -> float:
    """Seconds since 1970 of a number (times ``scale``) or of digits; -1 if it is no time of ours."""
    try:
        seconds = float(value) * scale if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        return -1.0
    return seconds if 0 < seconds < 32_503_680_000 else -1.0


def iso_moment(value: Any) -> tuple[float, bool]:
    """``(seconds, has a zone)`` of ``2025-06-13T22:02:10[+02:00]``; -1 if it is none. Without a zone the time counts as if it were UTC."""
    try:
        found = datetime.fromisoformat(value.strip().replace("Z", "+00:00")) if isinstance(value, str) else None
        if found is None:
            return -1.0, False
        zoned = found.tzinfo is not None
        return max(-1.0, (found if zoned else found.replace(tzinfo=UTC)).timestamp()), zoned
    except (ValueError, OverflowError):
        return -1.0, False


def iso(at: float, zoned: bool) -> str:
    """The time as a row keeps it; empty if it is unknown."""
    if at < 0:
        return ""
    try:
        found = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return found.isoformat(timespec="seconds") if zoned else found.replace(tzinfo=None).isoformat(timespec="seconds")


def numbered(lines: str) -> Iterator[tuple[int, str]]:
    return enumerate(lines.split("\n"), 1)
