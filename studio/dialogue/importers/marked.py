"""Text with turns marked in it: ChatML, Metharme, Pygmalion. One conversation is one record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from studio.dialogue.formats import BadRow, Message
from studio.dialogue.importers.base import Asked, Intake
from studio.dialogue.importers.files import File

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "model": "assistant", "bot": "assistant", "gpt": "assistant"}

_CHATML = re.compile(r"<\|im_start\|>[ \t]*([^\n<]{0,80})\n?")
_END_OF_TEXT = re.compile(r"<\|endoftext\|>|</?s>")
_METHARME = re.compile(r"<\|(system|user|model)\|>")
_PERSONA = re.compile(r"^(?P<name>[^\n:：]{1,60})['’]s Persona:[ \t]*", re.MULTILINE)
_START = re.compile(r"^[ \t]*<START>[ \t]*$", re.MULTILINE | re.IGNORECASE)
_TURN = re.compile(r"^(?P<name>[^\n:：]{1,40})[:：][ \t]?")


def looks_chatml(file: File) -> bool:
    return _text(file).count("<|im_start|>") >= 2


def looks_metharme(file: File) -> bool:
    return bool({"user", "model"} <= set(_METHARME.findall(_text(file))))


def looks_pygmalion(file: File) -> bool:
    text = _text(file)
    return bool(
        (_START.search(text) and _TURN.search(_START.split(text, maxsplit=1)[1].lstrip("\n"))) or (_PERSONA.search(text) and "\nYou:" in text)
    )


def _text(file: File) -> str:
    """The beginning, if it is plain text and no JSON."""
    text = file.head
    return "" if text.lstrip()[:1] in ("{", "[") else text


def read_chatml(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    for line, block in _blocks(file.text, _CHATML, lambda role: role.split(" ")[0] == "system"):
        _take(into, line, partial(chatml_turns, block, roles))


def read_metharme(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    for line, block in _blocks(file.text, _METHARME, lambda role: role == "system"):
        _take(into, line, partial(metharme_turns, block))


def read_pygmalion(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    persona, character, line = "", "", 1
    for block in _START.split(file.text):
        began = line + len(block) - len(block.lstrip("\n"))
        line += block.count("\n")
        head = _PERSONA.search(block)
        if head:
            character = head["name"].strip()
            persona = block[head.end() :].strip()
            if not re.search(r"^You:", persona, re.MULTILINE):
                continue
            persona, _, turns = persona.partition("\nYou:")
            block, persona = f"You:{turns}", persona.strip()
        if block.strip():
            _take(into, began, partial(pygmalion_turns, block, persona, character, roles))


def _take(into: Intake, line: int, read: Callable[[], list[Message]]) -> None:
    into.read()
    try:
        into.record(read(), line)
    except BadRow as bad:
        into.drop(bad.reason, line, str(bad))


def _blocks(text: str, mark: re.Pattern[str], opens: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """``(line, conversation)``: a new one begins at an end-of-text mark and at a system turn after others."""
    line = 1
    for piece in _END_OF_TEXT.split(text):
        start = 0
        for found in mark.finditer(piece):
            if opens(found[1].strip()) and mark.search(piece, start, found.start()):
                yield line + piece.count("\n", 0, start), piece[start : found.start()]
                start = found.start()
        if piece[start:].strip():
            before = piece[start:]
            yield line + piece.count("\n", 0, start) + before[: len(before) - len(before.lstrip())].count("\n"), before
        line += piece.count("\n")


def chatml_turns(text: str, roles: Mapping[str, str]) -> list[Message]:
    """Raises BadRow for a role that is none; names of speakers may stand for roles (``roles``)."""
    found = []
    for turn in re.split(r"<\|im_start\|>", text)[1:]:
        head, _, body = turn.partition("\n")
        label, _, name = head.strip().partition(" name=")
        role = roles.get(name.strip()) or roles.get(label) or _ROLES.get(label.lower(), "")
        if not role:
            raise BadRow("unknown role", f"the role {label[:24]!r} is none of system, user, assistant; --me or --character can name it")
        found.append(Message(role, body.partition("<|im_end|>")[0], name.strip() or (label if label in roles else "")))
    if not found:
        raise BadRow("no messages", "there is no <|im_start|> in it")
    return found


def metharme_turns(text: str) -> list[Message]:
    pieces = _METHARME.split(text)
    found = [Message(_ROLES[role], body) for role, body in zip(pieces[1::2], pieces[2::2], strict=True)]
    if not found:
        raise BadRow("no messages", "there is no <|user|> or <|model|> in it")
    return found


def pygmalion_turns(text: str, persona: str, character: str, roles: Mapping[str, str]) -> list[Message]:
    """``You:`` is the user, the persona's own name the character. Lines without a name go on with the turn before."""
    found = [Message("system", persona)] if persona else []
    texts: list[list[str]] = [[persona]] if persona else []
    names: list[str] = []
    for line in text.strip("\n").split("\n"):
        turn = _TURN.match(line)
        name = turn["name"].strip() if turn else ""
        role = roles.get(name) or ("user" if name in ("You", "<USER>", "{{user}}") else "")
        if not role and name and (name == character or name in ("{{char}}", "<BOT>") or (not character and (name in names or not names))):
            role = "assistant"
            names.append(name)
        if turn and role:
            found.append(Message(role, "", "" if name.startswith(("<", "{")) else name))
            texts.append([line[turn.end() :]])
        elif found and found[-1].role != "system":
            texts[-1].append(line)
        elif line.strip():
            raise BadRow("no speaker", "the first line after <START> says no speaker")
    if not any(message.role != "system" for message in found):
        raise BadRow("no messages", "there is no turn in it")
    for message, lines in zip(found, texts, strict=True):
        message.content = "\n".join(lines)
    return found
