"""Scripts: ``SPEAKER: line`` as text, tables with a speaker and a text column (CSV, TSV, JSON), and the dialogue JSON of games."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from studio.dialogue.formats import BadRow, json_objects, json_value
from studio.dialogue.importers.base import Asked, Intake, Said
from studio.dialogue.importers.files import File, raw_dict, raw_list
from studio.dialogue.importers.values import numbered, text_of

_TURN = re.compile(r"^(?P<name>[^\s:：\[(\d][^:：\n\[\](){}<>\"]{0,39}?)\s*(?P<aside>[(\[][^)\]\n]{0,80}[)\]])?\s*[:：][ \t]*(?P<text>.*)$")
_SCENE = re.compile(r"^\s*(?:(?:INT|EXT|I/E)[. ]|(?:ACT|SCENE|CHAPTER|EPISODE)\b|[*#=~_-]{3,}\s*$|(?:\* ){2,})", re.IGNORECASE)
_DIRECTION = re.compile(r"^\s*(?:\[[^\[\]]*\]|\([^()]*\))\s*$")
_LEADING = re.compile(r"(?:\[[^\[\]]{0,200}\]|\([^()]{0,200}\))\s*")
_OPENS = {")": "(", "]": "["}

SPEAKERS = ("speaker", "character", "name", "role", "who", "from", "author", "person", "说话人", "角色", "人物", "sprecher", "personnage")
TEXTS = ("text", "line", "dialogue", "dialog", "utterance", "message", "content", "quote", "speech", "台词", "对白", "内容", "zeile", "réplique")
SCENES = ("scene", "scene_id", "episode", "chapter", "conversation", "conversation_id", "dialogue_id", "dialog_id", "act")


def turns_in(text: str) -> tuple[Counter[str], int]:
    """``(names, lines that are turns)`` of the beginning of a text."""
    names: Counter[str] = Counter()
    for line in text.split("\n"):
        if turn := _TURN.match(line):
            names[turn["name"].strip()] += 1
    return names, names.total()


def looks_text(file: File) -> bool:
    """Most lines are turns, and the names come back."""
    if file.suffix in (".csv", ".tsv", ".json", ".jsonl"):
        return False
    head = file.head
    lines = [line for line in head.split("\n") if line.strip() and not _DIRECTION.match(line) and not _SCENE.match(line)]
    names, turns = turns_in(head)
    return bool(lines) and len(names) >= 2 and turns >= 0.5 * len(lines) and turns >= 2 * len(names)


def read_text(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    """Turns, each with the lines that follow it up to an empty one. Directions in brackets are cut off and counted."""
    scene = into.scene()
    open_: list[str] = []
    where, name = 0, ""

    def close() -> None:
        if open_ and name:
            _say(into, scene, name, "\n".join(open_), where)
        open_.clear()

    names, _ = turns_in(file.text)
    for number, line in numbered(file.text):
        if not line.strip():
            close()
            name = ""
        elif _SCENE.match(line):
            close()
            into.read()
            into.drop("scene heading", number)
            scene, name = into.scene(), ""
        elif _DIRECTION.match(line):
            into.read()
            into.drop("stage direction", number)
        elif (turn := _TURN.match(line)) and (names[turn["name"].strip()] > 1 or len(turn["name"].split()) <= 3):
            close()
            into.read()
            where, name = number, turn["name"].strip()
            if turn["aside"]:
                into.changed("stage direction cut off")
            open_.append(turn["text"])
        elif name:
            open_.append(line.strip())
        else:
            into.read()
            into.drop("narration", number, "this line says no speaker")
    close()


def _say(into: Intake, scene: list[Said], name: str, text: str, line: int) -> None:
    end = len(text.rstrip())
    start = len(text) - len(text.lstrip())
    while found := _LEADING.match(text, start, end):
        into.changed("stage direction cut off")
        start = found.end()
    while end > start and text[end - 1] in _OPENS:
        opened = text.rfind(_OPENS[text[end - 1]], max(start, end - 200), end)
        if opened < 0:
            break
        into.changed("stage direction cut off")
        end = opened
        while end > start and text[end - 1].isspace():
            end -= 1
    if said := into.said(into.speaker(name), text[start:end], line):
        scene.append(said)


def _column(columns: tuple[str, ...], names: tuple[str, ...]) -> str:
    lowered = {column.strip().casefold(): column for column in reversed(columns)}
    return next((lowered[name] for name in names if name in lowered), "")


def columns_of(found: list[str]) -> tuple[str, str, str]:
    """``(speaker, text, scene)`` columns; empty where there is none."""
    return _columns(tuple(found))


@lru_cache(maxsize=64)
def _columns(found: tuple[str, ...]) -> tuple[str, str, str]:
    return _column(found, SPEAKERS), _column(found, TEXTS), _column(found, SCENES)


def looks_table(file: File) -> bool:
    if any(isinstance(raw, dict) for raw in file.sample):
        speaker, text, _ = columns_of([str(key) for raw in file.sample[:1] if isinstance(raw, dict) for key in raw])
        return bool(speaker and text and speaker != text) and all(isinstance(raw, dict) and isinstance(raw.get(text), str) for raw in file.sample)
    head = file.head.lstrip("\n").partition("\n")[0]
    if len(head) > 4000 or file.suffix not in (".csv", ".tsv", ".txt"):
        return False
    speaker, text, _ = columns_of(next(iter(_csv([head], _delimiter(head))), []))
    return bool(speaker and text and speaker != text)


def _delimiter(head: str) -> str:
    return max(",;\t|", key=lambda sign: (head.count(sign), sign == ","))


def _csv(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=delimiter)
    except csv.Error:
        return


def read_table(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    if file.json.lstrip()[:1] in (b"{", b"["):
        rows: Iterator[tuple[int, Any]] = json_objects(file.json)
    else:
        rows = _csv_rows(file, into)
    scene, place = into.scene(), None
    for line, raw in rows:
        into.read()
        if isinstance(raw, BadRow):
            into.drop(raw.reason, line, str(raw))
            continue
        speaker, text, part = columns_of([str(key) for key in raw]) if isinstance(raw, dict) else ("", "", "")
        if not speaker or not text:
            into.drop("unknown format", line, "this row has no columns for a speaker and a text")
            continue
        if part and raw[part] != place and place is not None:
            scene = into.scene()
        place = raw[part] if part else None
        if not text_of(raw[speaker]).strip():
            into.drop("no speaker", line, "this row says no speaker; it may be a direction")
            continue
        _say(into, scene, raw[speaker], text_of(raw[text]), line)


def _csv_rows(file: File, into: Intake) -> Iterator[tuple[int, Any]]:
    """Rows as objects, each with the line it begins at; a row with too few or too many cells is a BadRow."""
    lines = file.text.split("\n")
    head = next((line for line in lines if line.strip()), "")
    # Strict quoting is off: what people export is not. A row that swallows the rest of the file over a lost quote ends at the field limit.
    reader = csv.reader((line + "\n" for line in lines), delimiter=_delimiter(head))
    columns: list[str] = []
    began = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield began, BadRow("broken row", f"this row cannot be read ({error}); a quote may be lost")
            began = reader.line_num + 1
            continue
        where, began = began, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = cells
        elif len(cells) != len(columns):
            yield where, BadRow("broken row", f"this row has {len(cells)} cells and the head {len(columns)}")
        else:
            yield where, dict(zip(columns, cells, strict=True))


_DIRECTIONS = {"ACTION", "SCENE", "NARRATION", "NARRATOR", "SOUND", "MUSIC", "NOTE", "COMMENT", "LOCATION", "GOTO", "LABEL", "ANIMATION", "CAMERA"}
DEEPEST = 100
"""Choices within choices that are followed; no game has so many."""


def looks_game(file: File) -> bool:
    return any(_is_game(value) for value in (file.document or {}).values()) or any(
        isinstance(raw, dict) and isinstance(raw.get("text"), list) for raw in file.sample
    )


def _is_game(value: msgspec.Raw) -> bool:
    """A list of objects of one key each, most of them with a text."""
    if bytes(value).lstrip()[:1] != b"[":
        return False
    found = [raw_dict(raw) for raw in raw_list(value)[:20]]
    single = [entry for entry in found if len(entry) == 1]
    texts = [entry for entry in single if bytes(next(iter(entry.values()))).lstrip()[:1] == b'"']
    return bool(found) and len(single) >= 0.8 * len(found) and len(texts) >= 1 and any({"CHOICE", "ACTION"} & e.keys() for e in found)


def read_game(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    """Each list of lines is a scene. Of a choice one branch is gone; what lies on the others is counted."""
    number = 0
    objects = [(0, file.document)] if file.document is not None else [(line, raw) for line, raw in json_objects(file.json)]
    for line, document in objects:
        if isinstance(document, BadRow) or not isinstance(document, dict):
            into.refuse("unknown format", "this is no object with lists of lines", line)
            continue
        lists = [json_value(bytes(v), None) if isinstance(v, msgspec.Raw) else v for v in document.values()]
        for value in lists:
            if not isinstance(value, list):
                continue
            scene = into.scene()
            for entry, skipped in _path(value, asked.choices):
                number += 1
                into.read()
                if skipped:
                    into.drop("on a path that is not taken", number, f"entry {number} lies on another branch of a choice; --choices takes another")
                    continue
                key, text = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else ("", None)
                if key.upper() in _DIRECTIONS and key.isupper():
                    into.drop("stage direction", number)
                elif not key or not isinstance(text, str):
                    into.drop("broken message", number, f"entry {number} is no line of the form {{name: text}}")
                else:
                    _say(into, scene, key, text, number)


def _path(value: list[Any], choices: str, depth: int = 0, skipped: bool = False) -> Iterator[tuple[Any, bool]]:
    """``(entry, lies on a path not taken)`` of everything in the tree, the path taken in its order."""
    for entry in value:
        options = entry.get("CHOICE") if isinstance(entry, dict) else None
        if not isinstance(options, list) or depth >= DEEPEST:
            yield entry, skipped
            continue
        branches = [option if isinstance(option, list) else [option] for option in options]
        if not branches:
            continue
        taken = {"first": 0, "last": len(branches) - 1}.get(choices, max(range(len(branches)), key=lambda i: len(branches[i])))
        for number, branch in enumerate(branches):
            yield from _path(branch, choices, depth + 1, skipped or number != taken)
