"""``dialogue add``: files read, speakers cast, rows cut, and what is new put into the dialogue and the preference set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from studio.decoding import keep_original
from studio.dialogue.formats import BadRow, Message, mend
from studio.dialogue.importers.base import Asked, Choice, ImportReport, Taken
from studio.dialogue.importers.casting import Cast, cast
from studio.dialogue.importers.cutting import Cut, Cutter, chats
from studio.dialogue.importers.reading import Original, take
from studio.dialogue.importers.registry import NAMES
from studio.dialogue.importers.whatsapp import ORDERS
from studio.dialogue.store import Row, row_id, rows, shards
from studio.errors import StudioError, UsageError
from studio.files import append_line
from studio.persona.folder import Persona
from studio.preference import store as preference
from studio.preference.store import Pair
from studio.progress import Progress, quiet
from studio.shards import SHARD_ROWS, append_rows

CHOICES = ("first", "last", "longest")
PREVIEWED = 5
"""Rows a dry run shows."""

T = TypeVar("T")


def add(persona: Persona, paths: list[Path], asked: Asked | None = None, dry_run: bool = False, progress: Progress = quiet) -> ImportReport:
    """Add what these files and folders hold; what is here already is dropped as a duplicate. A dry run writes nothing.

    What ``progress`` raises ends it with nothing written; once the writing has begun, it is only told.

    WhoIsWho, AmbiguousDates or AmbiguousFormat where the files leave open what ``asked`` does not say; nothing is added then.
    """
    asked = asked or Asked()
    _check(asked)
    roles = dict.fromkeys(asked.me, "user") | dict.fromkeys(asked.character, "assistant")
    taken, originals = take(paths, asked, roles, progress)
    character = persona.manifest.character
    said = [part.file for part in taken.report.parts if part.unit == "message"]
    where = said[0] if len(said) == 1 else f"{len(said):,} files"
    adding = _Adding(persona, taken, cast(taken.speakers, asked, character.name, character.user, where) if _speaks(taken) else None, progress)
    with persona.exclusive():
        adding.compare()
        adding.take_records()
        adding.take_chats(asked)
        for choice in taken.choices:
            adding.take_choice(choice)
        adding.settle()
        report = taken.report
        report.total()
        report.dry_run = dry_run
        if dry_run:
            report.preview = adding.new[:PREVIEWED]
        else:
            _write(persona, adding, originals)
    return report


def _check(asked: Asked) -> None:
    for flag, value, allowed in (("--format", asked.format, NAMES), ("--dates", asked.dates, ORDERS), ("--choices", asked.choices, CHOICES)):
        if value and value not in allowed:
            raise UsageError(f"{flag} {value} is not known; there are: {', '.join(allowed)}.")
    for flag, number in (("--silence", asked.silence), ("--burst", asked.burst), ("--exchanges", asked.exchanges)):
        if not 0 <= number < 1e6:
            raise UsageError(f"{flag} {number:g} makes no sense; give a number from 0 on.")


def _speaks(taken: Taken) -> bool:
    return any(scene.said for scene in taken.scenes)


class _Adding:
    """What is new, gathered."""

    def __init__(self, persona: Persona, taken: Taken, roles: Cast | None, progress: Progress) -> None:
        self.persona, self.taken, self.cast, self.progress = persona, taken, roles, progress
        self.report = taken.report
        self.new: list[Row] = []
        self.pairs: list[Pair] = []
        self.used: dict[int, set[int]] = {}
        """Records of preference rows by file: those in a pair, and those in none that is new."""
        self.again: dict[int, set[int]] = {}

    def compare(self) -> None:
        here = SHARD_ROWS * len(shards(self.persona))
        self.present = {row.id for row in self._told(rows(self.persona), "rows that are here already", here)}
        self.known_pairs = {pair.id for pair in preference.rows(self.persona)} if self._may_pair() else set()

    def _told(self, things: Iterable[T], what: str, whole: int) -> Iterator[T]:
        """The same things, with a word on the progress now and then."""
        for done, thing in enumerate(things):
            if done % 500 == 0:
                self.progress(what, done, whole)
            yield thing

    def _may_pair(self) -> bool:
        return bool(self.taken.choices) or any(said.passed_over for scene in self.taken.scenes for said in scene.said)

    def _keep(self, messages: list[Message], source: int, line: int, time: str, ids: list[str]) -> bool:
        identity = row_id(messages)
        if identity in self.present:
            return False
        self.present.add(identity)
        part = self.report.parts[source]
        part.kept += 1
        self.new.append(Row(identity, messages, Path(part.file.rpartition("!")[2]).name, line, time=time, message_ids=ids))
        return True

    def take_records(self) -> None:
        for record in self._told(self.taken.records, "rows compared", len(self.taken.records)):
            part = self.report.parts[record.source]
            try:
                messages = mend(record.messages, part.changed)
            except BadRow as bad:
                self.report.drop_from(part, bad.reason, record.line, str(bad))
                continue
            if not self._keep(messages, record.source, record.line, record.time, record.ids):
                self.report.drop_from(part, "duplicate", record.line, f"the same conversation is here already ({row_id(messages)})")
                continue
            part.used += 1
            for message in messages:
                self.report.speakers[message.name or message.role] += 1

    def take_chats(self, asked: Asked) -> None:
        speakers = self.taken.speakers
        for speaker in speakers.values():
            if speaker.count:
                self.report.speakers[speaker.name] += speaker.count
        if self.cast is None:
            return
        self.report.cast, self.report.cast_by = self.cast.shown, self.cast.by
        character = self.persona.manifest.character
        names = {key: speaker.name for key, speaker in speakers.items()}
        cutter = Cutter(self.report, self.cast, asked, names, character.name, character.user)
        whole = sum(len(scene.said) for scene in self.taken.scenes)
        cut = 0
        for chat in chats(self.taken.scenes, self.report):
            for number, found in enumerate(cutter.cut(chat)):
                if number % 100 == 0:
                    self.progress("messages cut into rows", cut, whole)
                cut += len(found.said) if isinstance(found, Cut) else 0
                if isinstance(found, Cut):
                    self._take_cut(found)
                else:
                    for pair in found.pairs:
                        self.take_choice(Choice(pair, found.source, []))

    def _take_cut(self, cut: Cut) -> None:
        first = cut.said[0]
        ids = [message.id for message in cut.said if message.id]
        if self._keep(cut.messages, first.source, first.line, cut.time, ids):
            for source, count in Counter(message.source for message in cut.said).items():
                self.report.parts[source].used += count
            return
        for message in cut.said:
            part = self.report.parts[message.source]
            self.report.drop_from(part, "duplicate", message.line, f"the same conversation is here already ({row_id(cut.messages)})")

    def take_choice(self, choice: Choice) -> None:
        part = self.report.parts[choice.source]
        pair = choice.pair
        fresh = pair.id not in self.known_pairs
        if fresh:
            self.known_pairs.add(pair.id)
            pair.source = Path(part.file.rpartition("!")[2]).name
            part.pairs += 1
            self.pairs.append(pair)
        elif not choice.records:
            part.changed["pair of swipes that is here already"] += 1
        (self.used if fresh else self.again).setdefault(choice.source, set()).update(choice.records)

    def settle(self) -> None:
        """Count the records of preference rows: one that is in a new pair is used, whatever its other pairs are."""
        for source, lines in self.used.items():
            self.report.parts[source].used += len(lines)
        for source, lines in self.again.items():
            for line in sorted(lines - self.used.get(source, set())):
                self.report.drop_from(self.report.parts[source], "duplicate", line, "the same pair is here already")


def _write(persona: Persona, adding: _Adding, originals: list[Original | None]) -> None:
    for part, original in zip(adding.report.parts, originals, strict=True):
        if original is None or not (part.used or part.pairs):
            continue
        kept = keep_original(persona.sources, Path(original.name), original.raw)
        entry = {"kind": "dialogue", "original": kept, "from": str(original.path), "rows": part.kept}
        append_line(persona.sources / "index.jsonl", entry | ({"pairs": part.pairs} if part.pairs else {}))

    def tell(done: int) -> None:
        # Half of it must not stay behind: who wants to stop now is not heard.
        with suppress(StudioError):
            adding.progress("rows being written", done, len(adding.new))

    append_rows(persona.dialogue, adding.new, tell)
    preference.append(persona, adding.pairs)
