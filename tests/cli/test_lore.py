"""``studio lore`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.cli.main import main
from studio.persona.folder import Persona

SAID = "The keeper of the lost property office wrote the kite down in the book that lay on the desk by the window."


@pytest.fixture
def persona(persona: Persona, tmp_path: Path) -> Persona:
    (tmp_path / "orm.en.txt").write_text(f'Orm[edit]\n\n{SAID}\n\nRetrieved from "https://x"\n\n{SAID}\n\n' + "=-" * 40 + "\n")
    (tmp_path / "orm.zh.txt").write_text("奥姆\n\n" + "管理员把风筝写进了窗边书桌上的那本账簿里。" * 4)
    return persona


def say(persona: Persona, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["-p", str(persona.root), "lore", *words]) == code
    return capsys.readouterr().out


def ask(persona: Persona, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(say(persona, capsys, *words, "--json"))


def test_from_files_to_coverage(persona: Persona, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    added = ask(persona, capsys, "add", str(tmp_path / "orm.en.txt"), str(tmp_path / "orm.zh.txt"))
    assert added["read"] == added["kept"] == 2 and added["changed"] == {"wiki boilerplate cut": 2}
    stats = ask(persona, capsys, "stats")
    assert [row["language"] for row in stats["files"]] == ["en", "zh"] and stats["works"][0]["how"] == "name"
    assert [row["file"] for row in ask(persona, capsys, "list")] == ["orm.en.txt", "orm.zh.txt"]
    shown = say(persona, capsys, "stats")
    assert "Coverage by language" in shown and "translations known by their names" in shown
    assert ask(persona, capsys, "parallel")[0]["known by"] == "their names"
    changes = ask(persona, capsys, "changes", "orm.en.txt")
    assert [change["before"] for change in changes["changes"]] == ["Orm[edit]", 'Retrieved from "https://x"']
    assert "- Orm[edit]" in say(persona, capsys, "changes", "orm.en.txt")


def test_clean_is_dry_until_told(persona: Persona, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    say(persona, capsys, "add", str(tmp_path / "orm.en.txt"))
    before = (persona.lore / "orm.en.txt").read_bytes()
    shown = say(persona, capsys, "clean")
    assert "lore/orm.en.txt:5: duplicates: ✗" in shown and "nothing was changed" in shown
    assert (persona.lore / "orm.en.txt").read_bytes() == before
    assert ask(persona, capsys, "clean", "--only", "symbols")["changed"] == {"symbols": 1}
    assert ask(persona, capsys, "clean", "--without", "symbols,duplicates")["files"] == []
    assert ask(persona, capsys, "clean", "--apply")["changed"] == {"duplicates": 1, "symbols": 1}
    assert say(persona, capsys, "clean").strip() == "Nothing to clean."
    assert "no cleaning step" in _refused(persona, capsys, "clean", "--only", "everything")
    say(persona, capsys, "drop", "orm.en.txt")
    assert "There is no lore file" in _refused(persona, capsys, "changes", "orm.en.txt")


def _refused(persona: Persona, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["-p", str(persona.root), "lore", *words]) == 1
    return capsys.readouterr().err


def test_ctrl_c_says_what_is_whole(persona: Persona, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from studio.cli import ticker

    def interrupted(self: ticker.Ticker, what: str, done: int, whole: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(ticker.Ticker, "__call__", interrupted)
    assert main(["-p", str(persona.root), "lore", "add", str(tmp_path / "orm.en.txt"), str(tmp_path / "orm.zh.txt")]) == 130
    assert "files that were finished are whole" in capsys.readouterr().err
    assert [path.name for path in persona.lore.iterdir()] == ["orm.en.txt"]
