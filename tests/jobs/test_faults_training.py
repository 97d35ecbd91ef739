"""Row 20 with a real training: killed 50 times at random moments it must end as one that was left alone.

The stage by itself, forked (``warm``), for each attempt; and, with ``STUDIO_STORM=n``, the whole of queue, runner and stage, 5 n times.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio import launch, readiness
from studio.checkpoints.store import read_checkpoint
from studio.files import sha256_file
from studio.home import home
from studio.jobs import control, ending
from studio.jobs.runs import DONE, INTERRUPTED, RUNNING, Run, create_run, read_events, read_run, update_status
from studio.jobs.states import newest_step, read_marker, state_folders
from studio.lore import build
from studio.persona.folder import Persona, create
from studio.recipes.files import resolve, to_toml
from tests.conftest import LORE
from tests.jobs.machine import Machine, over, running
from tests.jobs.warm import Warm, spent

SMALL = ["epochs=6", "length=64", "batch=2", "evals_per_epoch=1", "saves_per_epoch=8", "learning_rate=1e-3", "gradient_checkpointing=false"]
TINY = ["epochs=2", "length=64", "batch=4", "micro_batch=4", "evals_per_epoch=1", "saves_per_epoch=100", "gradient_checkpointing=false", "probes=0"]


def learned(run: Run) -> list[object]:
    """Everything that a training of the same recipe must come to again: losses, validation losses, and the weights of each epoch."""
    events = read_events(run.path)
    told = [{event["step"]: event[value] for event in events if event["kind"] == kind} for kind, value in (("step", "loss"), ("eval", "val_loss"))]
    made = [(run.path.parent.parent / "checkpoints" / name / "model.safetensors").read_bytes() for name in read_run(run.path).status.checkpoints]
    return [*told, *made]


@pytest.fixture
def warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.stop()


@pytest.fixture
def small(pocket: None, light: Path) -> Persona:
    """A persona with a little lore that no dispatcher looks after."""
    persona = create("Wen", parent=light)
    (persona.lore / "book.txt").write_text(LORE[:10000])
    build.build(persona)
    return persona


def begin(persona: Persona) -> Run:
    """A run as the dispatcher leaves it to its stage."""
    recipe = resolve(persona, "cpt", settings=TINY)
    run = create_run(persona, readiness.prepare(persona, "cpt", recipe), to_toml(recipe))
    update_status(run.path, state=RUNNING, attempts=1)
    return read_run(run.path)


def doing(run: Run) -> str:
    """What a killed attempt was at, by what it left."""
    if any((run.path / "trainer" / ".staging").glob("*")):
        return "saving a state"
    if any(path.name.startswith(".") for path in (run.path.parent.parent / "checkpoints").iterdir()):
        return "writing a checkpoint"
    phase = next((event["name"] for event in reversed(read_events(run.path)) if event["kind"] == "phase"), "")
    return "training" if phase.startswith("Training") else "starting"


def torn(run: Run) -> list[str]:
    """What can be seen and is not whole."""
    wrong = [state.name for state in state_folders(run.path) if read_marker(state) is None]
    for folder in (run.path.parent.parent / "checkpoints").glob(f"{run.id}-*"):
        digests = read_checkpoint(folder).digests
        wrong += [f"{folder.name}/{name}" for name, digest in digests.items() if sha256_file(folder / name) != digest]
        wrong += [folder.name] * ("model.safetensors" not in digests)
    return wrong


@pytest.mark.timeout(1800)
def test_row_20_a_real_training_killed_fifty_times(small: Persona, warm: Warm) -> None:
    whole, span = begin(small), 0.0
    pid = warm.attempt(whole.path)
    while not span and spent(pid) < float("inf"):
        if len(Machine.steps(whole)) >= 3:
            span = spent(pid)
        time.sleep(0.01)
    assert warm.ended() == 0 and span, control.log_tail(whole.path)
    assert control.settle(read_run(whole.path)).status.state == DONE

    chance, left, places, runs = random.Random(20), 50, Counter[str](), list[Run]()
    while left:
        run = begin(small)
        runs.append(run)
        while ending.judge(run).state == INTERRUPTED:
            step, pid = newest_step(run.path), warm.attempt(run.path)
            moment = chance.uniform(0, 0.9 * span) if left else float("inf")
            while spent(pid) < moment:
                time.sleep(0.003)
            if left:
                warm.kill(pid)
            code = warm.ended()
            assert code in (0, -signal.SIGKILL), control.log_tail(run.path)
            if code:
                left -= 1
                places[doing(run)] += 1
            assert torn(run) == []
            assert newest_step(run.path) >= step or ending.judge(run).state == DONE, "a step that had been saved was lost"
        assert control.settle(read_run(run.path)).status.state == DONE

    working = [path for run in runs for folder in (run.path, small.checkpoints) for path in folder.glob(".*")]
    assert working == [] and not any((run.path / "trainer").exists() for run in runs)
    assert all(learned(run) == learned(whole) for run in runs) and len(learned(whole)) == 4
    # Whether one falls into a save, some milliseconds here, is left to chance: row 7 has one at each file of it.
    assert places["starting"] and places["training"], places
    assert places.total() == 50
    print(f"\nfault matrix row 20 (real training): {places.total()} faults injected ({dict(places)}), {len(runs)} trainings, 0 losses found")


@pytest.mark.skipif("STUDIO_STORM" not in os.environ, reason="a real training under a storm of kills takes minutes; set STUDIO_STORM=1 or more")
@pytest.mark.timeout(1800)
def test_row_20_a_real_training_in_a_storm(trained: Persona) -> None:
    machine = Machine.around(home(), trained)
    recipe = resolve(trained, "cpt", settings=SMALL)

    def start() -> Run:
        return launch.start(trained, "cpt", recipe)

    whole = start()
    assert machine.wait(whole, over, 300).status.state == DONE
    chance = random.Random(20)
    run, kills = start(), 5 * int(os.environ["STUDIO_STORM"])
    while kills and not over(read_run(run.path)):
        done = len(machine.steps(run))
        machine.wait(run, lambda r, done=done: over(r) or len(machine.steps(r)) > done, 300)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 1.0))
        pids = [pid for pid, kind in machine.pids().items() if kind in ("stage", "runner")]
        if pids and running(read_run(run.path)):
            machine.kill(chance.choice(pids))
            kills -= 1
        machine.wait(run, lambda r: r.status.state != "running" or control.is_alive(r.path))
        if control.settle(read_run(run.path)).status.state == INTERRUPTED:
            control.retry(trained, run.id)
    while machine.wait(run, over, 300).status.state == INTERRUPTED:
        control.retry(trained, run.id)
    assert read_run(run.path).status.state == DONE, read_run(run.path).status.message

    assert learned(run) == learned(whole)
    attempts = read_run(run.path).status.attempts
    print(f"\nfault matrix row 20 (real training): {machine.injected['SIGKILL']} faults injected, {attempts} attempts, 0 losses found")
