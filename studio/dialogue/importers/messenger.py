"""Facebook Messenger, both layouts, and Instagram, which writes like Messenger's old one. ``message_1.json …`` of one folder are one chat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from studio.dialogue.formats import json_value
from studio.dialogue.importers.base import Asked, File, Intake, Said, moment, raw_dict, text_of

_APP = re.compile(
    r"(?:Reacted .{1,12} to your message|Liked a message|.{1,80} (?:sent an attachment|sent a photo|sent a voice message|sent a link|shared a story|"
    r"changed the (?:chat )?theme.*|set (?:the|your) nickname.*|named the group.*|created the group|missed a (?:video |audio )?call.*|"
    r"started a (?:video |audio )?(?:call|chat)))\.?\s*"
)


def _is_old(file: File) -> bool:
    document = file.document
    if not document or "messages" not in document or "channel" in document:
        return False
    return "thread_path" in document or any("sender_name" in raw_dict(raw) for raw in file.parts("messages")[:3])


def looks_instagram(file: File) -> bool:
    return _is_old(file) and "instagram" in file.name.casefold()


def looks_messenger(file: File) -> bool:
    document = file.document
    new = bool(document and {"participants", "messages", "threadName"} <= document.keys())
    return new or (_is_old(file) and not looks_instagram(file))


def mended(text: str) -> str:
    """Text whose UTF-8 bytes were written as latin-1 escapes; as it is, if it was not."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def read(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    new = "threadName" in (file.document or {})
    path = text_of(file.part("thread_path")) or text_of(file.part("threadName"))
    folder = str(PurePath(file.name).parent)
    numbered_ = re.fullmatch(r"message_\d+", file.stem)
    scene = into.scene(f"messenger:{folder}:{path}" if numbered_ or not path else f"messenger:{path}", zoned=True, timed=True)
    found: list[Said] = []
    for number, raw in enumerate(file.parts("messages"), 1):
        into.read()
        message = json_value(bytes(raw), None)
        if not isinstance(message, dict):
            into.drop("broken message", number, f"message {number} is no JSON object")
        elif said := (_new if new else _old)(message, number, into):
            found.append(said)
    # Newest first in the old layout; messages of one millisecond keep their order that way.
    scene += found if new else found[::-1]


def _old(message: dict[str, Any], number: int, into: Intake) -> Said | None:
    content = text_of(message.get("content"))
    text, name = mended(content), mended(text_of(message.get("sender_name")))
    if text != content:
        into.changed("UTF-8 written as latin-1 mended")
    extra = any(key in message for key in ("photos", "videos", "audio_files", "gifs", "sticker", "files", "share", "bumped_message_metadata"))
    if message.get("is_unsent") is True:
        into.drop("deleted", number)
    elif message.get("type", "Generic") not in ("Generic", "Share") or "call_duration" in message or _APP.fullmatch(text):
        into.drop("system line", number)
    elif not text.strip() and extra:
        into.drop("media", number)
    else:
        if extra and not (set(message) & {"bumped_message_metadata"}):
            into.changed("attachment left out of a message")
        return into.said(into.speaker(name), text, number, moment(message.get("timestamp_ms"), 0.001))
    return None


def _new(message: dict[str, Any], number: int, into: Intake) -> Said | None:
    text = text_of(message.get("text"))
    if message.get("isUnsent") is True:
        into.drop("deleted", number)
    elif message.get("type") not in ("text", "link", None):
        into.drop("media" if message.get("type") == "media" else "system line", number)
    elif not text.strip() and message.get("media"):
        into.drop("media", number)
    else:
        return into.said(into.speaker(text_of(message.get("senderName"))), text, number, moment(message.get("timestamp"), 0.001))
    return None
