"""Runs made again: the very same, saved on the way, an epoch more; and what a comparison of them says."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from studio import again, benching
from studio.errors import StudioError
from studio.files import write_json
from studio.forecast import measure, outcomes, plan, time_said
from studio.jobs import control
from studio.jobs.runs import DONE, RUNNING, Run, get_run, read_run, update_status
from studio.jobs.states import SAVE
from studio.launch import start
from studio.persona.folder import Persona, create
from studio.recipes.files import resolve
from studio.recipes.schema import Training
from studio.seeing.compare import compare
from studio.snapshots import Snapshot, freeze
from studio.stages.__main__ import main

from .conftest import dialogue, events, losses

SETTINGS = ["epochs=1", "batch=2", "length=96", "rank=4", "alpha=8", "dropout=0.1", "evals_per_epoch=1", "probes=1", "probe_tokens=4"]


@pytest.fixture
def wen(tmp_path: Path, pocket: Path, monkeypatch: pytest.MonkeyPatch) -> Persona:
    """A persona with a snapshot; its runs are done by the test itself."""
    monkeypatch.setattr(control, "kick", lambda always=False: None)
    monkeypatch.setenv("STUDIO_IGNORE_DISK", "1")
    persona = create("Wen", str(pocket), parent=tmp_path)
    snapshot(persona, 6)
    return persona


def snapshot(persona: Persona, rows: int) -> Snapshot:
    made = dialogue(rows + 2)
    return freeze(persona, "dialogue", {}, made[:rows], made[rows:], lambda row: [m["content"] for m in row["messages"]], 17, 0.1, {})


def ended(run: Run) -> Run:
    assert main([str(run.path)]) == 0, (run.path / "result.json").read_text()
    update_status(run.path, state=DONE)
    return read_run(run.path)


def test_reproduced_extended_and_compared(wen: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start(wen, "sft", resolve(wen, "sft", None, SETTINGS))
    update_status(first.path, state=RUNNING)
    (first.path / SAVE).write_text("")  # what `studio runs save` leaves, there from the first step on
    first = ended(first)
    assert first.status.checkpoints == ["sft-1-s1", "sft-1-e1"] and not (first.path / SAVE).exists()
    assert events(first.path, "saved")[0]["step"] == 1 and [e["step"] for e in events(first.path, "eval")] == [0, 1, 3]

    told = {outcome.name: outcome for outcome in outcomes(first)}
    assert told["steps"].planned == told["steps"].measured == 3 and told["memory"].planned > 0
    assert (told["memory"].measured or 0) > 0  # of this very process, whatever it has run before: compared with the plan in a process of its own
    # The time of the next one: from a run just like it, else said to be a guess, else from what was measured of this very recipe.
    alike, other = resolve(wen, "sft", None, SETTINGS), resolve(wen, "sft", None, [*SETTINGS, "rank=8"])
    planned, guessed = plan(wen, "sft", alike), plan(wen, "sft", other)
    assert planned.seconds and planned.seconds_from == "sft-1" and "at the rate of sft-1" in time_said(planned)
    assert guessed.seconds and guessed.seconds_from == "a guess: sft-1, with other settings"
    tried: list[tuple[str, str, int]] = []

    def probe(base: str, weights: Path, stage: str, recipe: Training, tokens: int) -> None:
        tried.append((base, stage, tokens))
        key = (base, stage, benching.device_name(), version("torch"), benching.shape_of(recipe))
        write_json(benching.home() / "rates.json", [benching.Probed(*key, 1000.0, 4, 9.0)])

    monkeypatch.setattr(benching, "probe", probe)
    measure(wen, "sft", other)
    assert tried[0][:2] == (wen.manifest.base, "sft") and 10 < tried[0][2] < 200
    planned = plan(wen, "sft", other)
    assert planned.seconds == (planned.sequences or 0) * 96 / 1000 and planned.seconds_from.startswith("4 steps measured on ")

    snapshot(wen, 4)  # material goes on; the run does not care
    (wen.recipes).mkdir(exist_ok=True)
    (wen.recipes / "sft.toml").write_text("learning_rate = 5e-3\n")
    same = ended(again.reproduce(wen, "sft-1-e1"))
    assert losses(same.path) == losses(first.path) and len(losses(same.path)) == 3
    assert events(same.path, "eval")[-1]["val_loss"] == events(first.path, "eval")[-1]["val_loss"]
    found = compare([first, same])
    assert found.recipe == [] and found.weights == "the same to the byte" and found.runs == ["sft-1", "sft-2"]

    more = ended(again.extend(wen, "sft-1"))
    assert more.inputs.parent == "sft-1-e1" and more.inputs.snapshot == first.inputs.snapshot
    found = compare([first, more])
    assert [(line.name, line.values) for line in found.recipe] == [("seed", ["17", "18"]), ("parent", ["base", "sft-1-e1"])]
    results = {line.name: line.values for line in found.results}
    assert results["steps"] == ["3 of 3", "3 of 3"] and float(results["validation at last"][1]) < float(results["validation at last"][0])
    assert found.weights == "different"

    # A run that still goes on is waited for; one that made nothing cannot be extended.
    waiting = start(wen, "sft", resolve(wen, "sft", None, SETTINGS))
    assert again.extend(wen, waiting.id).inputs.after == waiting.id
    update_status(waiting.path, state="failed")
    with pytest.raises(StudioError, match="made no checkpoint to go on from"):
        again.extend(wen, waiting.id)
    with pytest.raises(StudioError, match="only a training that runs can save now"):
        again.save_now(wen, "sft-1")

    # The card alone is enough; rows that were changed are not.
    shutil.rmtree(first.path)
    assert again.recipe_of(again.reproduce(wen, "sft-1-e1")) == again.recipe_of(same)
    train = wen.snapshots / same.inputs.snapshot / "train.jsonl"
    train.write_text(train.read_text().replace("rained", "snowed"))
    with pytest.raises(StudioError, match="changed after it was frozen"):
        again.reproduce(wen, "sft-1-e1")
    with pytest.raises(StudioError, match="was not trained"):
        again.reproduce(wen, "base")
    assert get_run(wen, "sft-2").id == "sft-2"
