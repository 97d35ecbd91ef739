"""Where each row stands and what is known of it, in a database that may be deleted at any time: conversations, and (``preference``) pairs.

The shards are the truth; ``.studio/dialogue.sqlite`` only points into them. It is compared with them whenever it is asked to be
(name, size, time and inode of each shard), what changed is read again, and a database that is damaged or gone is made anew. The texts
for searching lie beside it in one file, in the form in which texts count as the same, and are written when somebody first searches.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from studio.dialogue.filtering import STATES, Filter, conditions, without_tags
from studio.dialogue.flags import flagged, text_of
from studio.dialogue.formats import Message
from studio.dialogue.layout import PLACES, Layout
from studio.dialogue.store import SYNTHETIC, Row
from studio.dialogue.texts import AT_A_TIME, Texts
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.shards import identity_of, lines_of, read_at

LAYOUT = 1
"""Version of the tables; a database of another one is made anew."""

T = TypeVar("T")


class Indexed(Protocol):
    """What the index asks of a row, whatever it is."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def messages(self) -> list[Message]: ...
    @property
    def replies(self) -> list[str]: ...
    @property
    def tags(self) -> list[str]: ...
    @property
    def time(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def made(self) -> str: ...
    @property
    def edited(self) -> bool: ...


R = TypeVar("R", bound=Indexed)

_TABLES = """
CREATE TABLE shard (number INTEGER PRIMARY KEY, name TEXT, size INTEGER, changed INTEGER, inode INTEGER, rows INTEGER,
                    spoken INTEGER DEFAULT 0, text_at INTEGER, text_size INTEGER);
CREATE TABLE source (number INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE row (key INTEGER PRIMARY KEY, id TEXT, source INTEGER, line INTEGER, length INTEGER, turns INTEGER, state INTEGER, made INTEGER,
                  edited INTEGER, time TEXT, language TEXT);
CREATE TABLE tag (name TEXT, key INTEGER, PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE TABLE known (name TEXT PRIMARY KEY, value TEXT);
"""
_INDEXES = "CREATE INDEX row_id ON row (id); CREATE INDEX tag_key ON tag (key);"


class _Stat(NamedTuple):
    """A shard as it lies on disk."""

    name: str
    size: int
    changed: int
    inode: int


class Counts(NamedTuple):
    """What the set is made of, for a menu of filters."""

    states: dict[str, int]
    """Rows by ``open``, ``accepted``, ``rejected``, and ``edited`` and ``synthetic``, which stand across these."""
    sources: list[tuple[str, int]]
    tags: list[tuple[str, int]]
    languages: list[tuple[str, int]]
    """Empty until somebody asked for a language."""


class RowIndex(Generic[R]):
    """The index of one kind of a persona's rows. Its methods may be called from any thread; one at a time works on the database.

    What a ``progress`` raises ends the work; what was done until then is kept.
    """

    kind: ClassVar[str]
    """``dialogue`` or ``preference``: the folder of the shards, the database's name, whose flags are meant."""
    row_type: type[R]

    def __init__(self, persona: Persona) -> None:
        self.persona = persona
        self.folder = persona.root / self.kind
        self.path = persona.private / f"{self.kind}.sqlite"
        self._texts = Texts(self.path)
        self.layout = Layout((), (), (), 0)
        self.version = 0
        """Grows whenever something that changed was read in."""
        self._counted: tuple[int, Counts] | None = None
        """The version they are of, and the counts."""
        self._lock = threading.RLock()
        self._base: sqlite3.Connection | None = None
        self._inode = 0
        self._others = -1
        """SQLite's count of what other connections wrote, when the layout was read."""

    def __len__(self) -> int:
        return self.layout.size

    def close(self) -> None:
        with self._lock:
            if self._base is not None:
                self._base.close()
                self._base = None

    # What is asked of it

    def refresh(self, progress: Progress = quiet, only: Iterable[str] = ()) -> bool:
        """Compare with the shards (``only`` the ones of these names, where one knows which changed) and read what changed. Whether anything had."""
        return self._guarded(lambda: self._refresh(progress, only))

    def find(self, asked: Filter, progress: Progress = quiet) -> array[int] | None:
        """Keys of the rows that are meant, in their order; None if all are. Texts and languages are written first where they are missing."""
        if not asked.terms:
            return None

        def look() -> array[int]:
            if asked.texts:
                self.write_texts(progress)
            if asked.of("lang"):
                self.write_languages(progress)
            return self._find(asked, progress)

        return self._guarded(look)

    def keys_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The key of each row that is here, by its id."""

        def look() -> dict[str, int]:
            base, wanted = self._open(), list(ids)
            found: dict[str, int] = {}
            for first in range(0, len(wanted), 500):
                some = wanted[first : first + 500]
                found.update(base.execute(f"SELECT id, key FROM row WHERE id IN ({','.join('?' * len(some))})", some).fetchall())
            return found

        return self._guarded(look)

    def ids_at(self, keys: Sequence[int]) -> list[str]:
        """The ids of the rows with these keys, in that order; of damaged rows none."""

        def look() -> list[str]:
            base, found = self._open(), list[str]()
            for first in range(0, len(keys), 500):
                some = list(keys[first : first + 500])
                named = dict(base.execute(f"SELECT key, id FROM row WHERE key IN ({','.join('?' * len(some))})", some).fetchall())
                found += [named[key] for key in some if named.get(key)]
            return found

        return self._guarded(look)

    def beginning(self, identity: str, most: int = 3) -> list[tuple[str, int]]:
        """``(id, key)`` of rows whose id begins so."""
        sql = "SELECT id, key FROM row WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        return self._guarded(lambda: self._open().execute(sql, (identity, identity + "\uffff", most)).fetchall())

    def ids(self) -> set[str]:
        """The ids of all rows."""
        return self._guarded(lambda: {identity for (identity,) in self._open().execute("SELECT id FROM row")})

    def counts(self) -> Counts:
        """Counted once for each version."""

        def look() -> Counts:
            base = self._open()
            if self._counted is None or self._counted[0] != self.version:
                self._counted = self.version, _counts(base)
            return self._counted[1]

        return self._guarded(look)

    def timed(self) -> int:
        """Rows that know when they were said."""
        found: int = self._guarded(lambda: self._open().execute("SELECT count(*) FROM row WHERE time <> ''").fetchone()[0])
        return found

    def flagged_by(self, checks: Iterable[str]) -> dict[str, tuple[list[int], int]]:
        """For each check the keys of the rows it flagged that still say the same, in order, and how many of these are rejected."""

        def look() -> dict[str, tuple[list[int], int]]:
            base = self._open()
            rejected = {key for (key,) in base.execute("SELECT key FROM row WHERE state = ?", (STATES.index("rejected"),))}
            found = {name: self._flagged(base, [name]) for name in checks}
            return {name: (sorted(keys), len(keys & rejected)) for name, keys in found.items()}

        return self._guarded(look)

    def read(self, keys: Sequence[int]) -> list[R | StudioError]:
        """The rows with these keys; for one that cannot be read, why."""
        layout = self.layout
        return read_at(self.folder, self.row_type, [layout.place(key) for key in keys])

    # The database

    def _open(self) -> sqlite3.Connection:
        """The connection; the database is made anew if it is gone, of another layout, or no database."""
        try:
            there = os.stat(self.path).st_ino
        except OSError:
            there = 0
        if self._base is not None and (there == self._inode or not self._inode):
            return self._base
        if self._base is not None:
            self._base.close()
            self._base = None
        if there:
            base = _connect(self.path)
            try:
                if base.execute("PRAGMA user_version").fetchone()[0] == LAYOUT:
                    base.execute("PRAGMA journal_mode=WAL")
                    base.execute("PRAGMA synchronous=NORMAL")
                    self._base, self._inode = base, there
                    return base
            except sqlite3.DatabaseError:
                pass
            base.close()
        self._make(quiet)
        assert self._base is not None
        return self._base

    def _make(self, progress: Progress) -> None:
        """A new database of all shards, built beside its place and renamed in. In memory where the folder cannot be written."""
        building = self.path.with_name(f".{self.path.name}.{os.getpid()}.{threading.get_ident()}")
        found = self._stats()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            building.unlink(missing_ok=True)
            base = _connect(building)
            base.execute("PRAGMA user_version")
            base.execute("PRAGMA journal_mode=OFF")
        except (OSError, sqlite3.OperationalError):
            base, building = _connect(Path(":memory:")), Path()
        try:
            base.execute("PRAGMA synchronous=OFF")
            base.execute("BEGIN")
            for statement in _TABLES.split(";"):
                base.execute(statement)
            self._write(base, found, progress)
            for statement in _INDEXES.split(";"):
                base.execute(statement)
            base.execute(f"PRAGMA user_version={LAYOUT}")
            base.execute("COMMIT")
            if building == Path():
                self._base, self._inode = base, 0
            else:
                base.close()
                os.chmod(building, 0o600)
                with building.open("rb") as file:
                    os.fsync(file.fileno())
                for ending in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
                os.replace(building, self.path)
                base = _connect(self.path)
                base.execute("PRAGMA journal_mode=WAL")
                base.execute("PRAGMA synchronous=NORMAL")
                self._base, self._inode = base, os.stat(self.path).st_ino
        except BaseException:
            base.close()
            raise
        finally:
            if building != Path():
                building.unlink(missing_ok=True)
        self._look(self._base)

    def _guarded(self, work: Callable[[], T]) -> T:
        """``work`` with the database to itself; a damaged one is thrown away and made anew, once."""
        with self._lock:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if "locked" in str(error) or "busy" in str(error):
                    raise StudioError(f"Another studio is reading the {self.kind} of this persona in; try again in a moment.") from error
                if "full" in str(error) or "I/O" in str(error):
                    raise StudioError(f"The index {self.path} could not be written ({error}); the {self.kind} itself is unharmed.") from error
                self._discard()
            except sqlite3.DatabaseError:
                self._discard()
            return work()

    def _discard(self) -> None:
        self.close()
        for ending in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def _stats(self) -> dict[int, _Stat]:
        found: dict[int, _Stat] = {}
        try:
            entries = [entry for entry in os.scandir(self.folder) if entry.name.endswith(".jsonl") and entry.name[:-6].isdecimal()]
        except FileNotFoundError:
            return {}
        for entry in entries:
            number = int(entry.name[:-6])
            if number in found:
                raise StudioError(f"{found[number].name} and {entry.name} in {self.folder} have the same number; rename one of them.")
            try:
                found[number] = _stat(entry.name, entry.stat())
            except FileNotFoundError:
                continue
        return found

    def _refresh(self, progress: Progress, only: Iterable[str] = ()) -> bool:
        if self._base is None and not self.path.exists():
            self._make(progress)
            return True
        base = self._open()
        if names := list(only):
            numbers = [int(name[:-6]) for name in names]
            found = {
                number: _stat(name, os.stat(self.folder / name)) for number, name in zip(numbers, names, strict=True) if (self.folder / name).exists()
            }
            where = f"WHERE number IN ({','.join(map(str, numbers))})"
        else:
            found, where = self._stats(), ""
        known = {number: _Stat(*rest) for number, *rest in base.execute(f"SELECT number, name, size, changed, inode FROM shard {where}")}
        stale = {number: stat for number, stat in found.items() if known.get(number) != stat}
        gone = known.keys() - found.keys()
        if not where and len(stale) > 50 and 2 * len(stale) > len(found):
            self._make(progress)
            return True
        if stale or gone:
            base.execute("BEGIN IMMEDIATE")
            try:
                for number in (*gone, *stale):
                    _forget(base, number)
                self._write(base, stale, progress)
                base.execute("COMMIT")
            except BaseException:
                base.execute("ROLLBACK")
                raise
        # Another studio on this folder may have read in what changed.
        others = base.execute("PRAGMA data_version").fetchone()[0]
        if stale or gone or not self.version or others != self._others:
            self._others = others
            self._look(base)
            return True
        return False

    def _look(self, base: sqlite3.Connection | None) -> None:
        """The layout as the database has it."""
        assert base is not None
        numbers, names, starts, size = array("Q"), [], array("Q"), 0
        for number, name, rows in base.execute("SELECT number, name, rows FROM shard ORDER BY number"):
            if rows:
                numbers.append(number)
                names.append(name)
                starts.append(size)
                size += rows
        self.layout = Layout(numbers, names, starts, size)
        self.version += 1

    def _write(self, base: sqlite3.Connection, found: dict[int, _Stat], progress: Progress) -> None:
        """Read these shards in."""
        sources: dict[str, int] = {name: number for number, name in base.execute("SELECT number, name FROM source")}
        decoder = msgspec.json.Decoder(self.row_type)
        for done, (number, stat) in enumerate(found.items()):
            if done % AT_A_TIME == 0 and len(found) > AT_A_TIME:
                progress("rows read", done, len(found))
            try:
                lines = lines_of((self.folder / stat.name).read_bytes())
            except FileNotFoundError:
                lines = []
            rows: list[tuple[Any, ...]] = []
            tags: list[tuple[str, int]] = []
            for key, line in enumerate(lines, number * PLACES):
                try:
                    row = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    rows.append((key, identity_of(line), None, 0, 0, 0, 0, 0, 0, ""))
                    continue
                if (source := sources.get(row.source)) is None:
                    source = sources[row.source] = len(sources) + 1
                    base.execute("INSERT INTO source VALUES (?, ?)", (source, row.source))
                length = turns = 0
                for message in row.messages:
                    length += len(message.content)
                    turns += message.role == "assistant"
                state = STATES.index(row.state) if row.state in STATES else 0
                rows.append((key, row.id, source, row.line, length, turns, state, row.made == SYNTHETIC, row.edited, row.time))
                if row.tags:
                    tags += [(tag, key) for tag in row.tags]
            base.executemany("INSERT INTO row VALUES (?,?,?,?,?,?,?,?,?,?,NULL)", rows)
            base.executemany("INSERT OR IGNORE INTO tag VALUES (?,?)", tags)
            base.execute("INSERT INTO shard (number, name, size, changed, inode, rows) VALUES (?,?,?,?,?,?)", (number, *stat, len(rows)))

    # Finding

    def _find(self, asked: Filter, progress: Progress) -> array[int]:
        base = self._open()
        where, values = conditions(asked)
        found: array[int] | None = None
        if where:
            found = array("Q", map(itemgetter(0), base.execute(f"SELECT key FROM row WHERE {where} ORDER BY key", values)))
        for term in asked.of("flag"):
            found = _kept(self._all(found), self._flagged(base, term.choices), term.negated)
        held, absent = ([term.value for term in asked.texts if term.negated is no and term.value.strip()] for no in (False, True))
        if held:
            hits = self._texts.containing(base, held, absent, progress, None if found is None else {key // PLACES for key in found})
            found = hits if found is None else _kept(found, set(hits), False)
        else:
            for text in absent:
                found = _kept(self._all(found), set(self._texts.containing(base, [text], [], progress)), True)
        for term in without_tags(asked):
            tagged = base.execute(f"SELECT key FROM tag WHERE name IN ({','.join('?' * len(term.choices))})", term.choices)
            found = _kept(self._all(found), set(map(itemgetter(0), tagged)), True)
        return self._all(found)

    def _all(self, found: array[int] | None) -> array[int]:
        if found is not None:
            return found
        layout = self.layout
        ends = [*layout.starts[1:], layout.size]
        every = array("Q")
        for number, start, end in zip(layout.numbers, layout.starts, ends, strict=True):
            every.extend(range(number * PLACES, number * PLACES + end - start))
        return every

    def _flagged(self, base: sqlite3.Connection, checks: Sequence[str]) -> set[int]:
        """Keys of the rows that one of these checks found something in (``any``: whichever), unless its words were edited since."""
        said: dict[str, set[str]] = {}
        for row in flagged(self.persona, () if "any" in checks else checks, self.kind):
            said.setdefault(row.id, set()).add(row.text)
        keys = self.keys_of(said)
        texts = {key: said[identity] for identity, key in keys.items()}
        edited = [key for (key,) in base.execute("SELECT key FROM row WHERE edited = 1") if key in texts]
        changed = {key for key, row in zip(edited, self.read(edited), strict=True) if isinstance(row, StudioError) or text_of(row) not in texts[key]}
        return texts.keys() - changed

    # Texts and languages, written when first asked for

    def write_texts(self, progress: Progress = quiet) -> None:
        """Write the texts of the shards that have none yet for searching."""
        self._guarded(lambda: self._texts.write(self._open(), self._said, progress))

    def _said(self, name: str) -> Iterator[tuple[int, list[str]]]:
        """Of each row of a shard that can be read its place in it and its texts."""
        return ((place, [message.content for message in row.messages]) for place, row in self._rows(0, name))

    def write_languages(self, progress: Progress = quiet) -> None:
        """Tell the language of the rows of which nobody knows it yet."""
        from studio.lore.languages import spoken

        def write() -> None:
            base = self._open()
            waiting = base.execute("SELECT number, name FROM shard WHERE NOT spoken ORDER BY number").fetchall()
            for first in range(0, len(waiting), AT_A_TIME):
                if len(waiting) > AT_A_TIME:
                    progress("languages told", first, len(waiting))
                told = []
                for number, name in waiting[first : first + AT_A_TIME]:
                    for key, row in self._rows(number, name):
                        told.append((spoken(" ".join(row.replies)[:400]), key))
                base.execute("BEGIN IMMEDIATE")
                base.executemany("UPDATE row SET language = ? WHERE key = ?", told)
                base.executemany("UPDATE shard SET spoken = 1 WHERE number = ?", [(number,) for number, _ in waiting[first : first + AT_A_TIME]])
                base.execute("COMMIT")
                self._counted = None

        self._guarded(write)

    def _rows(self, number: int, name: str) -> Iterator[tuple[int, R]]:
        """The rows of a shard that can be read, with their keys."""
        decoder = msgspec.json.Decoder(self.row_type)
        try:
            lines = lines_of((self.folder / name).read_bytes())
        except FileNotFoundError:
            return
        for place, line in enumerate(lines):
            try:
                yield number * PLACES + place, decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


class Index(RowIndex[Row]):
    """Of the dialogue."""

    kind = "dialogue"
    row_type = Row


def _stat(name: str, stat: os.stat_result) -> _Stat:
    return _Stat(name, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)


def _forget(base: sqlite3.Connection, number: int) -> None:
    between = (number * PLACES, (number + 1) * PLACES - 1)
    base.execute("DELETE FROM tag WHERE key BETWEEN ? AND ?", between)
    base.execute("DELETE FROM row WHERE key BETWEEN ? AND ?", between)
    base.execute("DELETE FROM shard WHERE number = ?", (number,))


def _counts(base: sqlite3.Connection) -> Counts:
    states = dict.fromkeys(("open", "accepted", "rejected", "edited", "synthetic"), 0)
    sources: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    names = dict(base.execute("SELECT number, name FROM source"))
    alike = "SELECT source, state, edited, made, language, count(*) FROM row GROUP BY 1, 2, 3, 4, 5"
    for source, state, edited, made, language, number in base.execute(alike):
        states[STATES[state] or "open"] += number
        states["edited"] += number * edited
        states["synthetic"] += number * made
        if source is not None:
            sources[names[source]] += number
        if language is not None:
            languages[language] += number
    tags = base.execute("SELECT name, count(*) FROM tag GROUP BY name ORDER BY 2 DESC, 1").fetchall()
    return Counts(states, _most_first(sources), tags, _most_first(languages))


def _most_first(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def _kept(keys: array[int], meant: set[int], negated: bool) -> array[int]:
    return array("Q", [key for key in keys if (key in meant) != negated])
