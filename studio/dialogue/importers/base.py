"""What every importer works with: what it takes in, and an account of what became of each record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from studio import garbled
from studio.dialogue.formats import Message
from studio.dialogue.importers.files import File
from studio.dialogue.importers.values import CONTROL, plain_name
from studio.preference.store import Pair
from studio.reports import AddReport, Fault

MOST_FAULTS = 1000
"""Places remembered for one reason of one file; the count goes on."""

BREATH = 256
"""Records or messages between two words on the progress."""
MOST_NAMES = 50
"""Names of one id that are remembered."""

ME = "me"
HER = "character"


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
        for message in messages:
            message.content = self._whole(message.content)
        self.taken.records.append(Record(messages, self.source, line, time, list(ids)))

    def choice(self, pair: Pair, records: list[int]) -> None:
        self._meet(records[-1] if records else 0)
        self.taken.choices.append(Choice(pair, self.source, records))

    def _whole(self, text: str) -> str:
        """The text with garbled characters repaired where that can be proved; counted."""
        fixed = garbled.repaired(text)
        if fixed != text:
            self.changed(garbled.SAID)
        return fixed

    def said(self, speaker: str, text: str, line: int, at: float = -1.0, id_: str = "") -> Said | None:
        """A message ready to be added to a scene, its text made clean; None, counted, if nothing of it is left."""
        cleaned, lost = CONTROL.subn("", self._whole(text))
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
