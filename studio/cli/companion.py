"""``studio card | chats | external | export``: what goes to and comes from the programs people talk to her in."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from studio.cli import output
from studio.errors import StudioError, UsageError
from studio.files import write_atomic
from studio.persona.folder import Persona

if TYPE_CHECKING:
    from studio.persona.cards import Card


def card(arguments: Namespace, persona: Persona) -> None:
    from studio.persona.cards import Card, read_card, to_png
    from studio.sillytavern.lorebooks import read_world_info, to_character_book, to_world_info

    if arguments.action == "set":
        path = Path(arguments.file)
        if path.suffix.lower() == ".json" and _is_lorebook(path):
            found = _own_card(persona)
            raw = found.as_spec(3)
            raw["data"]["character_book"] = to_character_book(read_world_info(path))
            found = Card(raw)
            said = f"{found.name} has the lorebook {path.name} now: {len(raw['data']['character_book']['entries'])} entries."
        else:
            found = read_card(path)
            said = f"{found.name} is the card of {persona.name} now."
        with persona.exclusive():
            write_atomic(persona.card, found.to_json())
        output.say(said)
        return
    found = _own_card(persona)
    if arguments.action == "export":
        path = Path(arguments.to)
        if arguments.layout == "lorebook":
            book = found.data.get("character_book")
            if not isinstance(book, dict) or not book.get("entries"):
                raise StudioError(f"The card of {persona.name} has no lorebook to export.")
            data = msgspec.json.format(msgspec.json.encode(to_world_info(book)), indent=2)
        elif path.suffix.lower() == ".png":
            data = to_png(found, Path(arguments.picture).read_bytes() if arguments.picture else b"")
        else:
            data = msgspec.json.format(msgspec.json.encode(found.as_spec(2 if arguments.layout == "v2" else 3)), indent=2)
        write_atomic(path, data)
        output.say(f"Written: {path}")
    elif arguments.json:
        output.json(found.raw)
    else:
        for name in ("name", "description", "personality", "scenario", "first_mes", "system_prompt"):
            if text := found.field(name):
                output.say(f"{name}: {text}")
        book = found.data.get("character_book") or {}
        output.say(f"greetings: {len(found.greetings(persona.manifest.character.user))}, lorebook entries: {len(book.get('entries') or [])}")


def _own_card(persona: Persona) -> Card:
    from studio.persona.cards import read_card

    if not persona.card.is_file():
        raise StudioError(f"{persona.name} has no card yet; give it one with: studio card set FILE")
    return read_card(persona.card)


def _is_lorebook(path: Path) -> bool:
    try:
        value = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False  # the reader of cards says what is wrong with it
    return isinstance(value, dict) and "entries" in value and "data" not in value and "first_mes" not in value


def chats(arguments: Namespace, persona: Persona) -> None:
    from studio.review.chats import all_chats, read_chat
    from studio.sillytavern.chats import export_chat, import_chat

    match arguments.action:
        case "show":
            chat = read_chat(persona, arguments.chat)
            if arguments.json:
                output.json({"id": chat.id, "checkpoint": chat.checkpoint, "messages": chat.messages})
                return
            names = {"user": persona.manifest.character.user, "assistant": persona.manifest.character.name}
            for message in chat.messages:
                output.say(f"{names.get(message.role, message.role)}: {message.content}")
        case "import":
            for file in arguments.files:
                chat, report = import_chat(persona, Path(file))
                for fault in report.faults:
                    output.progress(str(fault))
                if arguments.json:
                    output.json({"id": chat.id, **report.as_json()})
                else:
                    output.say(f"{chat.id}: {report.kept} of {report.read} messages of {file}")
        case "export":
            path = Path(arguments.to)
            written = export_chat(persona, read_chat(persona, arguments.chat), path)
            output.say(f"{written} messages are in {path}, as SillyTavern reads them.")
        case _:
            found = all_chats(persona)
            if arguments.json:
                output.json([{"id": c.id, "checkpoint": c.checkpoint, "messages": len(c.messages)} for c in found])
            else:
                rows = [(c.id, c.checkpoint or str(c.origin.get("file", "")), len(c.messages)) for c in found]
                output.table(("chat", "with", "messages"), rows, "llr")


def export(arguments: Namespace, persona: Persona) -> int:
    from studio.checkpoints.leaving import by_run, leave, left_by, said
    from studio.checkpoints.store import get_checkpoint

    form = arguments.recipe or {"gguf": f"gguf {arguments.type}", "hf": "adapter" if arguments.adapter else "hf"}.get(arguments.format, "sillytavern")
    checkpoint = get_checkpoint(persona, arguments.checkpoint)
    to = Path(arguments.to).expanduser()
    if by_run(form):
        from studio.cli.training import follow
        from studio.launch import start_export

        run = start_export(persona, checkpoint, form, to, arguments.untried)
        if code := follow(run, quiet=arguments.json):
            return code
        left = left_by(run.path)
        if left is None:
            raise StudioError(f"{run.id} is done, but its events do not tell what it wrote; look into {to}.")
    else:
        left = leave(persona, checkpoint, form, to, arguments.untried, output.progress)
    if arguments.json:
        output.json({"files": [str(path) for path in left.files], "tried": left.tried})
    else:
        for line in said(left):
            output.say(line)
    return 0


def external(arguments: Namespace, persona: Persona) -> None:
    """Outside endpoints, named so that they can be chatted with and reviewed."""
    from getpass import getpass

    from studio.checkpoints.store import all_checkpoints
    from studio.engines.keys import set_key
    from studio.persona.folder import External, save_manifest

    known = persona.manifest.external
    match arguments.action:
        case "add":
            if not arguments.url.startswith(("http://", "https://")):
                raise UsageError(f"{arguments.url!r} is no address of an endpoint; give one that begins with http:// or https://.")
            if arguments.name not in known and arguments.name in {c.id for c in all_checkpoints(persona)}:
                raise StudioError(f"{arguments.name} is a checkpoint of {persona.name} already; choose another name.")
            known[arguments.name] = External(arguments.url, arguments.model)
            save_manifest(persona.root, persona.manifest)
            output.say(
                f"{arguments.name} can be chatted with and reviewed like a checkpoint; if it wants a key: studio external key {arguments.name}"
            )
        case "key":
            if arguments.name not in known:
                raise StudioError(f"There is no outside endpoint {arguments.name!r}; there are: {', '.join(known) or 'none'}.")
            key = getpass(f"Key for {known[arguments.name].url} (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()
            set_key(known[arguments.name].url, key.strip())
            output.say(f"The key for {arguments.name} is {'kept on this machine, readable by you only' if key.strip() else 'forgotten'}.")
        case "remove":
            if known.pop(arguments.name, None) is None:
                raise StudioError(f"There is no outside endpoint {arguments.name!r}; there are: {', '.join(known) or 'none'}.")
            save_manifest(persona.root, persona.manifest)
            output.say(f"{arguments.name} is taken away; votes on it are kept.")
        case _:
            if arguments.json:
                output.json([{"name": name, "url": end.url, "model": end.model} for name, end in known.items()])
            else:
                output.table(("name", "address", "model"), [(name, end.url, end.model) for name, end in known.items()])
