"""Every change by hand writes only the shards it touches, can be taken back exactly, and survives being broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from studio.dialogue.editing import Editor
from studio.dialogue.formats import Message
from studio.dialogue.index import Index
from studio.dialogue.store import ACCEPTED, REJECTED, Row, rows
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.shards import append_rows, shards


def conversation(n: int, turns: int = 2) -> Row:
    messages = [Message(("user", "assistant")[i % 2], f"{('Lámpa', '灯')[i % 2]} {n}, turn {i} 🫖") for i in range(turns)]
    return Row(f"d{n:010x}", messages, "chat.jsonl", n + 1, message_ids=[f"m{n}.{i}" for i in range(turns)])


@pytest.fixture
def filled(persona: Persona) -> Persona:
    append_rows(persona.dialogue, [conversation(n, 4 if n % 5 == 0 else 2) for n in range(450)])
    return persona


def one(n: int) -> str:
    return f"d{n:010x}"


def bytes_of(persona: Persona) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shards(persona.dialogue)}


def by_id(persona: Persona) -> dict[str, Row]:
    return {row.id: row for row in rows(persona)}


def written(before: dict[str, bytes], persona: Persona) -> set[str]:
    after = bytes_of(persona)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_each_change_touches_its_shard_alone_and_is_taken_back_exactly(filled: Persona) -> None:
    editor = Editor(filled)
    before = bytes_of(filled)
    steps = [
        (lambda: editor.judge([one(3), one(250)], REJECTED), {"0001.jsonl", "0002.jsonl"}, "2 rows rejected"),
        (lambda: editor.judge([one(4)], ACCEPTED), {"0001.jsonl"}, "1 row accepted"),
        (lambda: editor.tag([one(449), one(3)], ["keep", "好"]), {"0001.jsonl", "0003.jsonl"}, "2 rows tagged +keep +好"),
        (lambda: editor.tag([one(3)], [], ["keep"]), {"0001.jsonl"}, "1 row tagged -keep"),
        (lambda: editor.rewrite(one(205), 1, "  Ülj le. 坐。 👩‍👩‍👧 "), {"0002.jsonl"}, f"{one(205)} edited"),
        (lambda: editor.split(one(205), 2)[0], {"0002.jsonl"}, f"{one(205)} split before turn 3"),
        (lambda: editor.merge([one(301), one(10), one(11)])[0], {"0001.jsonl", "0002.jsonl"}, f"3 rows merged into {one(10)}"),
        (lambda: editor.remove([one(0), one(448), one(449)]), {"0001.jsonl", "0003.jsonl"}, "3 rows deleted"),
    ]
    states = [before]
    for act, names, words in steps:
        assert act() == words == editor.last()
        assert written(states[-1], filled) == names, words
        states.append(bytes_of(filled))
        fresh = Index(filled)
        fresh.refresh()
        assert list(editor.index.layout.starts) == list(fresh.layout.starts)
    found = by_id(filled)
    assert found[one(3)].state == REJECTED and found[one(3)].tags == ["好"]
    assert found[one(205)].messages[1].content == "Ülj le. 坐。 👩‍👩‍👧" and found[one(205)].edited and found[one(205)].line == 206
    (part,) = [row for row in found.values() if row.of == [one(205)]]
    assert [m.content for m in part.messages] == [m.content for m in conversation(205, 4).messages[2:]]
    assert part.message_ids == ["m205.2", "m205.3"] and found[one(205)].message_ids == ["m205.0", "m205.1"]
    merged = found[one(10)]
    assert merged.of == [one(11), one(301)] and len(merged.messages) == 8 and one(11) not in found
    for state in states[-2::-1]:
        editor.undo()
        assert bytes_of(filled) == state
    with pytest.raises(StudioError, match="nothing to undo"):
        editor.undo()
    for state in states[1:]:
        editor.redo()
        assert bytes_of(filled) == state
    editor.undo()
    editor.judge([one(1)], ACCEPTED)
    with pytest.raises(StudioError, match="nothing to do again"):
        editor.redo()


def test_what_is_no_conversation_any_more_is_refused_and_nothing_written(filled: Persona) -> None:
    editor = Editor(filled)
    before = bytes_of(filled)
    for act, why in (
        (lambda: editor.rewrite(one(1), 1, " "), "a turn of the user and one of hers"),
        (lambda: editor.rewrite(one(1), 2, "x"), "has 2 turns, so there is no turn 3"),
        (lambda: editor.split(one(0), 1), "each part needs both sides"),
        (lambda: editor.split(one(0), 0), "nothing on one side"),
        (lambda: editor.merge([one(1), one(1)]), "two rows or more"),
        (lambda: editor.tag([one(1)], ["two words"]), "a tag is one word"),
        (lambda: editor.judge(["dnone"], REJECTED), "no dialogue row 'dnone'"),
    ):
        with pytest.raises(StudioError, match=why):
            act()
    assert bytes_of(filled) == before and not editor.last()


def test_what_a_model_wrote_stays_marked_whatever_is_done_to_it(filled: Persona) -> None:
    made = conversation(900, 4)
    made.made = "synthetic"
    append_rows(filled.dialogue, [made])
    editor = Editor(filled)
    editor.rewrite(one(900), 1, "mine now")
    _, (first, second) = editor.split(one(900), 2)
    editor.tag([first, second], [], ["synthetic"])
    _, merged = editor.merge([one(1), second])
    found = by_id(filled)
    assert found[first].made == found[merged].made == "synthetic"


def test_a_row_changed_by_other_means_is_not_taken_back_over(filled: Persona) -> None:
    editor = Editor(filled)
    editor.judge([one(3), one(250)], REJECTED)
    shard = shards(filled.dialogue)[1]
    shard.write_text(shard.read_text().replace('"rejected"', '"accepted"'))
    before = bytes_of(filled)
    with pytest.raises(StudioError, match=rf"{one(250)} was changed by other means since \(2 rows rejected\)"):
        editor.undo()
    assert bytes_of(filled) == before


def test_two_editors_and_a_hand_with_an_editor_do_not_mix_rows_up(filled: Persona) -> None:
    first, second = Editor(filled), Editor(filled)
    first.judge([one(20)], ACCEPTED)
    second.remove([one(2), one(5)])
    shard = shards(filled.dialogue)[0]
    lines = shard.read_bytes().split(b"\n")
    shard.write_bytes(b"\n".join(lines[3:]))
    assert first.judge([one(30)], REJECTED) == "1 row rejected"
    assert by_id(filled)[one(30)].state == REJECTED and by_id(filled)[one(20)].state == ACCEPTED
    assert first.row(one(31)).id == one(31)
    with pytest.raises(StudioError, match="no dialogue row"):
        first.judge([one(0)], REJECTED)


def test_unknown_fields_and_untouched_lines_stay_as_they_are(filled: Persona) -> None:
    shard = shards(filled.dialogue)[0]
    lines = shard.read_bytes().split(b"\n")
    lines[7] = lines[7][:-1] + b', "mine":  {"a": [1]}}'
    lines[8] = b"{half"
    shard.write_bytes(b"\n".join(lines))
    editor = Editor(filled)
    editor.judge([one(6), one(7)], REJECTED)
    after = shard.read_bytes().split(b"\n")
    assert after[8] == b"{half" and after[9:] == lines[9:] and b'"mine":{"a":[1]}' in after[7]
    editor.undo()
    assert b'"mine":{"a":[1]}' in shard.read_bytes() and b"rejected" not in shard.read_bytes()


@pytest.mark.parametrize("stop", ["apply", "rename"])
def test_a_step_that_was_killed_is_brought_to_its_end_and_can_be_undone(filled: Persona, stop: str) -> None:
    before = bytes_of(filled)
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from studio.dialogue import editing
        from studio.persona.folder import open_persona
        written = []
        def save(shard, real=editing.Shard.save):
            real(shard)
            written.append(shard)
            if len(written) == {2 if stop == "apply" else 3}:
                os.kill(os.getpid(), signal.SIGKILL)
        editing.Shard.save = save
        editing.Editor(open_persona(Path({str(filled.root)!r}))).judge([f"d{{n:010x}}" for n in (3, 250, 420)], "rejected")
    """)
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(written(before, filled)) < 4
    editor = Editor(filled)
    assert editor.undo() == "3 rows rejected"
    assert bytes_of(filled) == before
    editor.redo()
    assert {row.id for row in rows(filled) if row.state == REJECTED} == {one(3), one(250), one(420)}
