"""The dialogue browser by keyboard: found, judged, marked, tagged, edited, split, merged, deleted, and each taken back."""

from __future__ import annotations

from pathlib import Path

from studio.dialogue import flags
from studio.dialogue.editing import Editor
from studio.dialogue.store import Row, rows
from studio.persona.folder import Persona
from studio.tui.app import StudioApp
from studio.tui.screens.conversation import ConversationScreen
from studio.tui.table import Table
from studio.tui.turns import Turns

from .places import press, said, screen_text, settled, type_text


def by_source(persona: Persona) -> dict[int, Row]:
    return {row.line: row for row in rows(persona)}


async def test_rows_are_found_judged_and_taken_back(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(110, 30)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3", "y")
        assert "✓ 1 accepted" in text and by_source(persona)[1].state == "accepted"
        assert app.screen.query_one(Table).cursor == 1
        text = await press(pilot, "x", "x")
        assert "✗ 2 rejected" in text
        await press(pilot, "slash")
        await type_text(pilot, "-is:rejected lamp 1")
        text = await press(pilot, "enter")
        assert "-is:rejected lamp 1   12 rows of 40" in text and "What is lamp 21 for?" in text
        await press(pilot, "slash", "end")
        await type_text(pilot, " len>x")
        text = await press(pilot, "enter")
        assert "'x' is not a number" in text
        text = await press(pilot, "escape", "escape")
        assert "all of them" in text
        await press(pilot, "u", "u", "u")
        assert not any(row.state for row in rows(persona))
        assert "u undo" not in screen_text(app)
        await press(pilot, "u")
        assert "There is nothing to undo." in said(app)
        text = await press(pilot, "U")
        assert "✓ 1 accepted" in text
        # Once more on the same row: open again.
        await press(pilot, "home", "y")
        assert by_source(persona)[1].state == ""
    assert not app.crash


async def test_what_is_marked_is_changed_together(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3", "space", "down", "space")
        assert "◉ 2 marked" in text
        await press(pilot, "t")
        await type_text(pilot, "keep best")
        await press(pilot, "enter")
        assert [row.line for row in rows(persona) if row.tags == ["keep", "best"]] == [1, 3]
        assert "2 rows tagged +keep +best. u takes it back." in said(app)
        text = await press(pilot, "f")
        assert "tag:best" in text and "is:open" in text
        await press(pilot, "escape", "asterisk")
        assert "◉ 40 marked" in screen_text(app)
        await press(pilot, "escape", "home", "m")
        merged = by_source(persona)[1]
        assert len(merged.messages) == 4 and 2 not in by_source(persona) and "39 conversations" in screen_text(app)
        text = await press(pilot, "d")
        assert "Take 1 row out of the dialogue?" in text
        await press(pilot, "n")
        assert 1 in by_source(persona)
        await press(pilot, "d", "y")
        assert 1 not in by_source(persona)
        await press(pilot, "u", "u", "u")
        assert len(by_source(persona)) == 40 and not any(row.tags for row in rows(persona))
        await press(pilot, "o")
        await type_text(pilot, "38")
        text = await press(pilot, "enter")
        assert "at 38" in text and "What is lamp 37 for?" in text
    assert not app.crash


async def test_a_conversation_is_edited_split_and_seen_as_the_model_sees_it(persona: Persona) -> None:
    Editor(persona).merge([row.id for row in list(rows(persona))[:2]])
    first = next(rows(persona))
    flags.keep(persona, "slop", 1, 1, [flags.Flagged(first.id, flags.text_of(first), [flags.Flag("slop", "“ministrations”", message=1)])])
    app = StudioApp(persona)
    async with app.run_test(size=(140, 40)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3")
        assert "⚑" in text and "Number 0 is for the ferry" in text  # beside the table
        text = await press(pilot, "enter")
        assert isinstance(app.screen, ConversationScreen)
        assert "1 of 39 · 4 turns" in text and "⚑ slop “ministrations”" in text and "talk.jsonl:1" in text
        await press(pilot, "s")
        assert "Go to the turn that the second part is to begin with." in said(app)
        await press(pilot, "down", "e")
        await press(pilot, "home", "ctrl+k", *"Sit.", "f2")
        assert by_source(persona)[1].messages[1].content == "Sit." and by_source(persona)[1].edited
        text = await press(pilot, "down", "s")
        assert "1 of 40 · 2 turns" in text and "✎ edited by hand" in text
        text = await press(pilot, "right")
        assert "2 of 40 · 2 turns" in text and f"from {first.id}" in text and app.screen.query_one(Turns).cursor == 0
        text = await press(pilot, "p")
        assert "the end of her turn is learned" in text and "<|im_start|>assistant" in text
        text = await press(pilot, "q", "m")
        assert "2 of 39 · 4 turns" in text
        text = await press(pilot, "u", "u", "q")
        assert app.screen.query_one(Table).cursor == 0 or "at 2" in text
        assert "39 conversations" in text
    assert not app.crash


async def test_read_only_reads_and_changes_nothing(persona: Persona) -> None:
    before = [path.read_bytes() for path in sorted(persona.dialogue.iterdir())]
    app = StudioApp(persona, readonly=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        for key in ("y", "x", "t", "e", "m", "d", "u", "U"):
            await press(pilot, "3", key)
            assert len(app.screen_stack) == 1, key
        await press(pilot, "enter", "y", "s", "e")
        assert isinstance(app.screen, ConversationScreen)
    assert said(app).count("The app was opened to read only.") >= 10
    assert [path.read_bytes() for path in sorted(persona.dialogue.iterdir())] == before


async def test_hostile_text_and_a_damaged_row_are_only_shown(persona: Persona) -> None:
    shard = persona.dialogue / "0001.jsonl"
    lines = shard.read_bytes().split(b"\n")
    lines[0] = lines[0].replace(b"What is lamp 0", b"\\u001b[2J[/x] \xe5\x9d\x90 [bold]")
    lines[1] = b'{"id": "d1", "messages": 3}'
    shard.write_bytes(b"\n".join(lines))
    app = StudioApp(persona)
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot)
        text = await press(pilot, "3")
        assert "␛[2J[/x] 坐 [bold] for?" in text and "\x1b" not in text and "damaged: ⏎ says where" in text
        text = await press(pilot, "down")
        assert "0001.jsonl: row 2 cannot be" in " ".join(text.split())
        for keys in (("enter",), ("y",), ("q", "x"), ("t",), ("escape", "m"), ("home", "enter"), ("e",)):
            text = await press(pilot, *keys)
            assert not app.crash and "\x1b" not in text
    assert not app.crash


async def test_another_studio_changes_rows_under_the_screen(persona: Persona, tmp_path: Path) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(110, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "down", "down")
        every = list(rows(persona))
        Editor(persona).remove([every[0].id, every[1].id])
        # The row under the cursor is the one that is meant, wherever it stands now.
        await press(pilot, "x")
        assert {row.id for row in rows(persona) if row.state} == {every[2].id}
        text = await press(pilot, "1", "3")
        assert "38 conversations" in text
    assert not app.crash
