"""A pocket base for the whole session, and run folders made by hand as the launcher would make them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from transformers.utils import logging as transformers_logging

from studio.files import write_json
from studio.jobs.runs import Inputs, Status, read_events
from studio.recipes.files import recipe_type, to_toml
from studio.recipes.schema import Training
from studio.stages.__main__ import main
from studio.stages.pocket import CORPUS, ensure_pocket
from studio.stages.stopping import STOPPED
from studio.stages.story import Story

QUICK = {
    "learning_rate": 1e-3,
    "length": 64,
    "batch": 2,
    "epochs": 1.0,
    "evals_per_epoch": 1,
    "gradient_checkpointing": False,
    "probes": 0,
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums in one order: losses of two runs can then be compared to the last bit."""
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = os.environ.get("STUDIO_HOME")
    os.environ["STUDIO_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield ensure_pocket()
    if before is None:
        del os.environ["STUDIO_HOME"]
    else:
        os.environ["STUDIO_HOME"] = before


def lore(count: int) -> list[dict[str, Any]]:
    return [{"text": line} for line in CORPUS.read_text(encoding="utf-8").splitlines()[:count]]


def dialogue(count: int) -> list[dict[str, Any]]:
    rows = []
    for row in lore(count):
        words = row["text"].split()
        rows.append(
            {
                "messages": [
                    {"role": "system", "content": "You are Wen."},
                    {"role": "user", "content": " ".join(words[:5])},
                    {"role": "assistant", "content": " ".join(words[5:12]) or "Yes."},
                    {"role": "user", "content": "And then?"},
                    {"role": "assistant", "content": "Then it rained."},
                ]
            }
        )
    return rows


def preference(count: int) -> list[dict[str, Any]]:
    """Pairs in which the better reply is the text's own and the worse one another text's."""
    found = []
    texts = [row["text"].split() for row in lore(count + 1)]
    for words, other in itertools.pairwise(texts):
        found.append(
            {
                "prompt": [{"role": "system", "content": "You are Wen."}, {"role": "user", "content": " ".join(words[:5])}],
                "chosen": [{"role": "assistant", "content": " ".join(words[5:12]) or "Yes."}],
                "rejected": [{"role": "assistant", "content": "I am sorry to hear that. " + " ".join(other[:4])}],
            }
        )
    return found


def write_rows(folder: Path, train: list[Any], val: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("val", val)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path, pocket: Path) -> MakeRun:
    """``make_run("cpt", epochs=2.0, …)`` gives a run folder; ``parent`` names a checkpoint of the same persona."""
    return partial(run_in, tmp_path, pocket)


def run_in(
    root: Path,
    pocket: Path,
    stage: str,
    name: str = "",
    parent: str = "base",
    weights: Path | None = None,
    kind: str = "full",
    train: list[Any] | None = None,
    val: list[Any] | None = None,
    **settings: Any,
) -> Path:
    """A run folder of the persona in ``root``."""
    rows = {"cpt": lore, "dpo": preference, "orpo": preference}.get(stage, dialogue)
    run = root / "persona" / "runs" / (name or f"{stage}-1")
    run.mkdir(parents=True)
    data = write_rows(root / "data" / run.name, rows(24) if train is None else train, rows(28)[24:] if val is None else val)
    recipe = msgspec.convert(QUICK | settings if issubclass(recipe_type(stage), Training) else settings, recipe_type(stage))
    (run / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
    parent_path = pocket if parent == "base" else root / "persona" / "checkpoints" / parent
    inputs = Inputs(
        stage=stage,
        persona=str(root / "persona"),
        parent=parent,
        parent_path=str(parent_path),
        parent_kind=kind,
        weights_path=str(weights or parent_path),
        base="pocket",
        snapshot="snapshot-1",
        data=str(data),
    )
    write_json(run / "inputs.json", inputs)
    write_json(run / "status.json", Status(stage=stage))
    return run


def done(run: Path) -> dict[str, Any]:
    """Run a stage in this process and give its result, which must be good."""
    assert main([str(run)]) == 0, (run / "result.json").read_text()
    return result(run)


def result(run: Path) -> dict[str, Any]:
    value = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["kind"] == kind]


def losses(run: Path) -> list[tuple[int, float]]:
    """``(step, loss)``, of a step done twice the later one."""
    return sorted({event["step"]: event["loss"] for event in events(run, "step")}.items())


def stop_at(run: Path, step: int) -> None:
    """Do the stage in this process and send it SIGTERM when it tells of this step; it must say that it was stopped."""
    tell, before = Story.event, signal.getsignal(signal.SIGTERM)

    def event(story: Story, kind: str, **payload: Any) -> None:
        tell(story, kind, **payload)
        if kind == "step" and payload["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Story, "event", event)
            assert main([str(run)]) == STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)


def start(run: Path) -> subprocess.Popen[bytes]:
    """The stage as the runner starts it, one thread."""
    log = (run / "log.txt").open("ab")
    return subprocess.Popen([sys.executable, "-m", "studio.stages", str(run)], stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


def hit_after(run: Path, process: subprocess.Popen[bytes], ready: Callable[[], bool], signal_number: signal.Signals) -> int:
    """Send a signal as soon as ``ready`` is true; the exit code."""
    while not ready():
        assert process.poll() is None, (run / "log.txt").read_text()
        time.sleep(0.005)
    process.send_signal(signal_number)
    return process.wait()
