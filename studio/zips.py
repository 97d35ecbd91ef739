"""Zip files, opened without trust: sizes, names and kinds of members are looked at before anything is unpacked, and nothing is unpacked to disk."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from studio.decoding import Unreadable


class Limits(NamedTuple):
    """What an honest archive of one kind stays below."""

    members: int = 20_000
    member: int = 256 * 2**20
    """Bytes of one member, by what the archive says and again by what really comes out."""
    whole: int = 2 * 2**30
    """Bytes that all members say they have."""
    steepest: int = 400
    """Times a member may be larger than it is packed; text packs 3 to 20 times, bombs a thousand."""
    small: int = 2**20
    """Bytes below which it may be packed as tightly as it likes."""


LIMITS = Limits()


def opened(source: bytes | Path, limits: Limits = LIMITS) -> zipfile.ZipFile:
    """The archive, its list looked through. Unreadable when it is damaged or no honest one."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise Unreadable("damaged archive", f"the zip file is damaged or half-downloaded ({one_sentence(error)}); make or fetch it again") from error
    members = archive.infolist()
    if len(members) > limits.members:
        raise Unreadable("too large", f"the zip file has {len(members):,} members, more than the {limits.members:,} that are read; split it")
    if sum(member.file_size for member in members) > limits.whole:
        raise Unreadable("decompression bomb", f"the zip file would unpack to more than {limits.whole >> 30} GB; split it if it is honest")
    return archive


def problem(member: zipfile.ZipInfo, limits: Limits = LIMITS) -> tuple[str, str] | None:
    """``(reason, sentence)`` why a member is not read, or None."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in member.filename or (path.parts and ":" in path.parts[0]):
        return "path leads out of the archive", "its name leads out of the archive; a zip file made for no good does that"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link", "it is a link, which is not followed; put the file itself into the archive"
    if member.flag_bits & 1:
        return "encrypted", "it is encrypted; unpack the archive with its password and add the folder"
    if member.file_size > limits.member:
        return "too large", f"it has {member.file_size >> 20:,} MB, more than the {limits.member >> 20:,} MB that are read from an archive"
    if member.file_size > limits.small and member.file_size > limits.steepest * max(1, member.compress_size):
        return "decompression bomb", f"it would unpack to {member.file_size // max(1, member.compress_size):,} times its size, as only bombs do"
    return None


def content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: Limits = LIMITS) -> bytes:
    """The bytes of a member, never more than it said it has. Unreadable when it is damaged."""
    if refused := problem(member, limits):
        raise Unreadable(*refused)
    try:
        with archive.open(member) as file:
            raw = file.read(member.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError, UnicodeDecodeError) as error:
        raise Unreadable(
            "damaged archive", f"it cannot be unpacked, the archive is damaged ({one_sentence(error)}); make or fetch it again"
        ) from error
    if len(raw) > member.file_size:
        raise Unreadable("decompression bomb", "it unpacks to more than the archive says; a zip file made for no good does that")
    return raw


def one_sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).split("\n")[0][:120]
