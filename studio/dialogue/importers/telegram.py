"""Telegram's ``result.json``: one chat, or a whole account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from studio.dialogue.formats import json_value
from studio.dialogue.importers.base import ME, Asked, Intake
from studio.dialogue.importers.files import File, raw_dict, raw_list
from studio.dialogue.importers.values import id_of, iso_moment, moment, text_of


def looks(file: File) -> bool:
    document = file.document
    if not document:
        return False
    if "chats" in document:
        return "list" in raw_dict(document["chats"])
    if "messages" not in document or "channel" in document:
        return False
    return {"type", "id"} <= document.keys() or any("date_unixtime" in raw_dict(raw) for raw in file.parts("messages")[:3])


def read(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    document = file.document or {}
    if "chats" in document:
        chats = [raw_dict(raw) for raw in raw_list(raw_dict(document["chats"]).get("list"))]
        own = file.part("personal_information")
        me = id_of(own.get("user_id")) if isinstance(own, dict) else ""
    else:
        chats, me = [document], ""
    for chat in chats:
        _chat(chat, into, f"user{me}" if me else "")


def _chat(chat: dict[str, msgspec.Raw], into: Intake, me: str) -> None:
    identity = id_of(json_value(bytes(chat["id"]), None)) if "id" in chat else ""
    scene = into.scene(f"telegram:{identity}" if identity else "", zoned=True, timed=True)
    for number, raw in enumerate(raw_list(chat.get("messages")), 1):
        into.read()
        message = json_value(bytes(raw), None)
        if not isinstance(message, dict):
            into.drop("broken message", number, f"message {number} is no JSON object")
            continue
        kind = message.get("type")
        if kind != "message":
            into.drop("system line" if kind == "service" else "unsupported", number)
        elif message.get("forwarded_from") is not None or message.get("forwarded_from_id") is not None:
            into.drop("forwarded", number)
        elif message.get("via_bot"):
            into.drop("written by a bot", number, f"message {number} was made by an inline bot (via_bot)")
        else:
            text = joined_text(message.get("text") or message.get("text_entities"))
            if not text.strip():
                into.drop("media", number, f"message {number} has no text")
                continue
            if any(key in message for key in ("photo", "file", "media_type")):
                into.changed("attachment left out of a message")
            at = moment(message.get("date_unixtime"))
            if at < 0:
                at, _ = iso_moment(message.get("date"))
            key = id_of(message.get("from_id"))
            speaker = into.speaker(
                text_of(message.get("from")) or "deleted account", f"telegram:{key}" if key else "", ME if me and key == me else ""
            )
            if said := into.said(speaker, text, number, at, id_of(message.get("id"))):
                scene.append(said)


def joined_text(value: Any) -> str:
    """A text is a string, or a list of strings and ``{type, text}``."""
    if isinstance(value, list):
        return "".join(part if isinstance(part, str) else text_of(part.get("text")) if isinstance(part, dict) else "" for part in value)
    return text_of(value)
