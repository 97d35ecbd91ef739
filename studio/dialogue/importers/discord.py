"""Discord, as DiscordChatExporter writes it; the parts of one channel are one chat."""

from __future__ import annotations

from collections.abc import Mapping

from studio.dialogue.formats import json_value
from studio.dialogue.importers.base import Asked, Intake
from studio.dialogue.importers.files import File
from studio.dialogue.importers.values import id_of, iso_moment, text_of

TALK = ("Default", "Reply", 0, 19, "0", "19")


def looks(file: File) -> bool:
    document = file.document
    return bool(document and {"channel", "messages"} <= document.keys() and ("guild" in document or "exportedAt" in document))


def read(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    channel = file.part("channel")
    identity = id_of(channel.get("id")) if isinstance(channel, dict) else ""
    scene = into.scene(f"discord:{identity}" if identity else "", zoned=True, timed=True)
    for number, raw in enumerate(file.parts("messages"), 1):
        into.read()
        message = json_value(bytes(raw), None)
        author = message.get("author") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(author, dict):
            into.drop("broken message", number, f"message {number} has no author")
            continue
        if not isinstance(message.get("type"), str | int) or message["type"] not in TALK:
            into.drop("system line", number)
            continue
        if message.get("forwardedMessage"):
            into.drop("forwarded", number)
            continue
        text = text_of(message.get("content"))
        extra = any(message.get(key) for key in ("attachments", "embeds", "stickers"))
        if not text.strip() and extra:
            into.drop("media", number)
            continue
        if message.get("attachments") or message.get("stickers"):
            into.changed("attachment left out of a message")
        key = id_of(author.get("id"))
        speaker = ""
        for name in (text_of(author.get("name")), text_of(author.get("nickname"))):
            speaker = into.speaker(name, f"discord:{key}" if key else "") if name or not speaker else speaker
        at, _ = iso_moment(message.get("timestamp"))
        if said := into.said(speaker, text, number, at, id_of(message.get("id"))):
            scene.append(said)
