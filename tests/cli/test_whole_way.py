"""The whole way by command: from an empty folder to a ranking, every part real, on the pocket base.

The chain of ``tests/jobs/test_queue.py`` goes through merging and quantizing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def studio(*words: str, cwd: Path, code: int = 0) -> str:
    """stdout of a command; fails with what it said if it does not end with ``code``."""
    done = subprocess.run([sys.executable, "-m", "studio", *words], cwd=cwd, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == code, f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def answer(*words: str, cwd: Path) -> Any:
    return json.loads(studio(*words, "--json", cwd=cwd))


def test_from_an_empty_folder_to_a_ranking(tmp_path: Path, lore_text: str) -> None:
    (tmp_path / "book.txt").write_text(lore_text)
    rows = [
        {
            "messages": [
                {"role": r, "content": c} for r, c in (("user", f"Where is thing {i} now?"), ("assistant", f"On shelf {i}. Dry. Sit down first."))
            ]
        }
        for i in range(60)
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    studio("fetch", "pocket", cwd=tmp_path)
    root = Path(answer("new", "Wen", cwd=tmp_path)["path"])
    assert answer("personas", cwd=tmp_path)[0]["path"] == str(root)
    below = root / "lore"
    assert answer("lore", "add", str(tmp_path / "book.txt"), cwd=below)["kept"] == 1
    assert answer("dialogue", "add", str(tmp_path / "chats.jsonl"), cwd=below)["speakers"] == {"user": 60, "assistant": 60}
    assert answer("lore", "build", cwd=below)["train_tokens"] > 1000
    assert answer("dialogue", "build", cwd=below)["val_rows"] == 6
    seen = answer("dialogue", "preview", cwd=below)
    assert seen["end_learned"] and 0 < seen["loss_tokens"] < seen["tokens"]

    quick = ["--set", "epochs=1", "--set", "length=128", "--set", "batch=4", "--set", "learning_rate=1e-3", "--set", "evals_per_epoch=1"]
    plan = answer("plan", "cpt", *quick, cwd=root)["plan"]
    assert plan["steps"] > 3 and plan["memory"]["total"] > 0 and plan["seconds"] is None
    made = answer("train", "cpt", *quick, "--wait", cwd=root)
    assert made["state"] == "done" and made["checkpoints"] == ["cpt-1-e1"]
    measured = answer("plan", "cpt", *quick, cwd=root)["plan"]
    assert measured["seconds"] > 0 and measured["seconds_from"] == "cpt-1"
    planned = json.loads((root / "runs" / "cpt-1" / "status.json").read_text())["steps"]
    assert abs(plan["steps"] - planned) <= 1, "the plan's steps are not the run's"
    assert answer("train", "sft", *quick, "--wait", cwd=root)["checkpoints"] == ["sft-2-e1"]

    family = {c["id"]: c for c in answer("checkpoints", "list", cwd=root)}
    assert [family[c]["parent"] for c in ("cpt-1-e1", "sft-2-e1")] == ["base", "cpt-1-e1"]
    assert set(next(iter(family.values()))) >= {"id", "name", "stage", "parent", "base", "path", "created", "metrics"}
    assert family["cpt-1-e1"]["metrics"]["val_loss"] < 8.4
    assert "was made from it" in studio("checkpoints", "delete", "cpt-1-e1", cwd=root, code=1)
    assert [(j["id"], j["state"]) for j in answer("jobs", "list", cwd=root)] == [("cpt-1", "done"), ("sft-2", "done")]

    served = answer("serve", "cpt-1-e1", "sft-2-e1", cwd=root)
    try:
        assert {m for s in served for m in s["models"]} == {"cpt-1-e1", "sft-2-e1"}
        said = answer("chat", "cpt-1-e1", "sft-2-e1", "--say", "Hello?", "--max-tokens", "12", cwd=root)
        assert [s["checkpoint"] for s in said] == ["cpt-1-e1", "sft-2-e1"]
        probes = [
            {"id": "p1", "kind": "open", "prompt": "Tea?"},
            {"id": "p2", "kind": "cloze", "prompt": "Steps?", "answer": "Eleven.", "wrong": ["Nine."]},
        ]
        (root / "probes.jsonl").write_text("".join(json.dumps(p) + "\n" for p in probes))
        results = answer("probe", "cpt-1-e1", "sft-2-e1", "--max-tokens", "12", cwd=root)
        assert results["sft-2-e1"][1]["right"] in (True, False) and len(results["sft-2-e1"][1]["scores"]) == 2

        said = [word for text in ("Hello?", "I lost a glove.", "The rain?") for word in ("--say", text)]
        dealt = answer("review", "deal", "cpt-1-e1", "sft-2-e1", *said, "--max-tokens", "24", "--wait", cwd=root)
        blind = answer("review", "next", cwd=root)
        assert "sft" not in json.dumps(blind) and "cpt" not in json.dumps(blind)
        told = answer("review", "vote", blind["round"], "1", cwd=root)
        assert told["winner"] == told["sides"][0]
        assert "vote already" in studio("review", "vote", blind["round"], "2", cwd=root, code=1)
        assert dealt["prompts"] == 3 and dealt["missing"] == 0
        studio("review", "vote", answer("review", "next", cwd=root)["round"], "both-bad", cwd=root)
        studio("review", "vote", answer("review", "next", cwd=root)["round"], "2", cwd=root)
        ranking = answer("review", "rank", cwd=root)
        assert ranking["votes"] == 3 and set(ranking["pairs"][0]) == {"a", "b", "p_a_better", "votes_needed"}
        assert set(ranking["ranking"][0]) >= {"checkpoint", "score", "low", "high", "wins", "losses", "ties", "both_bad"}

        # What was voted for is learned, and joins the next review.
        told = answer("review", "pairs", cwd=root)
        assert told["new"] == told["rows"] == 2 and told["dropped"] == {"both bad, nothing better written": 1}
        again = answer("review", "pairs", cwd=root)
        assert (again["new"], again["there"]) == (0, 2)
        assert answer("preference", "stats", cwd=root)["pairs"] == 2
        assert {fault["file"] for fault in answer("preference", "check", cwd=root)} <= {"review"}
        assert answer("preference", "build", cwd=root)["val_rows"] == 1
        long = [*quick, "--set", "length=1024"]  # noise that is written down and read again has more tokens than were drawn
        plan = answer("plan", "dpo", *long, cwd=root)["plan"]
        assert (plan["parent"], plan["rows"], plan["steps"]) == ("sft-2-e1", 1, 1) and plan["snapshot"].startswith("preference-")
        made = answer("train", "dpo", *long, "--wait", cwd=root)
        assert made["state"] == "done"
        (preferred,) = made["checkpoints"]
        card = next(c for c in answer("checkpoints", "list", cwd=root) if c["id"] == preferred)
        assert (card["stage"], card["parent"]) == ("dpo", "sft-2-e1") and card["metrics"]["val_margin"] != 0
        results = answer("probe", preferred, "sft-2-e1", "--max-tokens", "12", cwd=root)
        assert results[preferred][0]["finish"] in ("stop", "length") and results[preferred][1]["scores"] != results["sft-2-e1"][1]["scores"]
    finally:
        studio("serve", "stop", cwd=root)
    assert answer("serve", "status", cwd=root) == []


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["lore", "list"], 1, "is no persona"),
        (["-p", "nowhere", "jobs"], 1, "does not exist"),
        (["new", "X", "--base", "nonsense"], 1, "is unknown"),
        (["frobnicate"], 2, "invalid choice"),
        (["train"], 2, "required"),
        (["new", "X", "--card", "missing.png"], 1, "cannot be read"),
        (["new"], 1, "needs a name"),
        ([], 1, "needs a terminal"),
    ],
)
def test_wrong_use_gets_one_sentence(tmp_path: Path, words: list[str], code: int, sentence: str) -> None:
    said = studio(*words, cwd=tmp_path, code=code)
    assert sentence in said and said.count("\n") == 1, said
