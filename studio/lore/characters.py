"""Characters that are not the author's: garbled ones, invisible ones."""

from __future__ import annotations

import re

from studio.garbled import repaired, suspect
from studio.lore.draft import Draft

_CONTROLS = "\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff"
_INVISIBLE = re.compile(f"[{_CONTROLS}]")
_BREAKS = re.compile("[\x0c\x85\u2028\u2029]")
_UNSEEN = re.compile(f"[{_CONTROLS}\x0c\x85\u2028\u2029]")


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
    if not suspect(draft.text):
        return
    for index, line in enumerate(draft.lines):
        if (fixed := repaired(line)) != line:
            draft.edit(index, fixed, "mojibake")
