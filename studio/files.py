"""Files that survive a kill, a power cut and a full disk.

Whole files are written beside their place, fsynced and renamed in. Growing files are JSON lines: one object, one
``write``, one fsync. A torn last line (a short write on a full disk) is skipped by readers and closed off by the next writer.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError


def _disk_sentence(error: OSError, path: Path) -> StudioError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StudioError(f"The disk is full: {path} was not written and what stood there before is unchanged; free some space and try again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StudioError(f"{path} cannot be written ({error.strerror}); check the folder's permissions.")
    return StudioError(f"{path} could not be written: {error.strerror}.")


def fsync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable (a rename without it can be lost in a power cut)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: str | bytes, mode: int = 0o600) -> None:
    """Replace ``path`` as a whole: readers see the old or the new content, never a part.

    Raises StudioError when the disk is full or the folder is not writable; the old file then stands.
    """
    raw = data.encode() if isinstance(data, str) else data
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        fsync_folder(path.parent)
    except OSError as error:
        raise _disk_sentence(error, path) from error
    finally:
        if temporary is not None:
            try:
                os.unlink(temporary)
            except OSError:
                pass


def write_json(path: Path, value: Any) -> None:
    """``value`` (plain data or a msgspec struct) as indented JSON, atomically."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def append_line(path: Path, value: Any, durable: bool = True) -> None:
    """Add one JSON line to an append-only file, under the file's own lock.

    The line is on disk when this returns (``durable``), or nothing of it counts: a part left by a full disk is cut off again.
    """
    line = msgspec.json.encode(value) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _disk_sentence(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        end = os.fstat(descriptor).st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            line = b"\n" + line
        try:
            written = os.write(descriptor, line)
            if written != len(line):
                os.ftruncate(descriptor, end)
                raise OSError(errno.ENOSPC, "No space left on device")
            if durable:
                os.fsync(descriptor)
        except OSError as error:
            raise _disk_sentence(error, path) from error
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """``(line number, value)`` of a JSONL file of our own; lines that are not JSON (torn ones) are skipped.

    Splits on ``\\n`` alone: ``str.splitlines`` would break rows on U+2028.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created if missing). Without ``wait``, BlockingIOError if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


BUILDING = ".studio-building-"
"""How the names of folders begin that are being built."""


@contextmanager
def build_folder(destination: Path) -> Iterator[Path]:
    """Build a folder beside its place and rename it in when the block ends well: complete or absent, never half.

    Yields the temporary folder, locked for as long as it is built: what a killed process left behind is told by its free lock, and removed.
    Raises StudioError if ``destination`` exists already.
    """
    if destination.exists():
        raise StudioError(f"{destination} exists already; it was left as it is.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(destination.parent)
    building, held = _begin(destination)
    try:
        yield building
        for path in building.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        building.chmod(0o700)
        os.rename(building, destination)
        fsync_folder(destination.parent)
    except OSError as error:
        raise _disk_sentence(error, destination) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        os.close(held)


def _begin(destination: Path) -> tuple[Path, int]:
    """A folder to build in and the descriptor that holds its lock."""
    while True:
        building = Path(tempfile.mkdtemp(prefix=f"{BUILDING}{destination.name}-", dir=destination.parent))
        try:
            held = os.open(building, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # taken for abandoned in the moment before it was locked
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:  # a file system without locks on folders: nobody will take it for abandoned there
            return building, held
        if building.exists():
            return building, held
        os.close(held)


def _remove_abandoned(parent: Path) -> None:
    for left in parent.glob(f"{BUILDING}*"):
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def folder_size(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
