"""Facebook Messenger, both layouts, and Instagram, which writes like Messenger's old one. ``message_1.json …`` of one folder are one chat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from studio.dialogue.formats import json_value
from studio.dialogue.importers.app_lines import KNOWN, AppLines, bare
from studio.dialogue.importers.base import Asked, Intake, Said
from studio.dialogue.importers.files import File, raw_dict
from studio.dialogue.importers.values import moment, text_of


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
    found: list[_Written] = []
    reactions: Counter[tuple[str, str]] = Counter()
    for number, raw in enumerate(file.parts("messages"), 1):
        into.read()
        message = json_value(bytes(raw), None)
        if not isinstance(message, dict):
            into.drop("broken message", number, f"message {number} is no JSON object")
            continue
        reactions.update(_reactions(message))
        if written := (_new if new else _old)(message, number, into):
            found.append(written)
    said = list(_talk(found, reactions, into)) if not new else [one for written in found if (one := _said(written, into))]
    # Newest first in the old layout; messages of one millisecond keep their order that way.
    scene += said if new else said[::-1]


def _reactions(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Who reacted to a message, and with what."""
    given = message.get("reactions")
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict):
            yield mended(text_of(one.get("actor"))), bare(mended(text_of(one.get("reaction"))))


class _Written(NamedTuple):
    """A message with a text, which may still be a line of the app."""

    number: int
    sender: str
    text: str
    at: float
    shared: str | None = None
    """The link it shares; None if it shares nothing."""
    attached: bool = False


def _said(written: _Written, into: Intake) -> Said | None:
    if written.attached:
        into.changed("attachment left out of a message")
    return into.said(into.speaker(written.sender), written.text, written.number, written.at)


def _talk(found: list[_Written], reactions: Counter[tuple[str, str]], into: Intake) -> Iterator[Said]:
    """What people wrote. The old layout does not mark what the app wrote; what cannot be told is kept and counted."""
    app = AppLines(((written.sender, written.text) for written in found), reactions)
    kept = 0
    for written in found:
        if why := app.why(written.sender, written.text, written.shared):
            into.drop("system line", written.number, why)
        elif said := _said(written, into):
            kept += 1
            if doubt := app.doubt(written.sender, written.text):
                into.changed(f"kept, though it may be a line of the app: {doubt}")
            yield said
    if kept and not app.recognised:
        into.changed(f"kept, with no line of the app recognised among them (by their words they are known in {KNOWN})", kept)


def _old(message: dict[str, Any], number: int, into: Intake) -> _Written | None:
    content = text_of(message.get("content"))
    text, name = mended(content), mended(text_of(message.get("sender_name")))
    if text != content:
        into.changed("UTF-8 written as latin-1 mended")
    extra = any(key in message for key in ("photos", "videos", "audio_files", "gifs", "sticker", "files", "share", "bumped_message_metadata"))
    if message.get("is_unsent") is True:
        into.drop("deleted", number)
    elif message.get("type", "Generic") not in ("Generic", "Share") or "call_duration" in message:
        into.drop("system line", number)
    elif not text.strip() and extra:
        into.drop("media", number)
    else:
        share = message.get("share")
        shared = text_of(share.get("link")) if isinstance(share, dict) else None
        attached = extra and "bumped_message_metadata" not in message
        return _Written(number, name, text, moment(message.get("timestamp_ms"), 0.001), shared, attached)
    return None


def _new(message: dict[str, Any], number: int, into: Intake) -> _Written | None:
    text = text_of(message.get("text"))
    if message.get("isUnsent") is True:
        into.drop("deleted", number)
    elif message.get("type") not in ("text", "link", None):
        into.drop("media" if message.get("type") == "media" else "system line", number)
    elif not text.strip() and message.get("media"):
        into.drop("media", number)
    else:
        return _Written(number, text_of(message.get("senderName")), text, moment(message.get("timestamp"), 0.001))
    return None
