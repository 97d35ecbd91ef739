"""Text from files, models and people is data: nothing in it is obeyed by the terminal or read as markup, wherever it is shown."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest

from studio.dialogue.adding import add as add_dialogue
from studio.jobs.runs import append_event, update_status
from studio.lore.sources import add as add_lore
from studio.persona.folder import Persona, open_persona, save_manifest
from studio.tui.app import StudioApp

from .places import make_checkpoint, make_persona, make_run, press, said, screen_text, settled

EVIL = (
    "[/] [bold]b[/bold] [@click=app.quit]x[/] [/some/path] $primary {0} %s \x1b[2J\x1b]52;c;aGk=\x07\x1b]2;t\x07 \x9b2J \x00 \x7f \u202egnp\u2066 "
    "مرحبا שלום 日本語 👩‍👩‍👧‍👦 🇳🇱 e\u0301\u0323 \ufdfd"
)
ALLOWED = set("\u200d")
"""Format characters that draw something: the joiner of emoji."""


def assert_harmless(app: StudioApp) -> None:
    text = screen_text(app)
    for character in text.replace("\n", ""):
        category = unicodedata.category(character)
        assert category not in ("Cc", "Cs") and (category != "Cf" or character in ALLOWED), f"{character!r} reached the screen:\n{text}"
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            assert not (segment.style and "click" in (segment.style.meta or {})), f"an action hides in {segment.text!r}"


@pytest.fixture
def hostile(tmp_path: Path) -> Persona:
    persona = make_persona(tmp_path)
    card = {"name": EVIL, "description": EVIL * 4, "personality": EVIL, "first_mes": EVIL}
    persona.card.write_text(json.dumps(card))
    manifest = persona.manifest
    manifest.name = f"M {EVIL}"
    manifest.character.name, manifest.character.user, manifest.character.system_prompt = EVIL, EVIL, EVIL
    save_manifest(persona.root, manifest)
    source = tmp_path / "evil"
    source.mkdir()
    name = "".join(c for c in EVIL if c not in "/\x00")
    while len(name.encode()) > 200:
        name = name[:-1]
    (source / f"{name}.md").write_text("# Evil\n\n" + f"{EVIL}\n\n" * 40 + f"tail {EVIL}", encoding="utf-8")
    (source / f"{name}.jsonl").write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": f"{n} {EVIL}", "name": EVIL}, {"role": "assistant", "content": EVIL}]}) + "\n"
            for n in range(5)
        )
        + '{"messages": [{"role": "'
        + "[/]\\u001b[2J"
        + '", "content": "x"}]}\n',
        encoding="utf-8",
    )
    (source / "notes.xyz").write_text(EVIL.replace("\ud800", ""))
    add_lore(persona, [source / f"{name}.md"], as_is=True)
    add_dialogue(persona, [source / f"{name}.jsonl"])
    run = make_run(persona, state="failed")
    update_status(run, message=EVIL, phase=EVIL, checkpoints=[EVIL])
    append_event(run, "warning", text=EVIL)
    append_event(run, "phase", name=EVIL)
    append_event(run, EVIL, step=EVIL)
    append_event(run, "step", step="nonsense", loss=None)
    (run / "log.txt").write_bytes(f"line {EVIL}\r\n50%\r100%\n".encode() + bytes(range(256)) * 3)
    inputs = json.loads((run / "inputs.json").read_bytes()) | {"parent": EVIL, "snapshot": EVIL}
    (run / "inputs.json").write_bytes(msgspec.json.encode(inputs))
    (run / "recipe.toml").write_text(f"# {EVIL.replace(chr(0), '')}\n", encoding="utf-8")
    made = make_checkpoint(persona, "evil", "cpt", "base", "full", "2026-01-03T10:00:00Z", {"val_loss": 1.0})
    card_file = (made / "checkpoint.toml").read_text(encoding="utf-8")
    quoted = json.dumps(EVIL.replace("\x7f", ""))
    (made / "checkpoint.toml").write_text(re.sub(r'(?m)^(id|name|run|base) = ".*"$', lambda m: f"{m[1]} = {quoted}", card_file), encoding="utf-8")
    return open_persona(persona.root)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_every_surface(hostile: Persona, size: tuple[int, int]) -> None:
    app = StudioApp(hostile)
    ways: tuple[tuple[str, ...], ...] = (
        (),
        ("pagedown",),
        ("pagedown", "pagedown"),
        ("o",),
        ("2",),
        ("enter",),
        ("end",),
        ("q", "c"),
        ("q", "n"),
        ("q", "home", "enter"),
        ("3", "end"),
        ("enter",),
        ("q", "p"),
        ("t",),
        ("q", "c"),
        ("4",),
        ("enter",),
        ("l",),
        ("i",),
        ("q", "x"),
        ("5", "end"),
        ("enter",),
        ("q", "space", "z"),
        ("escape", "s"),
        ("escape", "d"),
        ("6",),
        ("s",),
        ("7",),
        ("question_mark",),
        ("ctrl+p",),
    )
    async with app.run_test(size=size, notifications=True) as pilot:
        await settled(pilot)
        for way in ways:
            await press(pilot, *way)
            if way == ("o",) or way == ("s",):
                await press(pilot, "escape")
            assert_harmless(app)
        assert not app.crash


async def test_markup_in_text_is_shown_and_not_read(hostile: Persona) -> None:
    app = StudioApp(hostile)
    async with app.run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        text = await press(pilot, "2", "home", "enter")
        assert "[/] [bold]b[/bold] [@click=app.quit]x[/] [/some/path]" in text
        assert "␛[2J␛]52;c;aGk=" in text
        text = await press(pilot, "4", "enter")
        assert "[/] [bold]b[/bold]" in text


async def test_a_hostile_sentence_in_a_toast(hostile: Persona) -> None:
    app = StudioApp(hostile)
    async with app.run_test(size=(120, 30), notifications=True) as pilot:
        await settled(pilot)
        screen: Any = app.screen
        screen.say(EVIL, bad=True)
        await settled(pilot)
        assert "[bold]b[/bold]" in said(app)
        assert_harmless(app)


async def test_a_damaged_file_of_each_kind_leaves_the_app_standing(persona: Persona) -> None:
    (persona.lore / "broken.md").write_bytes(b"ok\n\xff\xfe broken \x80\n" * 10)
    (persona.dialogue / "0002.jsonl").write_bytes(b'{"id": "d1", "messages": "no"}\n\xff\xff\n{"half')
    (persona.checkpoints / "half").mkdir()
    (persona.checkpoints / "half" / "checkpoint.toml").write_text("id = ")
    (persona.runs / "cpt-9").mkdir()
    (persona.runs / "cpt-9" / "status.json").write_text("{")
    persona.card.write_text("{}")
    (persona.root / "votes.jsonl").write_bytes(b'{"half\n\xff\n')
    app = StudioApp(persona)
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        for way in (("pagedown",), ("2", "enter"), ("q", "b"), ("c",), ("3", "end"), ("enter",), ("4",), ("5",), ("6",), ("7",), ("1",)):
            await press(pilot, *way)
            assert not app.crash
        assert "broken UTF-8" in said(app)
