"""The best by a number: only among what was measured alike, and by votes among all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.checkpoints.best import MEASURES, best
from studio.checkpoints.store import Checkpoint, write_card
from studio.cli.main import main
from studio.errors import UsageError
from studio.persona.folder import Persona


def made(persona: Persona, name: str, stage: str, snapshot: str, number: int, **metrics: float) -> None:
    folder = persona.checkpoints / name
    folder.mkdir(parents=True)
    write_card(
        folder, Checkpoint(name, name, stage, parent="base", created=f"2026-11-21T10:00:{number:02}", snapshot=snapshot, metrics=dict(metrics))
    )


@pytest.fixture
def wen(persona: Persona) -> Persona:
    made(persona, "cpt-1-e1", "cpt", "lore-1", 1, val_loss=2.9, gap=0.01, surprise_val=3.0)
    made(persona, "sft-2-e1", "sft", "dialogue-1", 2, val_loss=1.5, gap=0.02, probe_accuracy=0.5, recited_train=0.1)
    made(persona, "sft-2-e2", "sft", "dialogue-1", 3, val_loss=1.3, gap=0.15, probe_accuracy=0.75, recited_train=0.6)
    made(persona, "sft-2-e3", "sft", "dialogue-1", 4, val_loss=1.3, gap=-0.1, probe_accuracy=0.75)
    made(persona, "sft-3-e1", "sft", "dialogue-2", 5, val_loss=1.4)
    made(persona, "merge-4", "merge", "", 6)
    return persona


def test_what_was_measured_alike_stands_together_the_best_first(wen: Persona) -> None:
    def order(by: str) -> list[list[str]]:
        return [[each.checkpoint for each in group.placed] for group in best(wen, by)]

    assert order("val_loss") == [["sft-3-e1"], ["sft-2-e2", "sft-2-e3", "sft-2-e1"], ["cpt-1-e1"]]
    assert order("gap") == [["sft-2-e3", "sft-2-e1", "sft-2-e2"], ["cpt-1-e1"]]
    assert order("lore") == [["sft-2-e2", "sft-2-e3", "sft-2-e1"]]
    assert order("recited") == [["sft-2-e1", "sft-2-e2"]] and order("surprise") == [["cpt-1-e1"]] and order("ranking") == []
    with pytest.raises(UsageError, match="no measure 'beauty'; there are: val_loss, "):
        best(wen, "beauty")


def test_by_blind_votes(wen: Persona) -> None:
    from studio.checkpoints.store import get_checkpoint
    from studio.files import append_line
    from studio.review.rounds import Sampling, Side, digest
    from studio.review.votes import Vote

    sides = [Side(name, digest(get_checkpoint(wen, name)), "…") for name in ("cpt-1-e1", "sft-2-e1")]
    for number in range(4):
        vote = Vote(f"v{number}", float(number), "review-1", f"r{number}", "2", True, [{"role": "user", "content": "Well?"}], sides, Sampling())
        append_line(wen.votes, vote)
    (group,) = best(wen, "ranking")
    assert [each.checkpoint for each in group.placed] == ["sft-2-e1", "cpt-1-e1"] and group.stage == ""
    assert group.placed[0].value > 1000 > group.placed[1].value


def test_at_the_command_line(wen: Persona, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoints", "best", "--by", "gap", "--persona", str(wen.root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["by"] == "gap" and told["groups"][0]["placed"][0] == {"checkpoint": "sft-2-e3", "value": -0.1, "said": "-10.0%"}
    assert main(["checkpoints", "best", "--persona", str(wen.root)]) == 0
    assert "  1  sft-2-e2  1.3000" in capsys.readouterr().out
    assert main(["checkpoints", "best", "--by", "ranking", "--persona", str(wen.root)]) == 0
    assert "No blind vote was cast" in capsys.readouterr().out
    assert set(MEASURES) >= {"val_loss", "gap", "lore", "surprise", "ranking"}
