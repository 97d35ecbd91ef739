"""Training data: one record is one conversation (messages, ShareGPT, Alpaca), or one pair (TRL, ShareGPT and KTO preference).

A file may mix them; each record is told by its own keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studio.dialogue.formats import BadRow, Message, json_objects, messages_of
from studio.dialogue.importers.base import Asked, Intake
from studio.dialogue.importers.files import File
from studio.dialogue.importers.marked import chatml_turns, metharme_turns
from studio.dialogue.importers.values import text_of
from studio.preference import formats as preference

ROWS = ("messages", "sharegpt", "alpaca")
PAIRS = {"trl": "trl", "sharegpt-preference": "sharegpt", "kto": "kto"}
"""What the preference set calls them."""


def kinds(raw: Any) -> list[str]:
    """Every format a record could be; the keys of preference rows leave no doubt."""
    if not isinstance(raw, dict):
        return []
    keys = raw.keys()
    if {"chosen", "rejected"} <= keys:
        return ["sharegpt-preference" if "conversations" in keys else "trl"]
    if {"prompt", "completion", "label"} <= keys:
        return ["kto"]
    found = []
    if "messages" in keys:
        found.append("messages")
    if "conversations" in keys:
        found.append("sharegpt")
    if {"instruction", "output"} <= keys:
        found.append("alpaca")
    text = text_of(raw.get("text"))
    if "<|im_start|>" in text:
        found.append("chatml")
    elif "<|user|>" in text and "<|model|>" in text:
        found.append("metharme")
    return found


def kind_of(raw: Any) -> str:
    """The one format of a record. Raises BadRow."""
    found = kinds(raw)
    if not found:
        if isinstance(raw, dict) and isinstance(raw.get("text"), str) and len(raw) <= 3:
            raise BadRow("unknown format", "this row holds only 'text', which is lore: studio lore add")
        raise BadRow("unknown format", "this is a row of no known format (studio dialogue formats lists them)")
    if len(found) > 1:
        raise BadRow("ambiguous format", f"this row could be {' or '.join(found)}; say which with --format")
    return found[0]


def looks(file: File) -> bool:
    """Whether some record at the beginning has the keys of a row; exports of chats have ``messages`` too, but no roles."""
    return any(kinds(raw) and _has_roles(raw) for raw in file.sample)


def _has_roles(raw: dict[str, Any]) -> bool:
    listed = raw.get("messages")
    return "messages" not in raw or (isinstance(listed, list) and (not listed or (isinstance(listed[0], dict) and "role" in listed[0])))


def read(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    """Every record of the file. A format that was asked for holds for all of them, whatever their keys; ``roles``: the role of a ``name``."""
    forced = asked.format if asked.format in (*ROWS, *PAIRS) else ""
    pairs = preference.PairReader(into.part.changed)
    for line, raw in json_objects(file.json):
        into.read()
        if isinstance(raw, BadRow):
            into.drop(raw.reason, line, str(raw))
            continue
        try:
            kind = forced or kind_of(raw)
            into.told(kind)
            if kind in PAIRS:
                if pair := pairs.take(raw, line, PAIRS[kind]):
                    into.choice(pair, [line])
            else:
                into.record(conversation(raw, kind, roles), line)
        except BadRow as bad:
            into.drop(bad.reason, line, str(bad))
    for pair, lines in pairs.paired():
        into.choice(pair, list(lines))
    for line in pairs.alone():
        into.drop(preference.ALONE, line, preference.ALONE_TOLD)


def conversation(raw: Any, kind: str, roles: Mapping[str, str]) -> list[Message]:
    """The messages of one record. Raises BadRow."""
    if kind == "alpaca":
        return alpaca(raw)
    if kind in ("chatml", "metharme"):
        text = text_of(raw.get("text")) if isinstance(raw, dict) else ""
        return chatml_turns(text, roles) if kind == "chatml" else metharme_turns(text)
    return messages_of(raw, kind, roles)


def alpaca(raw: Any) -> list[Message]:
    """``instruction`` and ``input`` are asked, ``output`` is answered; ``history`` holds the exchanges before. Raises BadRow."""
    if not isinstance(raw, dict):
        raise BadRow("broken row", "the row is no JSON object")
    if not all(isinstance(raw.get(key), str | None) for key in ("instruction", "input", "output")):
        raise BadRow("message without text", "instruction, input or output is no text")
    instruction, given, output = (text_of(raw.get(key)) for key in ("instruction", "input", "output"))
    system = text_of(raw.get("system"))
    found = [Message("system", system)] if system.strip() else []
    history = raw.get("history") or []
    if not isinstance(history, list):
        raise BadRow("broken history", "'history' is no list of exchanges")
    for exchange in history:
        if not isinstance(exchange, list) or len(exchange) != 2 or not all(isinstance(text, str) for text in exchange):
            raise BadRow("broken history", "an exchange in 'history' is not two texts")
        found += [Message("user", exchange[0]), Message("assistant", exchange[1])]
    return [*found, Message("user", "\n".join(text for text in (instruction, given) if text.strip())), Message("assistant", output)]
