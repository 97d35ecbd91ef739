"""Row 20 with a real training: ``STUDIO_STORM=n`` kills it 5 n times at random moments; it must end as one that was left alone."""

from __future__ import annotations

import os
import random
import time

import pytest

from studio import launch
from studio.home import home
from studio.jobs import control
from studio.jobs.runs import DONE, INTERRUPTED, Run, read_events, read_run
from studio.persona.folder import Persona
from studio.recipes.files import resolve
from tests.jobs.machine import Machine, over, running

SMALL = ["epochs=6", "length=64", "batch=2", "evals_per_epoch=1", "saves_per_epoch=8", "learning_rate=1e-3", "gradient_checkpointing=false"]


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

    def told(of: Run, kind: str, value: str) -> dict[int, float]:
        return {event["step"]: event[value] for event in read_events(of.path) if event["kind"] == kind}

    assert told(run, "step", "loss") == told(whole, "step", "loss")
    assert told(run, "eval", "val_loss") == told(whole, "eval", "val_loss")
    weights = [(trained.checkpoints / f"{r.id}-e6" / "model.safetensors").read_bytes() for r in (run, whole)]
    assert weights[0] == weights[1]
    attempts = read_run(run.path).status.attempts
    print(f"\nfault matrix row 20 (real training): {machine.injected['SIGKILL']} faults injected, {attempts} attempts, 0 losses found")
