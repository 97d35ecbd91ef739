"""What was named, file by file: single files, folders, zip files. Nothing is followed out of a folder or an archive."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from studio.errors import StudioError
from studio.folders import below, readable
from studio.lore.readers import LARGEST, Unreadable
from studio.zips import content, opened, problem

MOST_FILES = 100_000


class Found(NamedTuple):
    """One file to read."""

    shown: str
    """As people know it: ``book.zip/chapters/1.txt``."""
    name: str
    folders: tuple[str, ...]
    """The folders it lies in, below what was named."""
    path: Path
    """The file, or the archive it is in."""
    member: str = ""
    """Its name in the archive."""
    size: int = 0


class Refused(NamedTuple):
    shown: str
    reason: str
    sentence: str


class Gathering:
    """A context that names files and reads them; archives stay open meanwhile."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._archives: dict[Path, zipfile.ZipFile] = {}

    def __enter__(self) -> Gathering:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def files(self, paths: list[Path]) -> tuple[list[Found], list[Refused]]:
        """Everything below ``paths``. Hidden files below folders are left out; StudioError if a path does not exist."""
        found: list[Found] = []
        refused: list[Refused] = []
        for path in (path.expanduser() for path in paths):
            if path.is_dir():
                for file in below(path, lambda place, reason, sentence: refused.append(Refused(readable(place), reason, sentence))):
                    folders = file.parent.relative_to(path).parts
                    self._take(file, (path.name, *folders) if path.name else folders, found, refused)
            elif path.exists():
                self._take(path, (), found, refused)
            else:
                raise StudioError(f"{path} does not exist; nothing was added.")
            if len(found) > MOST_FILES:
                raise StudioError(f"{path} holds more than {MOST_FILES:,} files; add it in parts. Nothing was added.")
        return found, refused

    def _take(self, path: Path, folders: tuple[str, ...], found: list[Found], refused: list[Refused]) -> None:
        shown = readable(path)
        if not path.is_file():
            refused.append(Refused(shown, "no file", "it is no plain file"))
        elif path.suffix.lower() == ".zip":
            self._take_archive(path, found, refused)
        else:
            found.append(Found(shown, path.name, folders, path, "", path.stat().st_size))

    def _take_archive(self, path: Path, found: list[Found], refused: list[Refused]) -> None:
        try:
            archive = self._open.enter_context(opened(path))
        except Unreadable as error:
            refused.append(Refused(readable(path), error.reason, str(error)))
            return
        self._archives[path] = archive
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            place = PurePosixPath(member.filename.replace("\\", "/"))
            if member.is_dir() or "__MACOSX" in place.parts or (place.name.startswith(".") and place.name not in (".", "..")):
                continue
            shown = f"{readable(path)}/{member.filename}".encode("utf-8", "replace").decode()
            if wrong := problem(member):
                refused.append(Refused(shown, *wrong))
            elif place.suffix.lower() == ".zip":
                refused.append(Refused(shown, "an archive in an archive", "archives in archives are not opened; unpack it and add the folder"))
            else:
                found.append(Found(shown, place.name, (path.stem, *place.parts[:-1]), path, member.filename, member.file_size))

    def read(self, file: Found) -> bytes:
        """The bytes of a file; Unreadable when they cannot be had."""
        if file.member:
            archive = self._archives[file.path]
            return content(archive, archive.getinfo(file.member))
        if file.size > LARGEST:
            raise Unreadable("too large", f"the file has {file.size >> 20} MB, more than the {LARGEST >> 20} MB that are read; split it")
        try:
            return file.path.read_bytes()
        except OSError as error:
            raise Unreadable("cannot be opened", f"it cannot be read ({error.strerror}); check its permissions") from error
