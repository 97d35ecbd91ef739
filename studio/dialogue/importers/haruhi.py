"""ChatHaruhi: one turn a line, ``角色:「台词」``, or JSON lines of such dialogues. Its windows overlap; what is repeated is counted and left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from studio.dialogue.formats import BadRow, json_objects
from studio.dialogue.importers.base import Asked, Intake, Said
from studio.dialogue.importers.files import File
from studio.dialogue.importers.values import numbered, text_of

_TURN = re.compile(r"^\s*(?P<name>[^\s:：「][^:：「\n]{0,39})\s*[:：]\s*「(?P<text>.*?)」?\s*$")
_NARRATION = re.compile(r"^\s*(?:scene|旁白|narrator|场景|背景)\s*[:：]\s*(?P<text>.*)$", re.IGNORECASE)
_SCENE = re.compile(r"^\s*(?:scene|场景)\s*[:：]", re.IGNORECASE)

Line = tuple[str, str, int]
"""Speaker, text, line in the file."""


def looks_text(file: File) -> bool:
    if file.suffix in (".csv", ".tsv"):
        return False
    lines = [line for line in file.head.split("\n") if line.strip()]
    turns = sum(bool(_TURN.match(line)) for line in lines)
    return bool(turns) and turns + sum(bool(_NARRATION.match(line)) for line in lines) >= 0.5 * len(lines)


def looks_lines(file: File) -> bool:
    return any(isinstance(raw, dict) and _is_dialogue(raw.get("dialogue")) for raw in file.sample)


def _is_dialogue(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(turn, dict) and {"role", "text"} <= turn.keys() for turn in value)


def read_text(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    windows: list[list[Line]] = [[]]
    for number, line in numbered(file.text):
        if not line.strip():
            continue
        into.read()
        if _NARRATION.match(line):
            into.drop("narration", number)
            if _SCENE.match(line) and windows[-1]:
                windows.append([])
        elif turn := _TURN.match(line):
            windows[-1].append((turn["name"], turn["text"], number))
        else:
            into.drop("no turn", number, "this line is neither a turn (角色:「台词」) nor narration")
    _take(into, windows)


def read_lines(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    windows: list[list[Line]] = []
    for number, raw in json_objects(file.json):
        turns = raw.get("dialogue") if isinstance(raw, dict) else None
        if not isinstance(turns, list):
            into.refuse(*(("not JSON", str(raw)) if isinstance(raw, BadRow) else ("unknown format", "this line has no list 'dialogue'")), number)
            continue
        windows.append([])
        for turn in turns:
            into.read()
            if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or not isinstance(turn.get("text"), str):
                into.drop("broken message", number, "a turn lacks its role or text")
            elif _NARRATION.match(f"{turn['role']}:"):
                into.drop("narration", number)
            else:
                windows[-1].append((turn["role"], turn["text"], number))
    _take(into, windows)


def _take(into: Intake, windows: list[list[Line]]) -> None:
    """Windows one after another: one that begins with the end of the last goes on with it, one that was seen whole is left out."""
    scene: list[Said] = []
    known: set[tuple[tuple[str, str], tuple[str, str]]] = set()
    last: list[tuple[str, str]] = []
    for window in windows:
        texts = [(name, text) for name, text, _ in window]
        steps = set(pairwise(texts))
        repeated = len(texts) if len(texts) > 1 and steps <= known else overlap(last, texts)
        for _, _, number in window[:repeated]:
            into.drop("repeated by an overlapping window", number, "this line stood in the window before")
        if not repeated:
            scene = into.scene()
            last = []
        known |= steps
        if repeated < len(texts):
            last = last[-len(texts) :] + texts[repeated:]
        for name, text, number in window[repeated:]:
            # Some turns hold several quotes, and JSON rows keep the brackets; the outer ones belong to the notation.
            bare = text_of(text).strip().removeprefix("「").removesuffix("」")
            if said := into.said(into.speaker(name), bare, number):
                scene.append(said)


def overlap(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> int:
    """How many of the first of ``after`` are the last of ``before``; in linear time (Knuth, Morris, Pratt)."""
    pattern = [*after, None, *before[-len(after) :]] if after else []
    failure = [0] * len(pattern)
    for i in range(1, len(pattern)):
        k = failure[i - 1]
        while k and pattern[i] != pattern[k]:
            k = failure[k - 1]
        failure[i] = k + 1 if pattern[i] == pattern[k] else 0
    return failure[-1] if pattern and before else 0
