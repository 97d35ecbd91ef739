"""Zip files, opened without trust: sizes, names and kinds of members are looked at before anything is unpacked, and nothing is unpacked to disk."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from studio.lore.readers import Unreadable

MOST_MEMBERS = 20_000
LARGEST_MEMBER = 256 * 2**20
LARGEST_WHOLE = 2 * 2**30
"""Bytes of all members unpacked, by what the archive says and again by what really comes out."""

STEEPEST = 400
"""Times a member of more than a megabyte may be larger than it is packed; text packs 3 to 20 times."""


def opened(source: bytes | Path) -> zipfile.ZipFile:
    """The archive, its list looked through. Unreadable when it is damaged or no honest one."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise Unreadable("damaged archive", f"the zip file is damaged ({one_sentence(error)}); make or fetch it again") from error
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise Unreadable("too large", f"the zip file has {len(members):,} members, more than the {MOST_MEMBERS:,} that are read; split it")
    if sum(member.file_size for member in members) > LARGEST_WHOLE:
        raise Unreadable("decompression bomb", f"the zip file would unpack to more than {LARGEST_WHOLE >> 30} GB; split it if it is honest")
    return archive


def problem(member: zipfile.ZipInfo) -> tuple[str, str] | None:
    """``(reason, sentence)`` why a member is not read, or None."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in member.filename or (path.parts and path.parts[0].endswith(":")):
        return "path leads out of the archive", "its name leads out of the archive; a zip file made for no good does that"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link", "it is a link, which is not followed; put the file itself into the archive"
    if member.flag_bits & 1:
        return "encrypted", "it is encrypted; unpack the archive with its password and add the folder"
    if member.file_size > LARGEST_MEMBER:
        return "too large", f"it has {member.file_size >> 20} MB, more than the {LARGEST_MEMBER >> 20} MB that are read from an archive"
    if member.file_size > 2**20 and member.file_size > STEEPEST * max(1, member.compress_size):
        return "decompression bomb", f"it would unpack to {member.file_size // max(1, member.compress_size):,} times its size; no text does that"
    return None


def content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, never more than it said it has. Unreadable when it is damaged."""
    if refused := problem(member):
        raise Unreadable(*refused)
    try:
        with archive.open(member) as file:
            raw = file.read(member.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError, UnicodeDecodeError) as error:
        raise Unreadable("damaged archive", f"it is damaged in the archive ({one_sentence(error)}); make or fetch the archive again") from error
    if len(raw) > member.file_size:
        raise Unreadable("decompression bomb", "it unpacks to more than the archive says; a zip file made for no good does that")
    return raw


def one_sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).split("\n")[0][:120]
