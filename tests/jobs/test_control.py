"""Real trainings of the pocket base, really killed and cancelled. The machinery around them: the fault matrix, ``test_faults_*``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from studio import forecast, launch
from studio.errors import StudioError
from studio.jobs import control, processes
from studio.jobs.runs import CANCELLED, DONE, INTERRUPTED, QUEUED, RUNNING, Run, append_event, read_events, read_run
from studio.persona.folder import Persona
from studio.recipes.files import resolve


def start(persona: Persona, epochs: float = 1) -> Run:
    small = [f"epochs={epochs}", "length=64", "batch=8", "evals_per_epoch=1", "learning_rate=1e-3", "gradient_checkpointing=false", "probes=0"]
    return launch.start(persona, "cpt", resolve(persona, "cpt", settings=small))


def wait(run: Run, until: Callable[[Run], object], seconds: float = 180) -> Run:
    """The run once ``until`` holds. Fails with the run's log if that never comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = control.settle(read_run(run.path))
        if until(now):
            return now
        time.sleep(0.1)
    raise AssertionError(f"{run.id} is {read_run(run.path).status}\n{control.log_tail(run.path)}")


def ended(run: Run) -> bool:
    return run.status.state not in (QUEUED, RUNNING)


def training(run: Run) -> bool:
    return run.status.state == RUNNING and any(e["kind"] == "step" for e in read_events(run.path))


def stage_pid(run: Run) -> int:
    for pid in processes.members(run.path):
        if b"studio.stages" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("no stage process")


def runner_pid(run: Run) -> int:
    for pid in processes.members(run.path):
        if b"studio.jobs.runner" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("no runner process")


def assert_nothing_left(run: Run) -> None:
    deadline = time.monotonic() + 10
    while processes.members(run.path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes.members(run.path) == []


def test_a_killed_job_goes_on_by_itself_and_an_ended_one_is_not_tried_again(trained: Persona) -> None:
    run = start(trained, epochs=3)
    wait(run, lambda r: any(e["kind"] == "saved" for e in read_events(r.path)))
    os.kill(stage_pid(run), signal.SIGKILL)
    done = wait(run, ended)
    assert done.status.state == DONE and done.status.attempts == 2 and done.status.requeues == 1
    assert_nothing_left(run)
    told = [e["message"] for e in read_events(run.path) if e["kind"] == "state" and e["state"] == INTERRUPTED]
    assert len(told) == 1 and "SIGKILL" in told[0] and "goes on from step" in told[0]
    assert any(e["kind"] == "resume" for e in read_events(run.path))
    steps = [e["step"] for e in read_events(run.path) if e["kind"] == "eval" and e["step"]]
    assert max(steps) == done.status.steps
    with pytest.raises(StudioError, match="only failed, cancelled"):
        control.retry(trained, run.id)


def test_cancel_saves_stops_and_can_be_taken_up_again(trained: Persona) -> None:
    run, waiting = start(trained, epochs=40), start(trained)
    wait(run, training)
    assert control.cancel(trained, waiting.id).status.state == CANCELLED
    control.cancel(trained, run.id)
    stopped = wait(run, ended)
    assert stopped.status.state == CANCELLED
    assert_nothing_left(run)
    assert any((run.path / "trainer").iterdir()), "no trainer state was saved on the way out"
    with pytest.raises(StudioError, match="already"):
        control.cancel(trained, run.id)


def test_a_torn_event_line_is_waited_for(trained: Persona) -> None:
    run = control.runs(trained)[0]
    before = len(read_events(run.path))
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(b'{"t": 1, "kind": "phase", "na')
    assert len(read_events(run.path)) == before
    append_event(run.path, "phase", name="after")
    assert [e.get("name") for e in read_events(run.path)[before:]] == ["after"]


def test_what_cannot_end_well_is_refused_before_it_is_queued(trained: Persona) -> None:
    count = len(control.runs(trained))
    with pytest.raises(StudioError, match="no dialogue snapshot"):
        launch.start(trained, "sft", resolve(trained, "sft"))
    with pytest.raises(StudioError, match="at most"):
        launch.start(trained, "cpt", resolve(trained, "cpt", settings=["length=100000"]))
    with pytest.raises(StudioError, match="no key"):
        resolve(trained, "cpt", settings=["leraning_rate=1"])
    with pytest.raises(StudioError, match="learning_rate"):
        resolve(trained, "cpt", settings=["learning_rate=much"])
    with pytest.raises(StudioError, match="no checkpoint"):
        forecast.plan(trained, "cpt", resolve(trained, "cpt"), "nowhere")
    assert len(control.runs(trained)) == count
