"""What faces and stages ask of jobs: submit, list, cancel, retry, follow. The run folders are the queue.

A run's state is what its ``status.json`` says *and* its locks confirm: a job whose log is locked is alive, whatever happened to
its runner; one whose locks are free is over, and its own ``result.json`` says how it ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import lock, write_atomic
from studio.jobs import processes
from studio.jobs.runs import (
    CANCELLED,
    DONE,
    ENDED,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    EventReader,
    Inputs,
    Run,
    all_runs,
    append_event,
    create_run,
    get_run,
    read_run,
    update_status,
)
from studio.persona.folder import Persona

GRACE = 120.0
"""Seconds a training gets between SIGTERM and SIGKILL, for a last trainer state."""


class Result(msgspec.Struct):
    """``result.json``, the last act of a stage process. Only this makes a run done; an exit code alone never does."""

    ok: bool = False
    error: str = ""
    checkpoints: list[str] = []
    global_step: int = 0
    planned_steps: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


def read_result(path: Path) -> Result | None:
    try:
        return msgspec.json.decode((path / "result.json").read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        return None


def submit(persona: Persona, inputs: Inputs, recipe_toml: str) -> Run:
    """Queue a run and see that somebody works on the queue."""
    run = create_run(persona, inputs, recipe_toml)
    kick()
    return run


def kick() -> None:
    """Start a dispatcher. If one is at work already, the new one leaves at once."""
    from studio.home import home

    processes.detach(processes.python("studio.jobs.dispatcher"), home() / "dispatcher.log")


def changing(path: Path) -> Any:
    """The lock under which a run's state is changed."""
    return lock(path / "state.lock")


def is_alive(path: Path) -> bool:
    """Whether the job's own process (or anything it left behind) or its runner lives."""
    return processes.is_locked(path / "log.txt") or processes.is_locked(path / "runner.lock")


def settle(run: Run) -> Run:
    """The run with its true state: one that was running when everything died is judged by what it left behind."""
    if run.status.state != RUNNING or is_alive(run.path):
        return run
    with changing(run.path):
        run = read_run(run.path)
        if run.status.state == RUNNING and not is_alive(run.path):
            finish(run.path, exit_code=None)
    return read_run(run.path)


def finish(path: Path, exit_code: int | None) -> None:
    """Record how a run ended. Its own result comes before the exit code, the exit code before "interrupted"."""
    result = read_result(path)
    asked_to_stop = (path / "cancel").exists()
    if result and result.ok:
        state, message = DONE, ""
    elif asked_to_stop:
        state, message = CANCELLED, "Cancelled; the last trainer state is kept, `studio jobs retry` goes on from it."
    elif result and result.error:
        state, message = FAILED, result.error
    elif exit_code is None or exit_code < 0 or exit_code in (130, 143):
        state, message = INTERRUPTED, "Interrupted before its end; `studio jobs retry` goes on from the last trainer state."
    else:
        state, message = FAILED, f"The stage ended with exit code {exit_code} and no result; the reason is at the end of its log."
    update_status(path, state=state, message=message, ended=time.time())
    append_event(path, "state", state=state, message=message)


def runs(persona: Persona) -> list[Run]:
    """All runs of the persona with their true states, the oldest first."""
    return [settle(run) for run in all_runs(persona)]


def run(persona: Persona, run_id: str) -> Run:
    return settle(get_run(persona, run_id))


def cancel(persona: Persona, run_id: str, grace: float = GRACE) -> Run:
    """Take a run off the queue, or ask a running one to save and stop.

    Returns at once; a running job is ended by its runner, or from here if the runner is dead.
    """
    found = run(persona, run_id)
    with changing(found.path):
        state = read_run(found.path).status.state
        if state in ENDED:
            raise StudioError(f"{run_id} is {state} already; there is nothing to cancel.")
        write_atomic(found.path / "cancel", str(grace))
        if state == QUEUED:
            update_status(found.path, state=CANCELLED, message="Cancelled before it started.", ended=time.time())
            append_event(found.path, "state", state=CANCELLED)
    if state == RUNNING and not processes.is_locked(found.path / "runner.lock"):
        processes.end(processes.members(found.path), grace)
    return run(persona, run_id)


def retry(persona: Persona, run_id: str) -> Run:
    """Queue an ended run again; training goes on from its last whole trainer state."""
    found = run(persona, run_id)
    with changing(found.path):
        found = read_run(found.path)
        if found.status.state not in (FAILED, CANCELLED, INTERRUPTED):
            raise StudioError(f"{run_id} is {found.status.state}; only failed, cancelled and interrupted runs are tried again.")
        for leftover in ("cancel", "result.json"):
            (found.path / leftover).unlink(missing_ok=True)
        update_status(found.path, state=QUEUED, message="", ended=0.0)
        append_event(found.path, "state", state=QUEUED)
    kick()
    return read_run(found.path)


def follow(run_path: Path, interval: float = 0.2) -> Iterator[dict[str, Any]]:
    """The events of a run as they come, from the first, until it has ended."""
    reader = EventReader(run_path)
    while True:
        ended = settle(read_run(run_path)).status.state in ENDED
        yield from reader.read()
        if ended:
            return
        time.sleep(interval)


def log_tail(path: Path, bytes_: int = 16_384) -> str:
    """The end of ``log.txt``, undecodable bytes replaced."""
    try:
        with (path / "log.txt").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - bytes_))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def listing(persona: Persona) -> list[dict[str, Any]]:
    """What ``studio jobs list --json`` prints."""
    return [
        {
            "id": r.id,
            "stage": r.inputs.stage,
            "state": r.status.state,
            "run": str(r.path),
            "started": r.status.started or None,
            "ended": r.status.ended or None,
            "step": r.status.step,
            "steps": r.status.steps,
            "message": r.status.message,
            "checkpoints": r.status.checkpoints,
        }
        for r in runs(persona)
    ]
