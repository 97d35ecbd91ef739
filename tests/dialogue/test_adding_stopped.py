"""Adding that is stopped leaves nothing behind, wherever it is stopped; how far it is never runs backwards."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from studio.dialogue.adding import add
from studio.dialogue.store import rows
from studio.errors import StudioError
from studio.persona.folder import Persona, create


def files(persona: Persona) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in persona.root.rglob("*") if path.is_file() and path.name != "lock"}


def source(folder: Path) -> Path:
    path = folder / "export.zip"
    chat = "".join(f"[0{1 + n % 9}.05.24, 20:{n % 60:02}:00] {('Tom', 'Mira')[n % 2]}: line {n}\n" for n in range(900))
    talk = "".join(
        json.dumps({"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}]}) + "\n" for n in range(900)
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_chat.txt", chat)
        archive.writestr("talk.jsonl", talk)
        archive.writestr("picture.jpg", b"\xff" * 50_000)
    return path


def test_stopped_anywhere_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    persona = create("Mira", "pocket", parent=tmp_path)
    path = source(tmp_path)
    before = files(persona)
    told: list[tuple[str, int, int]] = []

    def record(what: str, done: int, whole: int) -> None:
        told.append((what, done, whole))

    add(persona, [path], dry_run=True, progress=record)
    assert files(persona) == before
    reading = [done / whole for what, done, whole in told if what.startswith(("_chat.txt", "talk.jsonl"))]
    assert len(reading) > 6 and reading == sorted(reading) and 0.8 < reading[-1] <= 1
    for stop_at in range(0, len(told), 3):
        calls = 0

        def stop(what: str, done: int, whole: int, at: int = stop_at) -> None:
            nonlocal calls
            calls += 1
            if calls > at:
                raise StudioError("Stopped.")

        with pytest.raises(StudioError, match=r"^Stopped\.$"):
            add(persona, [path], progress=stop)
        assert files(persona) == before, f"stopped at {told[stop_at]}"

    def too_late(what: str, done: int, whole: int) -> None:
        if what == "rows being written":
            raise StudioError("Stopped.")

    report = add(persona, [path], progress=too_late)
    assert report.kept == sum(1 for _ in rows(persona)) > 900, "what is being written is brought to its end"
