"""Rows of dialogue from the command line: found, judged, tagged, edited, split, merged, taken out, and all of it taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.persona.folder import Persona

from .test_preferring import Shell


@pytest.fixture
def shell(persona: Persona, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    rows = [
        {
            "messages": [
                {"role": ("user", "assistant")[turn % 2], "content": f"{('Lámpa', '灯塔')[turn % 2]} {n}.{turn} {'kettle' if n % 10 == 3 else ''}"}
                for turn in range(4)
            ]
        }
        for n in range(120)
    ]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    found = Shell(persona, capsys)
    assert "120 conv" in found("dialogue", "add", str(tmp_path / "chat.jsonl"))
    return found


def ids(shell: Shell, line: str) -> list[str]:
    return [row["id"] for row in shell.json("dialogue", "list", "--filter", line)]


def test_a_page_at_a_time(shell: Shell) -> None:
    assert "51 to 100 of 120 rows; the next with: --page 3" in shell("dialogue", "list", "--page", "2")
    assert len(shell.json("dialogue", "list")) == 120 and len(shell.json("dialogue", "list", "--page", "3")) == 20
    assert "3 pages" in shell("dialogue", "list", "--page", "4", code=2)
    assert shell("dialogue", "list", "--filter", "kettle").count("chat.jsonl") == 12
    assert "“is:new” is not known" in shell("dialogue", "list", "--filter", "is:new", code=2)
    assert "No row is meant" in shell("dialogue", "list", "--filter", "nowhere")


def test_rows_are_changed_and_changed_back(shell: Shell) -> None:
    before = shell.json("dialogue", "list")
    first, second, third = (row["id"] for row in before[:3])
    assert shell("dialogue", "reject", "--filter", "kettle") == "12 rows rejected.\n"
    assert "Name rows by their ids" in shell("dialogue", "accept", code=2)
    assert shell("dialogue", "accept", first[:8]) == "1 row accepted.\n" and ids(shell, "is:accepted") == [first]
    assert shell("dialogue", "reopen", first) == "1 row open again.\n" and ids(shell, "is:accepted") == []
    assert shell("dialogue", "tag", second, "--add", "keep") == "1 row tagged +keep.\n" and ids(shell, "tag:keep") == [second]
    assert shell("dialogue", "edit", first, "--turn", "2", "--text", "坐。") == f"{first} edited.\n"
    assert shell.json("dialogue", "show", first)["messages"][1]["content"] == "坐。"
    parts = shell.json("dialogue", "split", third, "3")["rows"]
    assert parts[0] == third and len(shell.json("dialogue", "list")) == 121
    assert shell.json("dialogue", "merge", first, parts[1])["rows"] == [first]
    assert shell("dialogue", "delete", second) == "1 row deleted.\n" and len(shell.json("dialogue", "list")) == 119
    for _ in range(8):
        assert shell("dialogue", "undo").startswith("undone: ")
    assert shell.json("dialogue", "list") == before
    assert "nothing to undo" in shell("dialogue", "undo", code=1)
    assert shell("dialogue", "redo") == "done again: 12 rows rejected.\n"
    assert shell.json("dialogue", "build", "--split", "rows")["notes"]["left out: rejected"] == 12


def test_a_conversation_is_changed_in_an_editor(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shell.json("dialogue", "list")[0]["id"]
    assert "no terminal" in shell("dialogue", "edit", first, code=1)
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nprintf '### user\\nWho?\\n\\n### assistant\\n\\\\### user\\nMe. 灯\\n' > \"$1\"\n")
    editor.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert shell("dialogue", "edit", first) == f"{first} edited.\n"
    assert [m["content"] for m in shell.json("dialogue", "show", first)["messages"]] == ["Who?", "### user\nMe. 灯"]
    editor.write_text('#!/bin/sh\necho nothing > "$1"\n')
    assert "has to begin with a line" in shell("dialogue", "edit", first, code=1)
