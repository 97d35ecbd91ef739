"""Character cards and lorebooks as lore: each entry under its name, decorators and placeholders resolved; and game dialogue in JSON."""

from __future__ import annotations

import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.lore.readers import Reading, Unreadable, ending
from studio.lore.readers.plain import decoded

CARD_FIELDS = (("description", ""), ("personality", "Personality"), ("scenario", "Scenario"))
"""What of a card is lore, and the head it stands under. Greetings and examples are dialogue, prompts are neither."""

LARGEST = 32 * 2**20

CLOZES = {
    "en": "What does this tell of? Answer with its name alone.\n\n“{gap}”",
    "zh": "这段话讲的是什么？只回答名称。\n\n“{gap}”",
    "ja": "これは何についての説明ですか。名前だけで答えてください。\n\n「{gap}」",
    "ko": "이 글은 무엇에 대한 설명인가요? 이름만 답하세요.\n\n“{gap}”",
    "de": "Wovon ist hier die Rede? Antworte nur mit dem Namen.\n\n„{gap}“",
    "fr": "De quoi est-il question ici ? Réponds seulement par le nom.\n\n« {gap} »",
    "es": "¿De qué habla este texto? Responde solo con el nombre.\n\n«{gap}»",
    "ru": "О чём здесь говорится? Ответь только названием.\n\n«{gap}»",
}
GAP = "____"
LEAST_ENTRIES = 4
"""A cloze wants three wrong answers of its own kind: other entries of the book."""


def read(raw: bytes, name: str) -> Reading:
    if len(raw) > LARGEST:
        raise Unreadable("too large", f"it has {len(raw) >> 20} MB, more than the {LARGEST >> 20} MB that are read of a card, book or JSON file")
    kind = ending(name)
    if kind == ".charx":
        from studio.zips import content, opened

        archive = opened(raw)
        inside = next((member for member in archive.infolist() if member.filename == "card.json"), None)
        if inside is None:
            raise Unreadable("no card in it", "there is no card.json in the archive; export the card again")
        raw = content(archive, inside)
    elif kind in (".png", ".apng"):
        raw = _in_picture(raw, name)
    text, encoding = decoded(raw)
    return from_json(text, encoding, name)


def _in_picture(raw: bytes, name: str) -> bytes:
    from studio.persona.cards import card_in_png

    try:
        return card_in_png(raw, Path(name))
    except StudioError as error:
        raise Unreadable("no card in it", str(error)) from error
    except (ValueError, IndexError, struct.error) as error:
        raise Unreadable("no card in it", "the picture is damaged; save the card again") from error


def from_json(text: str, encoding: str, name: str) -> Reading:
    """A card, a lorebook, rows of text or game dialogue in one JSON document."""
    try:
        value = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        at = re.search(r"byte (\d+)", str(error))
        line = text.encode("utf-8", "surrogatepass").count(b"\n", 0, int(at[1])) + 1 if at else 0
        raise Unreadable("no JSON", f"its JSON cannot be read ({str(error)[:120]}); save it anew", line) from error
    if isinstance(value, dict):
        data = value["data"] if isinstance(value.get("data"), dict) else value
        if isinstance(data.get("name"), str) and {"description", "first_mes", "personality"} & data.keys():
            return _card(data, value, encoding)
        if entries := _entries(value):
            return _book(entries, str(value.get("name") or ""), encoding)
        if isinstance(value.get("text"), list) and any(isinstance(line, dict) for line in value["text"]):
            return _game(value["text"], encoding)
    if isinstance(value, list):
        return _documents(value, encoding)
    raise Unreadable(
        "not lore", "of JSON, cards, lorebooks, lists of texts and game dialogue are read; this is none of them (chats: studio dialogue add)"
    )


def _documents(values: list[Any], encoding: str) -> Reading:
    from studio.lore.readers.rows import document_of

    parts: list[str] = []
    changed: Counter[str] = Counter()
    unread: list[tuple[int, str]] = []
    for number, value in enumerate(values, 1):
        text = document_of(value)
        if text is None:
            changed["rows that are no text left out"] += 1
            unread.append((0, f"the {number}. value of the list holds no text")) if len(unread) < 1000 else None
        elif text.strip():
            parts.append(text.strip())
    if not parts:
        raise Unreadable("not lore", 'the list holds no {"text": …}; conversations are added with: studio dialogue add')
    return Reading("\n\n".join(parts) + "\n", "JSON list", encoding, changed, unread)


def _game(lines: list[Any], encoding: str) -> Reading:
    """``[{"Name": "line"}, {"ACTION": …}, {"CHOICE": [[…], […]]}]``; of a choice every way is told, one after the other."""
    changed: Counter[str] = Counter()
    blocks: list[list[str]] = [[]]

    def tell(values: list[Any], depth: int) -> None:
        for value in values:
            if isinstance(value, list) and depth < 40:
                blocks.append([])
                tell(value, depth + 1)
                blocks.append([])
            elif isinstance(value, dict):
                for who, said in value.items():
                    if isinstance(said, list) and depth < 40:
                        changed["choices told one way after the other"] += who.upper() == "CHOICE"
                        tell(said, depth + 1)
                    elif isinstance(said, str) and said.strip():
                        words = " ".join(said.split())
                        blocks[-1].append(f"({words})" if who.upper() in ("ACTION", "SCENE", "NARRATION") else f"{who}: {words}")
            elif isinstance(value, str) and value.strip():
                blocks[-1].append(value.strip())

    tell(lines, 0)
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    if not text:
        raise Unreadable("no text in it", "the game dialogue holds no line")
    return Reading(text + "\n", "game dialogue", encoding, +changed)


class _Entry(msgspec.Struct):
    name: str
    text: str


def _entries(book: dict[str, Any]) -> list[dict[str, Any]]:
    found = book.get("entries")
    values = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
    return [value for value in values if isinstance(value, dict) and isinstance(value.get("content"), str)]


def _card(data: dict[str, Any], outer: dict[str, Any], encoding: str) -> Reading:
    nickname = data.get("nickname")
    character = nickname.strip() if isinstance(nickname, str) and nickname.strip() else str(data["name"]).strip()
    changed: Counter[str] = Counter()
    parts = [f"# {character}"] if character else []
    for field, head in CARD_FIELDS:
        value = data.get(field)
        if isinstance(value, str) and value.strip():
            parts += [*([f"## {head}"] if head else []), resolved(value, character, changed)]
    for field in ("first_mes", "mes_example"):
        if isinstance(data.get(field), str) and data[field].strip():
            changed["greetings and examples left out (they are dialogue)"] += 1
    probes: list[dict[str, object]] = []
    for place in (data, outer):
        book = place.get("character_book")
        if isinstance(book, dict) and (entries := _entries(book)):
            told = _told(entries, character, changed)
            parts += [part for entry in told for part in (f"## {entry.name}", entry.text)]
            probes = clozes(told)
            break
    if len(parts) < 2:
        raise Unreadable("no text in it", "the card has no description, personality, scenario or lorebook")
    return Reading("\n\n".join(parts) + "\n", "character card", encoding, +changed, probes=probes)


def _book(entries: list[dict[str, Any]], name: str, encoding: str) -> Reading:
    changed: Counter[str] = Counter()
    told = _told(entries, "", changed)
    if not told:
        raise Unreadable("no text in it", "every entry of the lorebook is empty or switched off")
    parts = [f"# {name}"] if name else []
    parts += [part for entry in told for part in (f"## {entry.name}", entry.text)]
    return Reading("\n\n".join(parts) + "\n", "lorebook", encoding, +changed, probes=clozes(told))


def _told(entries: list[dict[str, Any]], character: str, changed: Counter[str]) -> list[_Entry]:
    found = []
    for number, entry in enumerate(entries, 1):
        if entry.get("enabled") is False or entry.get("disable") is True:
            changed["entries that are switched off left out"] += 1
            continue
        lines = entry["content"].replace("\r\n", "\n").split("\n")
        while lines and (lines[0].startswith("@@") or not lines[0].strip()):
            changed["decorators left out"] += lines[0].startswith("@@")
            lines.pop(0)
        text = resolved("\n".join(lines), character, changed)
        if not text:
            changed["empty entries left out"] += 1
            continue
        keys = entry.get("keys") if isinstance(entry.get("keys"), list) else entry.get("key")
        key = next((key for key in keys if isinstance(key, str) and key.strip()), "") if isinstance(keys, list) else ""
        name = next((value for field in ("name", "comment") if isinstance(value := entry.get(field), str) and value.strip()), "") or key
        found.append(_Entry(" ".join(resolved(name, character, changed).split()) or f"Entry {number}", text))
    return found


USER = "{{user}}"
"""Left for ``studio.lore.sources``, which knows what the persona calls the other side; so is ``{{char}}`` of a book without a card."""


def resolved(text: str, character: str, changed: Counter[str]) -> str:
    """Macros of cards resolved as far as the card itself can: names, comments, choices (the first)."""
    text = text.replace("\r\n", "\n")
    text, comments = re.subn(r"\{\{(?://|comment:)[^{}]*\}\}", "", text)
    text, choices = re.subn(
        r"\{\{(?:random|pick)\s*:{1,2}([^{}]*)\}\}", lambda found: re.split(r"::|,", found[1])[0].strip(), text, flags=re.IGNORECASE
    )
    changed["card macros resolved"] += comments + choices
    text = re.sub(r"<USER>", USER, re.sub(r"<BOT>", "{{char}}", text))
    text = re.sub(r"\{\{user\}\}", USER, text, flags=re.IGNORECASE)
    if character:
        text, names = re.subn(r"\{\{char\}\}", lambda found: character, text, flags=re.IGNORECASE)
        changed["{{char}} written out"] += names
    else:
        text = re.sub(r"\{\{char\}\}", "{{char}}", text, flags=re.IGNORECASE)
    return text.strip()


def clozes(entries: list[_Entry]) -> list[dict[str, object]]:
    """A question for each entry whose first sentence names it once and says enough to tell it from the others.

    Wrong answers are the next three entries' names. None where the book is small or the sentence gives the name away otherwise.
    """
    from studio.lore.languages import spoken

    good: list[tuple[str, str]] = []
    for entry in entries:
        sentence = re.match(r"[^\n]{20,400}?(?:[.!?](?=\s|$)|[。！？])", entry.text)
        if not sentence or "{{" in entry.name or len(entry.name) > 40 or entry.name.startswith("Entry "):
            continue
        words = re.findall(re.escape(entry.name), sentence[0], re.IGNORECASE)
        parts = re.findall(r"\w{4,}", entry.name.casefold())
        rest = re.sub(re.escape(entry.name), GAP, sentence[0], flags=re.IGNORECASE)
        if len(words) == 1 and not any(part in rest.casefold() for part in parts):
            good.append((entry.name, rest))
    if len({name for name, _ in good}) < LEAST_ENTRIES:
        return []
    names = list(dict.fromkeys(name for name, _ in good))
    found: list[dict[str, object]] = []
    for name, gapped in good:
        at = names.index(name)
        wrong = [other for other in (names[(at + step) % len(names)] for step in range(1, len(names))) if other.casefold() not in gapped.casefold()][
            :3
        ]
        language = spoken(gapped)
        if len(wrong) == 3:
            prompt = CLOZES.get(language, CLOZES["en"]).format(gap=gapped)
            found.append({"kind": "cloze", "lang": language, "prompt": prompt, "answer": name, "wrong": wrong})
    return found
