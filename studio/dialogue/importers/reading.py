"""From paths to everything that was said: files and members of zips, each read by its format."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from studio.decoding import UndecodableText, Unreadable
from studio.dialogue.importers.base import Asked, ImportReport, Intake, Taken
from studio.dialogue.importers.files import File
from studio.dialogue.importers.registry import NAMES, ROWS, Format, by_name, detect
from studio.errors import StudioError
from studio.folders import plain_files, readable
from studio.progress import Progress, quiet
from studio.text import one_line
from studio.zips import Limits, content, opened

JSON = (".json", ".jsonl", ".ndjson")
SUFFIXES = (*JSON, ".txt", ".md", ".csv", ".tsv", ".log")
LARGEST_FILE = 2**30
"""Bytes of one file, or of one member of a zip, that are read at most."""
LARGEST_TEXT = 2**28
"""Bytes of a file that is no JSON; its text is held in memory as a whole."""
LARGEST_ZIP = 2 * 2**30
"""Bytes of text that are read from one zip; the pictures beside it do not count."""
MOST_MEMBERS = 100_000
MOST_PACKED = 200
"""Times a member may be larger than what it takes in the zip; chats shrink to a tenth, bombs to a thousandth."""
UNSUSPECTED = 10 * 2**20
"""Bytes below which a member may be packed as tightly as it likes: a chat of one word, repeated."""


class Original:
    """A file whose rows may be kept, so that its bytes are kept too."""

    def __init__(self, name: str, path: Path, raw: bytes) -> None:
        self.name, self.path, self.raw = name, path, raw


class _Telling:
    """How far the reading is, in bytes of all files; within a file by its lines, where it is read line by line."""

    def __init__(self, files: list[Path], progress: Progress) -> None:
        self.whole, self.done, self.progress = sum(map(_weight, files)), 0, progress

    def of(self, file: File) -> Callable[[int, int], None]:
        name = one_line(file.base)[:40]
        self.progress(name, self.done, self.whole)
        by_line = file.suffix not in JSON or not (file.is_list or file.document)
        lines = file.raw.count(b"\n") + 1 if by_line else 0

        def tell(number: int, line: int) -> None:
            share = min(1.0, line / lines) if lines else 0.0
            self.progress(f"{name}, {number:,} read", self.done + int(share * len(file.raw)), self.whole)

        return tell


def _weight(path: Path) -> int:
    """Bytes that will be read of it; 0 for what is no dialogue or cannot be opened, which is told later."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return sum(info.file_size for info in archive.infolist() if PurePosixPath(info.filename).suffix.lower() in SUFFIXES)
        return path.stat().st_size if path.suffix.lower() in SUFFIXES else 0
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return 0


def take(paths: list[Path], asked: Asked, roles: dict[str, str], progress: Progress = quiet) -> tuple[Taken, list[Original | None]]:
    """Everything in these files, and the original of each part of the report (None where it was not read)."""
    taken = Taken(ImportReport())
    originals: list[Original | None] = []
    files = plain_files(paths, lambda path, reason, sentence: _refuse(taken, readable(path), reason, sentence))
    originals += [None] * len(taken.report.parts)
    telling = _Telling(files, progress)
    for path in files:
        for file in _files(path, taken):
            _take(file, taken, asked, roles, telling)
            telling.done += len(file.raw)
            while len(originals) < len(taken.report.parts):
                originals.append(None)
            originals[-1] = Original(file.base, path, file.raw)
        while len(originals) < len(taken.report.parts):
            originals.append(None)
    if not any(part.read for part in taken.report.parts):
        for path in paths:
            _refuse(taken, str(path), "nothing to read", "there is no file in it that could be dialogue")
            originals.append(None)
    return taken, originals


def _refuse(taken: Taken, name: str, reason: str, what: str) -> None:
    Intake(taken, File(name, b""), "", "file").refuse(reason, what)


def _files(path: Path, taken: Taken) -> Iterator[File]:
    """The file itself, or the members of a zip; what is no file of dialogue is counted."""
    name = str(path)
    if path.suffix.lower() not in (*SUFFIXES, ".zip"):
        _refuse(taken, name, "not a file of dialogue", f"only {', '.join(SUFFIXES)} and .zip are read as dialogue")
        return
    try:
        if path.suffix.lower() == ".zip":
            yield from _members(path, taken)
            return
        if path.stat().st_size > LARGEST_FILE:
            _refuse(taken, name, "too large", f"it has more than {LARGEST_FILE >> 20} MB; export or cut it into smaller files")
            return
        raw = path.read_bytes()
    except OSError as error:
        raise StudioError(f"{path} cannot be read: {error.strerror}.") from error
    yield File(name, raw)


def _members(path: Path, taken: Taken) -> Iterator[File]:
    """The text members of a zip, read into memory. Tricks are refused with a sentence."""
    limits = Limits(members=MOST_MEMBERS, member=LARGEST_FILE, whole=sys.maxsize, steepest=MOST_PACKED, small=UNSUSPECTED)
    try:
        archive = opened(path, limits)
    except Unreadable as error:
        _refuse(taken, str(path), "not a zip" if error.reason == "damaged archive" else "refused", str(error))
        return
    with archive:
        left = LARGEST_ZIP
        others = 0
        for info in sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename):
            pure = PurePosixPath(info.filename.replace("\\", "/"))
            shown = f"{path}!{info.filename}"
            if pure.suffix.lower() not in SUFFIXES or pure.name.startswith(".") or "__MACOSX" in pure.parts:
                others += 1
                continue
            try:
                raw = content(archive, info, limits._replace(member=min(LARGEST_FILE, left)))
            except Unreadable as error:
                _refuse(taken, shown, "damaged in the zip" if error.reason == "damaged archive" else "refused", str(error))
                continue
            left -= len(raw)
            yield File(str(PurePosixPath(path.name) / pure), raw, shown)
        if others:
            Intake(taken, File(str(path), b""), "", "file").changed("other file of the zip (picture, sound, zip) not read", others)


def _take(file: File, taken: Taken, asked: Asked, roles: dict[str, str], telling: _Telling) -> None:
    try:
        encoding = "utf-8" if file.is_utf8 else file.decoded[1]
    except UndecodableText as error:
        Intake(taken, file, "", "file").refuse("not readable as text", str(error), error.line)
        return
    if file.suffix not in JSON and len(file.raw) > LARGEST_TEXT:
        Intake(taken, file, "", "file").refuse("too large", f"it is a text of more than {LARGEST_TEXT >> 20} MB; cut it into smaller files")
        return
    if not (file.raw if file.is_utf8 else file.text).strip():
        Intake(taken, file, "", "file").refuse("empty file", "the file is empty")
        return
    format_: Format | None = by_name(asked.format) if asked.format else detect(file)
    if format_ is None and file.suffix in JSON:
        if file.json.lstrip()[:1] == b"{" and file.document is None and not file.sample:
            Intake(taken, file, "", "file").refuse("not JSON", f"it is no whole JSON ({file.problem}); it may be half-written: export it again")
            return
        format_ = ROWS
    if format_ is None:
        listed = ", ".join(NAMES)
        Intake(taken, file, "", "file").refuse("unknown format", f"it looks like none of {listed}; say which with --format")
        return
    into = Intake(taken, file, format_.name, format_.unit, telling.of(file))
    if encoding != "utf-8":
        into.changed(f"read as {encoding}, stored as UTF-8")
    format_.read(file, into, asked, roles)
    if not into.part.read:
        into.refuse("nothing to read", f"there is nothing in this file that {format_.name or 'a dialogue'} has")
    if file.repaired:
        into.changed(file.repaired)
