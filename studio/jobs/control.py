"""What faces and stages ask of jobs: submit, list, cancel, pause, retry, follow. The run folders are the queue.

A run's state is what its ``status.json`` says *and* its locks confirm: a job whose log is locked is alive, whatever happened to
its runner; one whose locks are free is over, and what it left behind says how it ended (``ending``).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import folder_size, write_atomic, write_json
from studio.home import home
from studio.jobs import ending, executors, processes
from studio.jobs.ending import Result, changing, clear_leftovers, is_alive, is_watched, read_result
from studio.jobs.notify import clean_environment
from studio.jobs.runs import (
    AGAIN,
    CANCELLED,
    ENDED,
    PAUSED,
    QUEUED,
    RUNNING,
    SKIPPED,
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
from studio.jobs.states import trainer_folder
from studio.persona.folder import Persona

__all__ = ["Result", "changing", "is_alive", "read_result"]

GRACE = 120.0
"""Seconds a training gets between SIGTERM and SIGKILL, for a last trainer state."""
SHORT_GRACE = 10.0
"""The same for what saves nothing on the way."""
TRAININGS = frozenset(("cpt", "sft", "dpo", "orpo"))


def submit(persona: Persona, inputs: Inputs, recipe_toml: str) -> Run:
    """Queue a run and see that somebody works on the queue."""
    inputs.on = executors.choose(inputs.stage, inputs.on)
    run = create_run(persona, inputs, recipe_toml)
    kick()
    return run


def kick(always: bool = False) -> None:
    """See that a dispatcher is at work. One that is looks at the queue once more after it has let go of its lock, so nothing queued is
    forgotten; ``always``: start another all the same (it leaves at once), for what is not in the queue."""
    if not always and processes.is_locked(home() / "locks" / "dispatcher.lock"):
        return
    environment = clean_environment() | {"STUDIO_HOME": str(home().absolute())}
    processes.detach(processes.python("studio.jobs.dispatcher"), home() / "dispatcher.log", environment)


def settle(run: Run) -> Run:
    """The run with its true state. Whatever is left to do for it (go on by itself, a job without a supervisor) is set going."""
    settled = ending.settle(run)
    if run.status.state == RUNNING and (settled.status.state == QUEUED or (settled.status.state == RUNNING and not is_watched(run.path))):
        kick()
    return settled


def runs(persona: Persona) -> list[Run]:
    """All runs of the persona with their true states, the oldest first."""
    return [settle(run) for run in all_runs(persona)]


def run(persona: Persona, run_id: str) -> Run:
    return settle(get_run(persona, run_id))


def grace_of(run: Run) -> float:
    return GRACE if run.inputs.stage in TRAININGS else SHORT_GRACE


def cancel(persona: Persona, run_id: str, grace: float | None = None) -> Run:
    """Take a run off the queue, or ask a running one to save and stop.

    Returns at once: the wish is a file that the job's supervisor looks at, now or whenever there is one again.
    """
    found = run(persona, run_id)
    with changing(found.path):
        state = read_run(found.path).status.state
        if state in ENDED:
            raise StudioError(f"{run_id} is {state} already; there is nothing to cancel.")
        write_atomic(found.path / "cancel", str(grace_of(found) if grace is None else grace))
        if state in (QUEUED, PAUSED):
            update_status(found.path, state=CANCELLED, message="Cancelled before it started.", ended=time.time())
            append_event(found.path, "state", state=CANCELLED)
    executors.of(found).cancel(found)
    if state != RUNNING or not is_watched(found.path):
        kick(always=True)  # to end a job whose supervisor is dead; to tell those that waited for it
    return run(persona, run_id)


def pause(persona: Persona, run_id: str) -> Run:
    """Hold a waiting run back, or ask a running one to save and stop. Either keeps its place in the queue."""
    found = run(persona, run_id)
    with changing(found.path):
        state = read_run(found.path).status.state
        if state not in (QUEUED, RUNNING):
            raise StudioError(f"{run_id} is {state}; only queued and running runs are paused.")
        write_atomic(found.path / "pause", str(grace_of(found)))
        if state == QUEUED:
            update_status(found.path, state=PAUSED, message=f"Paused; `studio jobs resume {run_id}` lets it go on.")
            append_event(found.path, "state", state=PAUSED)
    executors.of(found).cancel(found)
    if state == RUNNING and not is_watched(found.path):
        kick(always=True)
    return run(persona, run_id)


def resume(persona: Persona, run_id: str) -> Run:
    """Let a paused run go on, from its last whole trainer state if it had begun."""
    found = run(persona, run_id)
    with changing(found.path):
        found = read_run(found.path)
        if found.status.state == RUNNING and (found.path / "pause").exists():
            raise StudioError(f"{run_id} is just being saved; resume it when it is paused.")
        if found.status.state != PAUSED:
            raise StudioError(f"{run_id} is {found.status.state}; only paused runs are resumed.")
        clear_leftovers(found.path)
        update_status(found.path, state=QUEUED, message="")
        append_event(found.path, "state", state=QUEUED)
    kick()
    return read_run(found.path)


def retry(persona: Persona, run_id: str) -> Run:
    """Queue an ended run again; training goes on from its last whole trainer state. Runs that were skipped because of it come along."""
    found = run(persona, run_id)
    if found.inputs.after and found.status.state == SKIPPED:
        before = run(persona, found.inputs.after)
        if before.status.state in AGAIN:
            raise StudioError(f"{run_id} waits for {before.id}, which is {before.status.state}; retry {before.id}, {run_id} comes along.")
    with changing(found.path):
        found = read_run(found.path)
        if found.status.state not in AGAIN:
            raise StudioError(f"{run_id} is {found.status.state}; only failed, cancelled, interrupted and skipped runs are tried again.")
        clear_leftovers(found.path)
        update_status(found.path, state=QUEUED, message="", ended=0.0, requeues=0)
        append_event(found.path, "state", state=QUEUED)
    again = {run_id}
    for follower in all_runs(persona):
        if follower.inputs.after in again and follower.status.state == SKIPPED:
            with changing(follower.path):
                if read_run(follower.path).status.state == SKIPPED:
                    update_status(follower.path, state=QUEUED, message="", ended=0.0)
                    append_event(follower.path, "state", state=QUEUED)
            again.add(follower.id)
    kick()
    return read_run(found.path)


def give_way(persona: Persona, run_id: str) -> Run:
    """Let the studio's servers stop for a waiting run, and come back after it."""
    found = run(persona, run_id)
    with changing(found.path):
        found = read_run(found.path)
        if found.status.state not in (QUEUED, PAUSED):
            raise StudioError(f"{run_id} is {found.status.state}; servers give way only to a run that waits.")
        write_json(found.path / "inputs.json", msgspec.structs.replace(found.inputs, give_way=True))
        update_status(found.path, message="")  # a new status is what tells readers to read again
    kick()
    return read_run(found.path)


def prune(persona: Persona) -> list[tuple[str, int]]:
    """Remove the trainer states of ended runs: ``(run, bytes)`` of each. They can be retried afterwards, but start over."""
    freed = []
    for found in runs(persona):
        folder = trainer_folder(found.path)
        if found.status.state in ENDED and folder.is_dir():
            with changing(found.path):
                if read_run(found.path).status.state in ENDED:
                    freed.append((found.id, folder_size(folder)))
                    shutil.rmtree(folder, ignore_errors=True)
    return freed


def follow(run_path: Path, interval: float = 0.2) -> Iterator[dict[str, Any]]:
    """The events of a run as they come, from the first, until it has ended or is paused; why it waits is told among them."""
    reader, waits = EventReader(run_path), ""
    while True:
        status = settle(read_run(run_path)).status
        if status.state == QUEUED and status.message.startswith("Waiting") and status.message != waits:
            waits = status.message
            yield {"t": time.time(), "kind": "state", "state": QUEUED, "message": waits}
        yield from reader.read()
        if status.state in (*ENDED, PAUSED):
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
            "after": r.inputs.after or None,
            "on": r.inputs.on or executors.HERE,
            "priority": r.status.priority,
        }
        for r in runs(persona)
    ]
