"""Text of UTF-8 that was once read as something else (``itâ€™s``), repaired where that is proved by its becoming whole."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

_SUSPECT = re.compile(
    "[\u00c2-\u00f4\u0413\u0420\u0421][\u0080-\u00bf\u0152-\u0178\u0192\u02c6\u02dc\u0402-\u040f\u0451-\u045f\u2013-\u203a\u20ac\u2116\u2122]"
)
"""How text of two UTF-8 bytes looks that was read as Latin-1 or Windows-125x: the gate before the slow look."""

SAID = "garbled characters repaired (UTF-8 once read as something else)"


def suspect(text: str) -> bool:
    """Whether a look is worth while."""
    return not text.isascii() and _SUSPECT.search(text) is not None


def repaired(text: str) -> str:
    """The text with each of its lines repaired that can be; as it is, if nothing is proved."""
    if not suspect(text):
        return text
    return "\n".join(_line(line) if suspect(line) else line for line in text.split("\n"))


def _line(line: str) -> str:
    import ftfy

    fixed = ftfy.fix_encoding(line, _careful())
    return unicodedata.normalize("NFC", fixed) if fixed != line and "\ufffd" not in fixed else line


@cache
def _careful() -> Any:
    """Only what can be undone: bytes that were decoded wrongly as a whole. The library's defaults change two of three clean Chinese lines."""
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        restore_byte_a0=True,
        replace_lossy_sequences=False,
        decode_inconsistent_utf8=False,
        fix_c1_controls=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
