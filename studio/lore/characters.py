"""Characters that are not the author's: garbled ones, invisible ones."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from studio.lore.draft import Draft

_CONTROLS = "\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff"
_INVISIBLE = re.compile(f"[{_CONTROLS}]")
_BREAKS = re.compile("[\x0c\x85\u2028\u2029]")
_UNSEEN = re.compile(f"[{_CONTROLS}\x0c\x85\u2028\u2029]")
_SUSPECT = re.compile(
    "[\u00c2-\u00f4\u0413\u0420\u0421][\u0080-\u00bf\u0152-\u0178\u0192\u02c6\u02dc\u0402-\u040f\u0451-\u045f\u2013-\u203a\u20ac\u2116\u2122]"
)
"""How text of two UTF-8 bytes looks that was read as Latin-1 or Windows-125x: the gate before the slow look."""


def controls(draft: Draft) -> None:
    whole = draft.text
    if not _UNSEEN.search(whole):
        return
    if _BREAKS.search(whole):
        lines: list[str] = []
        origin: list[int] = []
        for line, number in zip(draft.lines, draft.origin, strict=True):
            if _BREAKS.search(line):
                draft.note("controls", number, line, _BREAKS.sub("\n\n", line))
                for part in _BREAKS.split(line):
                    lines += [part, ""]
                    origin += [number, number]
            else:
                lines.append(line)
                origin.append(number)
        draft.lines, draft.origin = lines, origin
    for index, line in enumerate(draft.lines):
        if _INVISIBLE.search(line):
            draft.edit(index, _INVISIBLE.sub("", line), "controls")


def mojibake(draft: Draft) -> None:
    whole = draft.text
    if whole.isascii() or not _SUSPECT.search(whole):
        return
    import ftfy

    config = _careful(ftfy)
    for index, line in enumerate(draft.lines):
        if not line.isascii() and _SUSPECT.search(line):
            fixed = ftfy.fix_encoding(line, config)
            if fixed != line and "\ufffd" not in fixed:
                draft.edit(index, unicodedata.normalize("NFC", fixed), "mojibake")


def _careful(ftfy: Any) -> Any:
    """Only what can be undone: bytes that were decoded wrongly as a whole. The library's defaults change two of three clean Chinese lines."""
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
