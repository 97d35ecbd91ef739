"""Bytes of somebody's file to text, without guessing silently."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from studio.errors import StudioError
from studio.files import sha256_bytes, write_atomic


class Unreadable(StudioError):
    """A file cannot be read. ``reason`` is what such files are counted under; ``line`` is 1-based, 0 for the whole file."""

    def __init__(self, reason: str, sentence: str, line: int = 0) -> None:
        super().__init__(sentence)
        self.reason, self.line = reason, line


class UndecodableText(StudioError):
    """The bytes are no text in any encoding that can be told. ``line`` is where the first bad byte stands."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def decode(raw: bytes) -> tuple[str, str]:
    """``(text, encoding)``: strict UTF-8 first, then a legacy encoding if the bytes hold no valid UTF-8 of their own. NFC, ``\\n`` lines.

    Raises UndecodableText with the line of the first bad byte.
    """
    encoding = "utf-8"
    if b"\x1b$" in raw and raw.isascii():
        try:
            raw, encoding = raw.decode("iso2022_jp").encode(), "iso2022_jp"
        except UnicodeDecodeError:
            pass  # escape sequences of a terminal's log, not of a Japanese mail
    if b"\0" in raw and raw[:2] not in (b"\xff\xfe", b"\xfe\xff") and (wide := _wide_without_mark(raw)):
        raw = wide.encode()
        encoding = "utf-16"
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            encoding = "utf-16"
        elif b"\0" in raw:
            raise UndecodableText("this is no text file (it holds zero bytes)", line) from error
        elif _has_valid_utf8(raw):
            raise UndecodableText(f"byte 0x{raw[error.start]:02x} is broken UTF-8; open the file in an editor and mend or delete it", line) from error
        else:
            encoding = _legacy_encoding(raw, line)
        try:
            text = raw.decode(encoding)
        except (UnicodeDecodeError, LookupError) as failed:
            raise UndecodableText(f"the text is neither UTF-8 nor clean {encoding}; save it as UTF-8", line) from failed
    if "\0" in text and text.count("\0") > 0.01 * len(text):
        raise UndecodableText("this is no text file (it holds zero bytes)", raw.count(b"\n", 0, raw.index(b"\0")) + 1)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text), encoding


def _wide_without_mark(raw: bytes) -> str:
    """UTF-16 without its byte order mark, told by zeros at every other byte; empty if it is not that."""
    sample = raw[:4000]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if sample[first::2].count(0) > 0.8 * len(sample[first::2]) and sample[1 - first :: 2].count(0) == 0:
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError:
                return ""
    return ""


def _has_valid_utf8(raw: bytes) -> bool:
    """Whether most bytes above 0x7F are parts of sequences that decode: then the file is UTF-8 with damage, not a legacy encoding.

    In Japanese and Korean legacy encodings a few pairs and triples look like UTF-8 by chance.
    """
    high = len(raw) - len(raw.translate(None, bytes(range(0x80, 0x100))))
    good = sum(len(character.encode()) for character in raw.decode("utf-8", errors="ignore") if character > "\x7f")
    return good > 0.6 * high


def _legacy_encoding(raw: bytes, line: int) -> str:
    """chardet 7's verdict. Its confidence is low even where it is right (0.32 on plain Hungarian) and is not asked; callers report the encoding."""
    import chardet

    encoding = chardet.detect(raw[:200_000])["encoding"]
    if not encoding:
        raise UndecodableText("the text is not UTF-8 and its encoding cannot be told; save it as UTF-8", line)
    return str(encoding)


def keep_original(sources: Path, path: Path, raw: bytes) -> str:
    """Store the untouched original as ``sources/<sha12>-name``, read-only; returns that file name."""
    name = f"{sha256_bytes(raw)[:12]}-{path.name}"
    if not (sources / name).exists():
        write_atomic(sources / name, raw, mode=0o400)
    return name
