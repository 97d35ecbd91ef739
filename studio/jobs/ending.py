"""How a run ended, judged by what it left behind; and whether it goes on by itself."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from studio.errors import StudioError
from studio.files import lock
from studio.jobs import notify, processes
from studio.jobs.attempt import Attempt, Exit, read_attempt, read_exit
from studio.jobs.runs import CANCELLED, DONE, FAILED, INTERRUPTED, PAUSED, QUEUED, RUNNING, Run, append_event, read_run, still_there, update_status
from studio.jobs.states import newest_step

REQUEUES = 3
"""Times an interrupted run is put back into the queue by itself."""

ASKED = frozenset((-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGHUP))
"""Exit codes of a process that was asked to end, as Python and as a shell say them."""

WRITTEN_ANEW = ("status.json", "attempt.json", "result.json", "inputs.json", "cancel", "pause")
"""What the processes of a run write as a whole, each beside its place first."""

NO_MEMORY = "The machine ran out of memory and the kernel killed the run; lower micro_batch or length, or take a smaller base, then retry it."


class Result(msgspec.Struct):
    """``result.json``, the last act of a stage process. Only this makes a run done; an exit code alone never does."""

    ok: bool = False
    error: str = ""
    checkpoints: list[str] = []
    global_step: int = 0
    planned_steps: int = 0
    message: str = ""
    """What people should know of a run that is done."""
    seconds: float = 0.0
    peak_memory_bytes: int = 0


class Verdict(NamedTuple):
    state: str
    message: str
    ended: float
    again: bool = False
    """Whether it goes back into the queue by itself."""


def read_result(path: Path) -> Result | None:
    try:
        return msgspec.json.decode((path / "result.json").read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        return None


def changing(path: Path) -> Any:
    """The lock under which a run's state is changed. StudioError if the folder is gone (and it is not made anew by locking in it)."""
    still_there(path)
    if not os.access(path, os.W_OK):
        raise StudioError(f"{path} cannot be written; check the folder's permissions, or whether its disk was mounted read-only.")
    return lock(path / "state.lock")


def is_alive(path: Path) -> bool:
    """Whether the job's own process (or anything it left behind) or its runner lives."""
    return processes.is_locked(path / "log.txt") or processes.is_locked(path / "runner.lock")


def _lives(run: Run) -> bool:
    """Whether it is alive by its locks or, where it runs elsewhere and they may not be seen, by those who run it."""
    from studio.jobs import executors

    return is_alive(run.path) or executors.of(run).lives(run)


def is_watched(path: Path) -> bool:
    """Whether a runner watches over the job."""
    return processes.is_locked(path / "runner.lock")


def judge(run: Run) -> Verdict:
    """How a run whose processes are gone ended. Its own result comes before the exit code, the exit code before "interrupted"."""
    result, attempt = read_result(run.path), read_attempt(run.path, run.status.attempts)
    record = read_exit(run.path, run.status.attempts) or Exit(run.status.attempts)
    ended = record.ended or time.time()
    if result and result.ok:
        return _done(run, result, ended)
    if (run.path / "cancel").exists():
        kept = (
            "the last trainer state is kept, `studio jobs retry` goes on from it" if newest_step(run.path) else "`studio jobs retry` starts it over"
        )
        return Verdict(CANCELLED, f"Cancelled; {kept}.", ended)
    if (run.path / "pause").exists():
        return Verdict(PAUSED, f"Paused{_at(run)}; `studio jobs resume {run.id}` goes on from there.", 0.0)
    if result and result.error:
        return Verdict(FAILED, result.error, ended)
    if record.out_of_memory and record.code == -signal.SIGKILL:
        return Verdict(FAILED, NO_MEMORY, ended)
    code = record.code
    if code is not None and code != -signal.SIGKILL and code not in ASKED:
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code} and no result"
        return Verdict(FAILED, f"The stage {how}; the reason is at the end of its log.", ended)
    return _interrupted(run, attempt, record, ended)


def _done(run: Run, result: Result, ended: float) -> Verdict:
    missing = [name for name in result.checkpoints if not (run.path.parent.parent / "checkpoints" / name / "checkpoint.toml").is_file()]
    if missing:
        return Verdict(FAILED, f"The stage said it was done, but {', '.join(missing)} is not there; retry it.", ended)
    if result.global_step < result.planned_steps:
        return Verdict(FAILED, f"The stage said it was done after {result.global_step} of {result.planned_steps} steps; retry it.", ended)
    return Verdict(DONE, result.message, ended)


def _interrupted(run: Run, attempt: Attempt | None, record: Exit, ended: float) -> Verdict:
    step = newest_step(run.path)
    from studio.jobs import executors

    elsewhere = executors.of(run).end_of(run)
    if elsewhere == "memory":
        return Verdict(FAILED, NO_MEMORY, ended)
    rebooted = attempt is not None and attempt.runner.boot != processes.boot_id() and run.inputs.on != executors.SLURM
    asked = record.outside or record.code in ASKED
    advanced = attempt is not None and step > attempt.step
    if not os.access(run.path, os.W_OK):
        what = "Its folder cannot be written any more; check the folder's permissions"
    elif attempt is None:
        what = "It was not started yet when its supervisor was killed"
    elif elsewhere:
        what = f"It {elsewhere}"
    elif rebooted:
        what = "The machine was restarted"
    elif asked:
        what = "It was asked from outside to stop (SIGTERM)"
    elif record.code == -signal.SIGKILL:
        what = "It was killed (SIGKILL)"
    else:
        what = "It and its supervisor were killed"
    if run.status.requeues < REQUEUES and (advanced or rebooted or asked or elsewhere or attempt is None) and elsewhere != executors.CANCELLED_THERE:
        where = f"it goes on from step {step}" if step else "it starts over"
        return Verdict(INTERRUPTED, f"{what}; {where} by itself ({run.status.requeues + 1} of {REQUEUES} times).", ended, again=True)
    too_often = f" for the {REQUEUES + 1}th time" if run.status.requeues >= REQUEUES else ""
    why = too_often or ("" if advanced or elsewhere else " before it had saved anything new")
    return Verdict(INTERRUPTED, f"{what}{why}; see its log, then `studio jobs retry {run.id}` goes on{_at(run, ' from step ')}.", ended)


def _at(run: Run, words: str = " at step ") -> str:
    step = newest_step(run.path)
    return f"{words}{step}" if step else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def finish(path: Path) -> Run:
    """Record how a run ended, under its ``changing`` lock. StudioError if that cannot be written: the next to look does it then."""
    run = read_run(path)
    for name in WRITTEN_ANEW:
        for part in path.glob(f".{name}.*"):  # whoever was writing it was killed
            part.unlink(missing_ok=True)
    verdict = judge(run)
    if verdict.state != DONE:
        _clear_servers(path)
    if verdict.again:
        clear_leftovers(path)
        status = update_status(path, state=QUEUED, message=verdict.message, ended=0.0, requeues=run.status.requeues + 1)
    else:
        status = update_status(path, state=verdict.state, message=verdict.message, ended=verdict.ended)
    try:
        append_event(path, "state", state=verdict.state, message=verdict.message)
    except StudioError:
        pass
    run = Run(path, run.inputs, status)
    if not verdict.again and verdict.state != PAUSED:
        notify.tell(run)
    return run


def _clear_servers(path: Path) -> None:
    """An engine that the run had started for itself would hold the device against everybody, the run itself first of all."""
    if (path.parent.parent / ".studio" / "servers").is_dir():
        from studio.engines.servers import stop_started_by

        stop_started_by(path)


def clear_leftovers(path: Path) -> None:
    """Before a run is queued again: nothing of its last attempt may speak for the next."""
    for leftover in ("cancel", "pause", "result.json"):
        (path / leftover).unlink(missing_ok=True)


def settle(run: Run) -> Run:
    """The run with its true state: one that was running when everything died is judged by what it left behind.

    Where the verdict cannot be written (a full disk, a read-only folder), it is given all the same.
    """
    if run.status.state != RUNNING or _lives(run):
        return run
    try:
        with changing(run.path):
            run = read_run(run.path)
            if run.status.state == RUNNING and not _lives(run):
                return finish(run.path)
        return run
    except (StudioError, OSError):
        verdict = judge(run)
        return Run(run.path, run.inputs, msgspec.structs.replace(run.status, state=verdict.state, message=verdict.message, ended=verdict.ended))
