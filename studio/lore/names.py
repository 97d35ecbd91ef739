"""File names of lore: which language they say, and which of them are translations of each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from studio.lore.languages import MANY, NAMES

_ALIASES = {
    "jp": "ja", "cn": "zh", "tw": "zh", "kr": "ko", "chs": "zh", "cht": "zh", "sc": "zh", "tc": "zh", "hans": "zh", "hant": "zh", "ger": "de",
    "eng": "en", "fre": "fr", "fra": "fr", "deu": "de", "spa": "es", "jpn": "ja", "chi": "zh", "zho": "zh", "kor": "ko", "rus": "ru", "ita": "it",
    "por": "pt", "ukr": "uk", "deutsch": "de", "francais": "fr", "français": "fr", "espanol": "es", "español": "es", "中文": "zh", "日本語": "ja",
    "한국어": "ko", "русский": "ru", "italiano": "it",
}  # fmt: skip
CODES = {*MANY, "zh", "ja", "ko", "th", "he", "el", "hi", "ka", "hy"}
"""Every language that a text can be told to be in."""

_WORDS = {name.casefold(): code for code, name in NAMES.items() if len(code) == 2}


def code_of(word: str) -> str:
    """The language code a word stands for (``en``, ``zh-Hans``, ``jpn``, ``German``), or ``""``."""
    plain = word.strip().casefold().replace("_", "-")
    first = plain.partition("-")[0]
    if plain in _ALIASES or plain in _WORDS:
        return _ALIASES.get(plain) or _WORDS[plain]
    if first in CODES and re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]{2,4})?", plain):
        return first
    return _ALIASES.get(first, "") if "-" in plain and len(plain) <= 8 else ""


def split_name(file: str) -> tuple[str, str]:
    """``(what it is, language)``: ``tale.en.md``, ``tale_en.txt``, ``tale (en).md`` and ``en/tale.md`` all give ``("tale", "en")``.

    Without a language in the name: the name itself, and ``""``.
    """
    path = PurePosixPath(file)
    stem = path.name[: -len(path.suffix)] if path.suffix else path.name
    found = re.fullmatch(r"(.+?)(?:\.|[_ -]|\s*[(\[])([A-Za-z\u3040-\uffff-]{2,10})[)\]]?", stem)
    before = re.fullmatch(r"([A-Za-z]{2,3}(?:-[A-Za-z]{2,4})?)[._ -](.+)", stem)
    folders = list(path.parts[:-1])
    if found and (code := _strict(found[2], stem)):
        return "/".join([*folders, found[1]]), code
    for place in range(len(folders) - 1, -1, -1):
        if code := code_of(folders[place]):
            return "/".join([*folders[:place], *folders[place + 1 :], stem]), code
    if before and (code := _strict(before[1], stem)):
        return "/".join([*folders, before[2]]), code
    return file, ""


def _strict(word: str, stem: str) -> str:
    """Inside a file's name short English words that happen to be codes (``no``, ``is``, ``it``, ``la``) count only after a dot."""
    code = code_of(word)
    common = {"no", "is", "it", "la", "et", "id", "sc", "tc", "da", "de", "hi", "he", "sl", "af", "be"}
    return "" if code and word.casefold() in common and f".{word}" not in stem else code


MOST_BYTES = 150
"""Of a file's name; file systems take 255, and copies carry a digest and an ending more."""


def sayable(name: str) -> str:
    """A file name in Unicode (names on disk need not be) and no longer than ``MOST_BYTES``."""
    return name.encode("utf-8", "replace")[:MOST_BYTES].decode("utf-8", "ignore")


def lore_name(name: str, folders: Sequence[str], ending: str) -> str:
    """What a file is called in the lore: its own name, with the language of the folder it came from."""
    stem = PurePosixPath(name).stem
    stem = sayable(re.sub(r"[\x00-\x1f\x7f/\\:*?\"<>|]+", "-", stem)).strip(". ") or "text"
    _, said = split_name(stem + ending)
    code = "" if said else next((code for folder in reversed(folders) if (code := code_of(folder))), "")
    return f"{stem}.{code}{ending}" if code else f"{stem}{ending}"
