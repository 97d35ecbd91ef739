"""The runner: watches over one job from its start to its recorded end.

``python -m studio.jobs.runner RUN_FOLDER ATTEMPT LEASE_FD READY_FD``, started by the dispatcher. It is light (no model library),
ignores the terminal, passes the lease on to the job, and outlives neither: the lease is free when the job's last process is gone.
With the run folder alone it adopts a job whose runner was killed; with ``RUN_FOLDER ATTEMPT`` it is the batch command of a cluster and
takes the run if that attempt is still to be had.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from studio.errors import StudioError
from studio.files import write_json
from studio.jobs import control, device, ending, lease, processes
from studio.jobs.attempt import Attempt, Exit, prepare_exit, read_attempt, write_exit
from studio.jobs.lease import HELD
from studio.jobs.runs import QUEUED, RUNNING, append_event, read_run, update_status
from studio.jobs.states import newest_step
from studio.settings import settings

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans among our descendants become our children, so that none escapes us."""

POLL = 0.15
"""Seconds between two looks at the job and at the wishes for it."""

KEPT_FROM_JOBS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "STUDIO_EXTERNAL_KEY")
"""Not in a stage's environment: it fetches nothing and calls nobody."""


class Wishes:
    """What others want of the job. Files, looked at again and again: one that came in a bad moment is not lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outside = False
        """SIGTERM has come from outside the studio: the job is to save and stop, and goes on later."""

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._heard)

    def _heard(self, *_: object) -> None:
        self.outside = True

    def grace(self) -> float | None:
        """Seconds the job has to end from when this was first said; None while nobody wants it to."""
        for name in ("cancel", "pause"):
            try:
                return float((self.path / name).read_text(encoding="ascii") or control.GRACE)
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                return control.GRACE
        return control.GRACE if self.outside else None


def command(path: Path) -> list[str]:
    """argv of a run's stage; on several cards torchrun starts one process for each."""
    if launcher := settings().jobs.launcher:
        return [*launcher, str(path)]
    count = read_run(path).inputs.devices
    return processes.python("studio.stages.launcher", str(count), str(path)) if count > 1 else processes.python("studio.stages", str(path))


def start(path: Path, number: int, leases: list[int]) -> subprocess.Popen[bytes]:
    """Start the stage of a run folder as a process, its log locked for as long as it or anything it starts writes there."""
    attempt = Attempt(number, newest_step(path), processes.identity(os.getpid()), device=",".join(device.uuids(read_run(path).inputs.devices)))
    prepare_exit(path)
    write_json(path / "attempt.json", attempt)
    log = os.open(path / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    # The lock lives on the open file that is the job's stdout: it is held as long as any process of the job writes there.
    fcntl.flock(log, fcntl.LOCK_EX)
    environment = {name: value for name, value in os.environ.items() if name not in KEPT_FROM_JOBS}
    job = subprocess.Popen(
        command(path),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        # The driver's own order of the cards is the one they are leased by.
        env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        | environment
        | {processes.RUN_VARIABLE: str(path), HELD: ",".join(str(descriptor) for descriptor in leases)},
        pass_fds=tuple(leases),
        cwd=path,
    )
    os.close(log)
    write_json(path / "attempt.json", msgspec.structs.replace(attempt, job=processes.identity(job.pid)))
    return job


def wait(path: Path, job: subprocess.Popen[bytes], wishes: Wishes) -> int:
    """Wait for the job and pass on what is wished. Its exit code; negative for a signal."""
    deadline = None
    its_end = os.pidfd_open(job.pid)
    while True:
        # As subreaper we are the parent of everything the job leaves behind: all of it is reaped, none stays a zombie.
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0 if job.returncode is None else job.returncode
        if pid == job.pid:
            job.returncode = os.waitstatus_to_exitcode(status)
            return job.returncode
        if pid:
            continue
        grace = wishes.grace()
        if grace is not None and deadline is None:
            _signal_group(job.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
        if deadline is not None and time.monotonic() > deadline:
            _signal_group(job.pid, signal.SIGKILL)
        select.select([its_end], [], [], POLL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def adopt(path: Path, wishes: Wishes) -> None:
    """Watch over a job that lost its runner, until nothing of it is left. Workers of a dead launcher are ended."""
    attempt = read_attempt(path, read_run(path).status.attempts)
    while processes.is_locked(path / "log.txt"):
        grace = wishes.grace()
        if attempt is not None and attempt.job.pid and not attempt.job.lives():
            grace = 2.0
        if grace is not None:
            processes.end(processes.members(path), grace)
        time.sleep(POLL)


def work(path: Path, number: int, leases: list[int] | None, wishes: Wishes) -> None:
    """The whole of it, the runner's own lock in hand."""
    if leases is None:
        adopt(path, wishes)
        record = Exit(number, outside=wishes.outside)
    else:
        kills = processes.oom_kills()
        code = wait(path, start(path, number, leases), wishes)
        record = Exit(number, code, wishes.outside, processes.oom_kills() > kills, time.time())
    processes.end(processes.members(path), grace=2.0)
    write_exit(path, record)


def on_a_node() -> bool:
    """Whether Slurm has started this process."""
    return "SLURM_JOB_ID" in os.environ


def claim(path: Path, number: int, own: int, wishes: Wishes) -> list[int] | None:
    """Take a queued run that was handed to a cluster, its GPUs leased against other jobs of the studio on this node; None if it is not to
    be had any more."""

    def is_ours() -> bool:
        status = read_run(path).status
        return status.state == QUEUED and status.attempts + 1 == number

    leases: list[int] = []
    if lease.gpus(1):
        while (taken := lease.take_all(read_run(path).inputs.devices)) is None:
            if wishes.outside or not is_ours():
                return None
            time.sleep(1.0)
        leases = taken
    with ending.changing(path):
        if not is_ours():
            return None
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        ending.clear_leftovers(path)
        update_status(path, state=RUNNING, message="", started=time.time(), ended=0.0, attempts=number)
        append_event(path, "state", state=RUNNING)
    return leases


def main(arguments: list[str]) -> None:
    path = Path(arguments[0])
    number = int(arguments[1]) if len(arguments) > 1 else 0
    leases = [int(word) for word in arguments[2].split(",")] if len(arguments) > 2 else None
    ready = int(arguments[3]) if len(arguments) > 3 else None
    os.umask(0o077)
    os.nice(10)  # the job may use every core: the app and a reply being streamed come first
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited "ignore" would make every exit code 0
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    wishes = Wishes(path)
    wishes.listen()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own = os.open(path / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if number and ready is None:
        leases = claim(path, number, own, wishes)
        if leases is None:
            return
        status = read_run(path).status
    elif ready is None:
        # An adopter never waits for the lock with the state's lock open to others: a new attempt may be starting under that one.
        with ending.changing(path):
            try:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            status = read_run(path).status
            number = status.attempts
    else:
        fcntl.flock(own, fcntl.LOCK_EX)  # the runner of the last attempt may still be on its way out
        os.write(ready, b"1")
        os.close(ready)
        with ending.changing(path):
            status = read_run(path).status
    # Whoever started us may have been killed, and the run been given to another attempt, before we had our lock.
    if status.state == RUNNING and status.attempts == number:
        try:
            work(path, number, leases, wishes)
            if not (wishes.outside and on_a_node()):  # who asked, and why, Slurm says only when the job is gone; whoever looks then settles it
                with ending.changing(path):
                    ending.finish(path)
        except (StudioError, OSError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)  # a full disk, a folder that moved: whoever looks next settles it
    for descriptor in leases or []:
        os.close(descriptor)
    os.close(own)
    # Where the machine goes down or somebody wants quiet nothing new is started by us; on a node of a cluster never.
    if not wishes.outside and not on_a_node():
        control.kick()


if __name__ == "__main__":
    main(sys.argv[1:])
