"""Failed neighbours are named with their failure, and merged as fits what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio import salvage
from studio.checkpoints.store import Checkpoint, all_checkpoints, write_card
from studio.persona.folder import Persona


def made(persona: Persona, name: str, rank: int = 8, kind: str = "adapter", stage: str = "sft", **metrics: float) -> None:
    folder = persona.checkpoints / name
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    write_card(
        folder, Checkpoint(name, name, stage, parent="base", base="pocket", kind=kind, created=f"2026-01-01T00:00:{len(name)}", metrics=metrics)
    )


@pytest.fixture(autouse=True)
def base_is_here(persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.setattr("studio.checkpoints.base.locate_base", lambda name: tmp_path / "base")


def test_opposite_failures_meet_in_the_middle(persona: Persona) -> None:
    made(persona, "good", val_loss=1.00, gap=0.02)
    made(persona, "recites", val_loss=1.01, gap=0.30)
    made(persona, "timid", val_loss=1.50, gap=0.01)
    failed, suggested = salvage.suggest(persona)
    assert [(f.checkpoint, f.kind) for f in failed] == [("timid", "timid"), ("recites", "recites")]
    (only,) = suggested
    assert (set(only.checkpoints), only.method, only.result) == ({"recites", "timid"}, "linear", "adapter")
    weights = dict(zip(only.checkpoints, only.weights, strict=True))
    assert weights["recites"] > weights["timid"] and sum(only.weights) == pytest.approx(1.0, abs=0.002), "the lower loss counts more"
    assert "+30%" in only.why and "1.500 against 1.000" in only.why
    assert only.recipe().checkpoints == only.checkpoints


def test_the_same_failure_twice_keeps_what_both_learned(persona: Persona) -> None:
    made(persona, "a", val_loss=1.0, gap=0.2)
    made(persona, "bb", val_loss=1.0, gap=0.3)
    assert salvage.suggest(persona)[1][0].method == "ties"


def test_adapters_of_other_ranks_go_through_svd_and_strangers_do_not_meet(persona: Persona) -> None:
    made(persona, "a", val_loss=1.0, gap=0.2)
    made(persona, "bb", rank=16, val_loss=1.5)
    made(persona, "ccc", kind="full", stage="cpt", val_loss=2.0, gap=0.2)
    assert [(s.checkpoints, s.method) for s in salvage.suggest(persona)[1]] == [(["a", "bb"], "svd")]


def test_what_was_merged_already_is_not_suggested_again(persona: Persona) -> None:
    made(persona, "a", val_loss=1.0, gap=0.2)
    made(persona, "bb", val_loss=1.5)
    folder = persona.checkpoints / "merge-1"
    folder.mkdir()
    write_card(folder, Checkpoint("merge-1", "merge-1", "merge", parent="a", merged=["a", "bb"], base="pocket", kind="adapter"))
    assert salvage.suggest(persona)[1] == []


def test_votes_fail_a_checkpoint_only_when_there_are_enough(persona: Persona) -> None:
    made(persona, "a")
    found = all_checkpoints(persona)
    assert salvage.failures(persona, found, {"a": (0.01, salvage.ENOUGH - 1)}) == []
    (failure,) = salvage.failures(persona, found, {"a": (0.01, salvage.ENOUGH)})
    assert failure.kind == "beaten" and "1% likely to be the best" in failure.why
