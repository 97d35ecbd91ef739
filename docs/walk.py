"""The pictures of ``docs/walk.md``, taken from the real app by its keys: ``python docs/walk.py [FOLDER]``.

A messy source is made first, of the conversations of the sample persona: a WhatsApp export, a Discord export, an old text file that was
once saved wrongly, and a SillyTavern chat with swipes. Then one goes from these files to a snapshot, as a person would.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from studio.persona.folder import Persona, create
from studio.tui.app import StudioApp

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "personas" / "wen" / "dialogue"
OUT = HERE / "walk"
WIDE, NARROW = (132, 34), (104, 30)
KEYS = {"/": "slash", ".": "full_stop", "-": "minus", "_": "underscore", " ": "space", '"': "quotation_mark", "[": "left_square_bracket",
        "]": "right_square_bracket", "=": "equals_sign", ",": "comma", ":": "colon", ">": "greater_than_sign"}  # fmt: skip


def talks() -> tuple[list[list[dict[str, str]]], list[list[dict[str, str]]]]:
    """English and Chinese conversations of the sample."""
    rows = [json.loads(line)["messages"] for path in sorted(SAMPLE.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    english = [row for row in rows if all(ord(c) < 0x2E80 for m in row for c in m["content"])]
    return english, [row for row in rows if row not in english]


def whatsapp(path: Path, rows: list[list[dict[str, str]]], chance: random.Random) -> None:
    """Bursts, media that was left out, deleted lines, somebody who came by, an address and a phone number."""
    now = datetime(2023, 11, 2, 18, 41)
    lines = [f"{now:%d/%m/%Y, %H:%M} - Messages and calls are end-to-end encrypted. No one outside of this chat can read or listen to them."]

    def say(who: str, text: str) -> None:
        nonlocal now
        lines.append(f"{now:%d/%m/%Y, %H:%M} - {who}: {text}")
        now += timedelta(minutes=chance.choice([0, 0, 1, 1, 2, 5]))

    for number, row in enumerate(rows):
        for message in row:
            for part in message["content"].split("\n\n"):
                say("Wen 🧳" if message["role"] == "assistant" else "Tom", part)
            if chance.random() < 0.1:
                say(*chance.choice([("Wen 🧳", "<Media omitted>"), ("Tom", "<Media omitted>"), ("Tom", "This message was deleted"), ("Tom", "👍🏽")]))
        if number == 3:
            say("Tom", "mail me at tom.harker@gmail.com or call +44 20 7946 0018")
            say("Wen 🧳", "Written down, tom.harker@gmail.com. The telephone is in the third drawer and does not ring.")
        if number == 9:
            lines.append(f"{now:%d/%m/%Y, %H:%M} - Tom added Otto")
            say("Otto", "hey is this the lost property place? 😂")
            say("Wen 🧳", "It is. What did you lose?")
        now += timedelta(hours=chance.choice([9, 14, 30, 60]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def discord(path: Path, rows: list[list[dict[str, str]]]) -> None:
    """Two people in Chinese, a bot between them, lines of the app, pictures."""
    now, messages = datetime(2024, 2, 1, 20), list[dict[str, Any]]()

    def say(who: str, text: str, kind: str = "Default", bot: bool = False, files: int = 0) -> None:
        nonlocal now
        now += timedelta(seconds=50)
        author = {"id": str(sum(map(ord, who))), "name": who, "nickname": who, "isBot": bot}
        attached = [{"id": str(n), "url": "x.png", "fileName": "x.png", "fileSizeBytes": 3} for n in range(files)]
        messages.append({"id": str(len(messages)), "type": kind, "timestamp": f"{now.isoformat()}+00:00", "content": text,
                         "author": author, "attachments": attached, "embeds": [], "stickers": []})  # fmt: skip

    for number, row in enumerate(rows):
        for message in row:
            say("Wen" if message["role"] == "assistant" else "小林", message["content"])
        if number % 10 == 4:
            say("MEE6", "GG @小林, you just advanced to level 3!", bot=True)
        if number % 12 == 6:
            say("小林", "", files=1)
        if number % 15 == 8:
            say("小林", "Joined the server.", "GuildMemberJoin")
        now += timedelta(hours=20)
    guild = {"guild": {"id": "1", "name": "Lost property"}, "channel": {"id": "2", "type": "GuildTextChat", "name": "柜台"}}
    path.write_text(json.dumps(guild | {"messages": messages}, ensure_ascii=False), encoding="utf-8")


def notes(path: Path, rows: list[list[dict[str, str]]]) -> None:
    """UTF-8 that some editor took for Windows-1252 and saved again."""
    import ftfy.bad_codecs  # noqa: F401  registers sloppy-windows-1252, which maps every byte as such editors did

    said = "\n\n".join(
        "\n".join(f"{'WEN' if m['role'] == 'assistant' else 'TOM'}: {' '.join(m['content'].split())}" for m in row).replace("'", "’") for row in rows
    )
    path.write_bytes(said.encode().decode("sloppy-windows-1252").encode())


def sillytavern(path: Path, rows: list[list[dict[str, str]]]) -> None:
    """A role play in which some replies were swiped away; two of these are the other way round in another chat."""
    stock = ["I'm sorry to hear that! As an AI language model, I'm always here to help.", "Oh no! Would you like to talk about it?", "Okay."]
    lines: list[dict[str, Any]] = [{"user_name": "Tom", "character_name": "Wen", "create_date": "2024-7-12@01h31m37s", "chat_metadata": {}}]
    for number, row in enumerate(rows):
        for message in row:
            hers = message["role"] == "assistant"
            line = {
                "name": "Wen" if hers else "Tom",
                "is_user": not hers,
                "send_date": f"2024-7-{1 + number % 28}@01h31m37s",
                "mes": message["content"],
            }
            if hers:
                line |= {"swipe_id": 1, "swipes": [stock[(number + len(lines)) % 3], message["content"]]}
            lines.append(line)
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8")


def make_source(folder: Path) -> None:
    english, chinese = talks()
    whatsapp(folder / "WhatsApp Chat with Wen.txt", english[:90], random.Random(5))
    discord(folder / "柜台 [discord].json", chinese[:60])
    notes(folder / "old notes.txt", english[90:120])
    sillytavern(folder / "Wen - 2024-7-12.jsonl", english[120:135])


async def settled(pilot: Any) -> None:
    for _ in range(3000):
        await pilot.pause(0.05)
        if not pilot.app.busy and pilot.app.pulse is not None:
            break
    await pilot.pause(0.3)


async def press(pilot: Any, *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


async def write(pilot: Any, text: str) -> None:
    from textual.widgets import Input

    pilot.app.screen.query_one(Input).value = text
    await pilot.pause(0.2)


async def walk(persona: Persona, source: Path) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=NARROW) as pilot:

        async def picture(name: str) -> None:
            app.clear_notifications()
            await pilot.pause(0.3)
            (OUT / f"{name}.svg").write_text(app.export_screenshot(title="persona studio"), encoding="utf-8")

        await settled(pilot)
        await press(pilot, "3", "a")
        await write(pilot, f'"{source}/柜台 [discord].json" "{source}/old notes.txt" "{source}/WhatsApp Chat with Wen.txt"')
        await press(pilot, "enter")
        # 小林 and Tom (who is TOM in the notes) are who she talks with; the bot and Otto are nobody.
        screen = app.screen
        names = [name for name, _, _ in screen.speakers]  # type: ignore[attr-defined]
        for name in ("小林", "Tom"):
            await press(pilot, "home", *["down"] * [n.casefold() for n in names].index(name.casefold()), "m")
        await press(pilot, "O")
        await picture("1-who-is-who")
        await press(pilot, "enter")
        await picture("2-what-would-be-added")
        await press(pilot, "enter", "a")
        await write(pilot, str(source / "Wen - 2024-7-12.jsonl"))
        await press(pilot, "enter", "enter")
        if app.screen.query("Pager") and len(app.screen_stack) > 1:
            await press(pilot, "q")
        await press(pilot, "c")
        await picture("3-checks")
        await press(pilot, "w", "p")
        await picture("4-personal-data")
        await press(pilot, "s", "y", "q", "q")
        await pilot.resize_terminal(*WIDE)
        await settled(pilot)
        await press(pilot, "slash")
        await write(pilot, "src:WhatsApp -is:rejected")
        await press(pilot, "enter", "down", "y", "x", "down")
        await picture("5-rows")
        await press(pilot, "escape", "v", "slash")
        await write(pilot, "flag:length")
        await press(pilot, "enter", "down", "enter")
        await picture("6-a-pair")
        await press(pilot, "q", "q")
        await pilot.resize_terminal(*NARROW)
        await press(pilot, "b", "down", "enter")
        await picture("7-data-card")
    if app.crash:
        raise SystemExit(app.crash)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    os.environ.setdefault("STUDIO_HOME", str(folder / "home"))
    os.environ |= {"TEXTUAL_ANIMATIONS": "none", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    OUT.mkdir(exist_ok=True)
    source = folder / "from her phone"
    source.mkdir(parents=True)
    make_source(source)
    asyncio.run(walk(create("Wen Tolliver", "pocket", parent=folder), source))


if __name__ == "__main__":
    main()
