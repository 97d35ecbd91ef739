"""Chats with a character that a service has played: PIPPA, Character.AI dumps, SillyTavern. The file says who is human."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from studio.dialogue.formats import BadRow, json_objects, json_value
from studio.dialogue.importers.base import HER, ME, Asked, Intake, Said
from studio.dialogue.importers.files import File, raw_dict, raw_list
from studio.dialogue.importers.values import id_of, iso_moment, moment, text_of
from studio.sillytavern.chats import read_text

_REDACTED = re.compile(r"\[(?:[A-Z]+_)*REDACTED\]")
USER = "{{user}}"


def looks_pippa(file: File) -> bool:
    return any(isinstance(raw, dict) and isinstance(raw.get("conversation"), list) and {"bot_name", "bot_id"} & raw.keys() for raw in file.sample)


def read_pippa(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    """One conversation a line. The greeting is hers; a redacted name in a text becomes ``{{user}}``."""
    for line, raw in json_objects(file.json):
        if isinstance(raw, BadRow) or not isinstance(raw, dict) or not isinstance(raw.get("conversation"), list):
            into.refuse(*(("not JSON", str(raw)) if isinstance(raw, BadRow) else ("unknown format", "this line is no PIPPA conversation")), line)
            continue
        bot = into.speaker(text_of(raw.get("bot_name")) or "bot", hint=HER)
        human = into.speaker("human", hint=ME)
        scene = into.scene(placeholders=True)
        turns: list[Any] = raw["conversation"]
        greeting = text_of(raw.get("bot_greeting"))
        if greeting.strip() and not (turns and isinstance(turns[0], dict) and text_of(turns[0].get("message")).strip() == greeting.strip()):
            turns = [{"message": greeting, "is_human": False}, *turns]
        for turn in turns:
            into.read()
            if not isinstance(turn, dict) or not isinstance(turn.get("message"), str) or not isinstance(turn.get("is_human"), bool):
                into.drop("broken message", line, "a turn lacks its message or is_human")
                continue
            text, redacted = _REDACTED.subn(USER, turn["message"])
            if redacted:
                into.changed("redacted name made {{user}}", redacted)
            if said := into.said(human if turn["is_human"] else bot, text, line):
                scene.append(said)


def looks_characterai(file: File) -> bool:
    document = file.document
    return bool(document and "histories" in document and b'"is_human"' in file.json)


def read_characterai(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    """Every history is a chat of its own. Messages are numbered through the file."""
    info = raw_dict((file.document or {}).get("info"))
    character = json_value(bytes(info["character"]), None) if "character" in info else None
    name = text_of(character.get("name") or character.get("participant__name")) if isinstance(character, dict) else ""
    histories = raw_dict((file.document or {}).get("histories")).get("histories")
    number = 0
    for history in raw_list(histories):
        scene = into.scene(placeholders=True)
        for raw in raw_list(raw_dict(history).get("msgs")):
            number += 1
            into.read()
            message = json_value(bytes(raw), None)
            source = message.get("src") if isinstance(message, dict) else None
            if not isinstance(message, dict) or not isinstance(source, dict) or not isinstance(source.get("is_human"), bool):
                into.drop("broken message", number, f"message {number} does not say whether a human wrote it")
                continue
            if message.get("is_alternative") is True or message.get("deleted") is True:
                into.drop("deleted", number)
                continue
            human = source["is_human"]
            speaker = into.speaker("human", hint=ME) if human else into.speaker(name or text_of(source.get("name")) or "character", hint=HER)
            at, _ = iso_moment(message.get("created"))
            if said := into.said(speaker, text_of(message.get("text")), number, at, id_of(message.get("id") or message.get("uuid"))):
                scene.append(said)


_HEADER = {"user_name", "character_name", "chat_metadata"}


def looks_sillytavern(file: File) -> bool:
    rows = [raw for raw in file.sample if isinstance(raw, dict)]
    return any(len(_HEADER & raw.keys()) >= 2 or ("mes" in raw and {"is_user", "name"} & raw.keys()) for raw in rows)


def read_sillytavern(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    """A chat file is one scene, whatever the nights between its messages. Hidden messages are dropped; swipes are kept with the message."""
    scene = into.scene(placeholders=True)
    for line, raw in json_objects(file.json):
        if isinstance(raw, dict) and "mes" not in raw and _HEADER & raw.keys():
            continue
        into.read()
        if isinstance(raw, BadRow):
            into.drop(raw.reason, line, str(raw))
            continue
        if not isinstance(raw, dict) or "mes" not in raw:
            into.drop("broken message", line, "this line has no mes, so it is no message")
            continue
        if raw.get("is_system") is True:
            into.drop("hidden from the prompt", line, "SillyTavern does not send this message to the model (is_system)")
            continue
        mine = raw.get("is_user") is True
        speaker = into.speaker(text_of(raw.get("name")) or ("user" if mine else "character"), hint=ME if mine else HER)
        said = into.said(speaker, read_text(raw["mes"]), line, sent_at(raw.get("send_date")))
        if said:
            if not mine:
                said.passed_over = _passed_over(raw, said)
            scene.append(said)


def _passed_over(raw: dict[str, Any], said: Said) -> tuple[str, ...]:
    """The swipes that were not kept, each once."""
    swipes = raw.get("swipes")
    texts = [read_text(swipe).strip() for swipe in swipes] if isinstance(swipes, list) else []
    return tuple(dict.fromkeys(text for text in texts if text and text != said.text))


_MONTHS = {name: number for number, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)}
_WORDED = re.compile(r"([A-Za-z]{3})[a-z]* (\d{1,2}), (\d{4}) (\d{1,2}):(\d{2})(?::(\d{2}))?\s?([ap]m)", re.IGNORECASE)
_DASHED = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@(\d{1,2})h ?(\d{1,2})m ?(\d{1,2})s(?: ?(\d{1,3})ms)?")


def sent_at(value: Any) -> float:
    """``send_date`` in its four shapes (and ISO); -1 if it is none of them."""
    if isinstance(value, int | float):
        return moment(value, 0.001)
    text = text_of(value)
    if text.isdigit():
        return moment(text, 0.001)
    if found := _DASHED.fullmatch(text.strip()):
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    elif (worded := _WORDED.fullmatch(text.strip())) and worded[1].lower() in _MONTHS:
        year, month, day = int(worded[3]), _MONTHS[worded[1].lower()], int(worded[2])
        hour, minute, second = int(worded[4]) % 12 + (12 if worded[7].lower() == "pm" else 0), int(worded[5]), int(worded[6] or 0)
    else:
        return iso_moment(text)[0]
    return iso_moment(f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")[0]
