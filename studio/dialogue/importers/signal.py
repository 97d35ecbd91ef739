"""Signal, as signal-export writes it: ``data.json`` (JSON lines) and ``chat.md``. One's own messages are by ``Me``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

from studio.dialogue.formats import BadRow, json_objects
from studio.dialogue.importers.base import ME, Asked, Intake
from studio.dialogue.importers.files import File
from studio.dialogue.importers.values import iso_moment, moment, numbered, text_of

_HEAD = re.compile(r"\[(?P<time>\d{4}-\d{2}-\d{2} \d{2}:\d{2}(?::\d{2})?)\] (?P<name>[^\n]{1,80}?): ?(?P<text>.*)")
_MEDIA = re.compile(r"!?\[[^\]\n]*\]\((?:\./)?media/[^)\n]*\)")
_REACTIONS = re.compile(r"\s*\(- .{1,200} -\)\s*$")


def looks_data(file: File) -> bool:
    return any(isinstance(raw, dict) and {"date", "sender", "body"} <= raw.keys() for raw in file.sample)


def looks_chat(file: File) -> bool:
    """Square brackets around an ISO date are WhatsApp's too in some countries; Signal's have ``Me`` or the file's own name."""
    lines = [line for line in file.head.split("\n") if line.strip()][:400]
    heads = [head for line in lines if (head := _HEAD.match(line))]
    return bool(lines and _HEAD.match(lines[0])) and (any(head["name"] == "Me" for head in heads) or file.suffix == ".md")


def read_data(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    scene = into.scene(f"signal:{PurePath(file.name).parent}:{file.base}", timed=True)
    for line, raw in json_objects(file.json):
        into.read()
        if isinstance(raw, BadRow):
            into.drop(raw.reason, line, str(raw))
        elif not isinstance(raw, dict) or "body" not in raw:
            into.drop("broken message", line, "this line has no body, so it is no message")
        elif raw.get("deleted") is True:
            into.drop("deleted", line)
        elif not text_of(raw["body"]).strip():
            into.drop("media" if raw.get("attachments") or raw.get("sticker") else "empty message", line)
        else:
            if raw.get("attachments"):
                into.changed("attachment left out of a message")
            name = text_of(raw.get("sender"))
            at, _ = iso_moment(raw.get("date"))
            at = at if at >= 0 else moment(raw.get("date"), 0.001)
            if said := into.said(into.speaker(name, hint=ME if name == "Me" else ""), text_of(raw["body"]), line, at):
                scene.append(said)


def read_chat(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    """Lines without a head go on with the message before; quotes (``> ``), files and reactions are not what was said."""
    scene = into.scene(f"signal:{PurePath(file.name).parent}:{file.base}", timed=True)
    messages: list[tuple[int, re.Match[str], list[str]]] = []
    for number, line in numbered(file.text):
        if head := _HEAD.match(line):
            messages.append((number, head, [head["text"]]))
        elif messages:
            messages[-1][2].append(line)
        elif line.strip():
            into.refuse("before the first message", "this line stands before the first message", number)
    for number, head, lines in messages:
        into.read()
        kept = [line for line in lines if not line.startswith("> ")]
        if len(kept) < len(lines):
            into.changed("quote left out of a message")
        text, files = _MEDIA.subn("", "\n".join(line.rstrip() for line in kept))
        text, reactions = _REACTIONS.subn("", text)
        if reactions:
            into.changed("reactions left out of a message")
        if files and not text.strip():
            into.drop("media", number)
            continue
        if files:
            into.changed("attachment left out of a message")
        at, _ = iso_moment(head["time"])
        if said := into.said(into.speaker(head["name"], hint=ME if head["name"] == "Me" else ""), text, number, at):
            scene.append(said)
