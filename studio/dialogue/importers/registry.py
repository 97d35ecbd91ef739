"""Every format that is read as dialogue, and which of them a file is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from studio.dialogue.importers import discord, haruhi, marked, messenger, roleplay, rows, scripts, signal, telegram, whatsapp
from studio.dialogue.importers.base import Asked, Intake
from studio.dialogue.importers.files import File
from studio.errors import StudioError

Reader = Callable[[File, Intake, Asked, Mapping[str, str]], None]


class Format(msgspec.Struct, frozen=True):
    name: str
    title: str
    """What it is, in words."""
    unit: str
    """What its records are: ``row`` or ``message``."""
    looks: Callable[[File], bool]
    read: Reader
    last_resort: bool = False
    """Taken only if no other format fits."""


FORMATS: tuple[Format, ...] = (
    *(
        Format(name, title, "row", lambda file: False, rows.read)
        for name, title in (
            ("messages", "OpenAI messages: JSON lines or array of {messages: [{role, content}]}"),
            ("sharegpt", "ShareGPT: {conversations: [{from, value}]}"),
            ("alpaca", "Alpaca: JSON array of {instruction, input, output, history}"),
            ("trl", "TRL preference: {prompt, chosen, rejected}, into the preference set"),
            ("sharegpt-preference", "ShareGPT preference: {conversations, chosen, rejected}, into the preference set"),
            ("kto", "KTO: {prompt, completion, label}, both labels of a prompt make pairs of the preference set"),
        )
    ),
    Format("chatml", "text with <|im_start|>role … <|im_end|>", "row", marked.looks_chatml, marked.read_chatml),
    Format("metharme", "text with <|system|> <|user|> <|model|>", "row", marked.looks_metharme, marked.read_metharme),
    Format("pygmalion", "text with NAME's Persona:, <START> and You:", "row", marked.looks_pygmalion, marked.read_pygmalion),
    Format("pippa", "PIPPA: JSON lines of {bot_name, conversation: [{message, is_human}]}", "message", roleplay.looks_pippa, roleplay.read_pippa),
    Format("characterai", "Character.AI dump: {info, histories}", "message", roleplay.looks_characterai, roleplay.read_characterai),
    Format(
        "sillytavern",
        "SillyTavern chat, JSON lines; swipes become preference pairs",
        "message",
        roleplay.looks_sillytavern,
        roleplay.read_sillytavern,
    ),
    Format("haruhi", "ChatHaruhi text: NAME:「line」", "message", haruhi.looks_text, haruhi.read_text),
    Format("haruhi-jsonl", "ChatHaruhi JSON lines: {dialogue: [{role, text}]}", "message", haruhi.looks_lines, haruhi.read_lines),
    Format("script", "script: NAME: line", "message", scripts.looks_text, scripts.read_text, last_resort=True),
    Format("table", "CSV, TSV or JSON with a speaker and a text column", "message", scripts.looks_table, scripts.read_table, last_resort=True),
    Format("game", "game dialogue: {text: [{NAME: line}, {CHOICE: [[…], […]]}]}", "message", scripts.looks_game, scripts.read_game),
    Format("whatsapp", "WhatsApp's exported chat, of every country", "message", whatsapp.looks, whatsapp.read),
    Format("telegram", "Telegram's result.json, one chat or a whole account", "message", telegram.looks, telegram.read),
    Format("discord", "DiscordChatExporter's JSON, parts of one channel together", "message", discord.looks, discord.read),
    Format("messenger", "Facebook Messenger's message_1.json, and its end-to-end export", "message", messenger.looks_messenger, messenger.read),
    Format("instagram", "Instagram's message_1.json", "message", messenger.looks_instagram, messenger.read),
    Format("signal", "signal-export's data.json", "message", signal.looks_data, signal.read_data),
    Format("signal-chat", "signal-export's chat.md", "message", signal.looks_chat, signal.read_chat),
)

NAMES = tuple(format_.name for format_ in FORMATS)
ROWS = Format("", "training data, each record told by its keys", "row", rows.looks, rows.read)
"""Messages, ShareGPT, Alpaca and preference rows may stand in one file."""


class AmbiguousFormat(StudioError):
    """A file that more than one format fits."""

    def __init__(self, file: str, names: list[str]) -> None:
        said = " or ".join(f"--format {name}" for name in names)
        super().__init__(f"{file} could be {' or '.join(names)}, and nothing in it tells which; say it with {said}.")
        self.file, self.names = file, names


CHATS = ("chatml", "metharme", "pygmalion", "whatsapp", "signal-chat")
"""Plain text that is nothing but talk."""


def chat_of(file: File) -> str:
    """Which of ``CHATS`` a text is in; empty if in none."""
    return next((name for name in CHATS if by_name(name).looks(file)), "")


def by_name(name: str) -> Format:
    return next(format_ for format_ in FORMATS if format_.name == name)


def detect(file: File) -> Format | None:
    """The format of a file; None if it is none of them. AmbiguousFormat if more than one fits."""
    found = [format_ for format_ in FORMATS if not format_.last_resort and format_.looks(file)]
    if ROWS.looks(file):
        found.append(ROWS)
    found = found or [format_ for format_ in FORMATS if format_.last_resort and format_.looks(file)]
    if len(found) > 1:
        raise AmbiguousFormat(file.shown, [format_.name or "messages" for format_ in found])
    return found[0] if found else None
