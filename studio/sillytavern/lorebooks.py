"""World info (SillyTavern) and a card's ``character_book``: the same entries in two layouts, turned into each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError

CAME_AS = "persona_studio_world_info"
"""Key in an entry's ``extensions`` under which the world info entry it was made from is kept whole."""

POSITIONS = {"before_char": 0, "after_char": 1}


def to_character_book(world: dict[str, Any]) -> dict[str, Any]:
    """A world info file as a character book. The original entries travel in the extensions, so that nothing is lost on the way back."""
    if isinstance(world.get("originalData"), dict) and not world.get("entries"):
        return dict(world["originalData"])
    entries: list[dict[str, Any]] = []
    for key, entry in _entries(world):
        entries.append(
            {
                "keys": list(entry.get("key") or []),
                "secondary_keys": list(entry.get("keysecondary") or []),
                "comment": str(entry.get("comment") or ""),
                "content": str(entry.get("content") or ""),
                "constant": bool(entry.get("constant")),
                "selective": bool(entry.get("selective")),
                "insertion_order": int(entry.get("order") or 0),
                "enabled": not entry.get("disable"),
                "position": "before_char" if entry.get("position", 0) == 0 else "after_char",
                "use_regex": True,
                "case_sensitive": entry.get("caseSensitive"),
                "id": entry.get("uid", int(key) if key.isdigit() else len(entries)),
                "extensions": {CAME_AS: {"key": key, "entry": entry}},
            }
        )
    rest = {key: value for key, value in world.items() if key not in ("entries", "name")}
    return {"name": str(world.get("name") or ""), "extensions": {CAME_AS: rest} if rest else {}, "entries": entries}


def to_world_info(book: dict[str, Any]) -> dict[str, Any]:
    """A character book as a world info file. An entry that came from one and was not changed since goes back exactly as it was."""
    entries: dict[str, Any] = {}
    for number, entry in enumerate(e for e in book.get("entries") or [] if isinstance(e, dict)):
        extensions = entry.get("extensions") or {}
        came = extensions.get(CAME_AS)
        own = {
            "uid": entry.get("id", number),
            "key": list(entry.get("keys") or []),
            "keysecondary": list(entry.get("secondary_keys") or []),
            "comment": str(entry.get("comment") or entry.get("name") or ""),
            "content": str(entry.get("content") or ""),
            "constant": bool(entry.get("constant")),
            "selective": bool(entry.get("selective")),
            "order": entry.get("insertion_order", 100),
            "position": POSITIONS.get(str(entry.get("position")), extensions.get("position", 0)),
            "disable": not entry.get("enabled", True),
            "extensions": {key: value for key, value in extensions.items() if key != CAME_AS},
        }
        if isinstance(came, dict) and isinstance(came.get("entry"), dict):
            original = came["entry"]
            # Written anew are only the fields that both layouts have and that differ.
            back = dict(original)
            for key in ("key", "keysecondary", "comment", "content", "constant", "selective", "disable"):
                if _plain(original.get(key)) != _plain(own[key]):
                    back[key] = own[key]
            entries[str(came.get("key", number))] = back
        else:
            entries[str(number)] = own
    rest = (book.get("extensions") or {}).get(CAME_AS) or {}
    named = {"name": book["name"]} if book.get("name") else {}
    return {**named, **rest, "entries": entries}


def _plain(value: Any) -> Any:
    """Absent, empty and false are the same in both layouts."""
    return value or None


def _entries(world: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = world.get("entries")
    pairs = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    return [(str(key), entry) for key, entry in pairs if isinstance(entry, dict)]


def read_world_info(path: Path) -> dict[str, Any]:
    """A world info file; StudioError if it is none."""
    try:
        world = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise StudioError(f"The lorebook {path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is no lorebook: its JSON cannot be read ({error}).") from error
    if not isinstance(world, dict) or not isinstance(world.get("entries"), dict | list):
        raise StudioError(f"{path} is no lorebook: it has no entries (SillyTavern's world info is read).")
    return world
