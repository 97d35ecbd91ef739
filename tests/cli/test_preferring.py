"""``studio preference`` and ``studio review better | pairs | keep``: what is said, to people and to tools, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.cli.main import main
from studio.persona.folder import Persona
from tests.preference.test_pairs import said, voted


class Shell:
    def __init__(self, persona: Persona, capsys: pytest.CaptureFixture[str]) -> None:
        self.persona, self.capsys = persona, capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        ended = main(["-p", str(self.persona.root), *words])
        shown = self.capsys.readouterr()
        assert ended == code, shown
        return shown.out if code == 0 else shown.err

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def shell(persona: Persona, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(persona, capsys)


def test_votes_and_what_was_written_instead_become_pairs_and_dialogue(persona: Persona, shell: Shell) -> None:
    voted(persona, "1", said("sft-1", "Sit."), said("cpt-1", "Oh no."))
    voted(persona, "both_bad", said("sft-1", "How may I help?"), said("cpt-1", "Hm."))
    assert shell.json("review", "better", "review-1.2", "1", "Sit and drink.")["side"] == 1
    assert "2 replies" in shell("review", "better", "review-1.2", "3", "Sit.", code=1)
    assert "no vote" in shell("review", "better", "review-1.9", "1", "Sit.", code=1)
    assert "ROUND" in shell("review", "better", "review-1.2", code=2)

    assert shell.json("review", "pairs") == {"new": 3, "there": 0, "withdrawn": 0, "dropped": {}, "rows": 3}
    assert "0 new pairs, 3 already there; 3 pairs in all." in shell("review", "pairs")
    shell("review", "undo", code=1)  # the review of these hand-written votes has no folder
    listed = shell("preference", "list")
    assert "review-1.1" in listed and "edited" in listed
    rows = shell.json("preference", "list")
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows] == [
        ("Sit.", "Oh no."), ("Sit and drink.", "How may I help?"), ("Sit and drink.", "Hm."),
    ]  # fmt: skip
    shown = shell("preference", "show", rows[1]["id"])
    assert "vote v2 (edited, names hidden): sft-1 over sft-1" in shown and "better: Sit and drink." in shown and "user: I had a bad day." in shown
    assert shell.json("preference", "stats")["made_by"] == {"vote": 1, "edited": 2}
    shell("preference", "remove", rows[0]["id"])
    assert shell.json("review", "pairs")["dropped"] == {"removed by hand": 1}

    assert shell.json("review", "keep", "review-1.1")["new"] == 2
    assert {row["source"] for row in shell.json("dialogue", "list")} == {"review"}
    assert shell.json("review", "keep", "review-1.1") | {"dropped": {}} == {"new": 0, "there": 2, "dropped": {}, "rows": []}


def test_files_checks_and_builds(persona: Persona, shell: Shell, tmp_path: Path) -> None:
    rows = [{"prompt": f"Is lamp {n} lit?", "chosen": f"Since March, number {n}.", "rejected": "As an AI, I cannot."} for n in range(20)]
    rows.append(rows[0] | {"chosen": "As an AI language model, no."})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[3], {"text": "x"}]))
    added = shell.json("preference", "add", str(tmp_path / "pairs.jsonl"))
    assert (added["format"], added["read"], added["kept"], added["dropped"]) == ("trl", 23, 21, {"duplicate": 1, "unknown format": 1})
    fault, bias = shell.json("preference", "check")
    assert bias["file"] == "preference" and bias["what"].startswith("length bias")
    assert (fault["file"], fault["line"]) == ("pairs.jsonl", 21) and "assistant-speak" in fault["what"]
    built = shell.json("preference", "build")
    assert (built["kind"], built["train_rows"] + built["val_rows"]) == ("preference", 21)
    assert built["id"] in shell("snapshots")
    (stock,) = shell.json("preference", "list", "--filter", "flag:assistant-speak")
    assert shell.json("preference", "reject", "--filter", "flag:assistant-speak") == {"done": "1 pair rejected", "rows": []}
    assert shell.json("preference", "edit", stock["id"], "--side", "rejected", "--text", "No.")["done"].endswith("edited")
    assert "swapped" in shell("preference", "swap", stock["id"][:8])
    shown = shell.json("preference", "show", stock["id"])
    assert (shown["state"], shown["edited"], shown["chosen"][0]["content"]) == ("rejected", True, "No.")
    for _ in range(3):
        shell("preference", "undo")
    assert shell.json("preference", "show", stock["id"]) == stock and "There is no preference pair" in shell("preference", "swap", "x", code=1)
    assert "no SFT checkpoint" in shell("plan", "dpo", code=1)
