"""The runner: watches over one job from its start to its recorded end.

``python -m studio.jobs.runner RUN_FOLDER LEASE_FD READY_FD``, started by the dispatcher. It is light (no model library), ignores
the terminal, passes the lease on to the job, and outlives neither: the lease is free when the job's last process is gone.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from studio.jobs import control, processes
from studio.jobs.lease import HELD

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans among our descendants become our children, so that none escapes us."""


def run_job(path: Path, lease: int) -> int | None:
    """Run the stage of a run folder as a process and wait for it. Its exit code; negative for a signal."""
    log = os.open(path / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    # The lock lives on the open file that is the job's stdout: it is held as long as any process of the job writes there.
    fcntl.flock(log, fcntl.LOCK_EX)
    job = subprocess.Popen(
        processes.python("studio.stages", str(path)),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=os.environ | {processes.RUN_VARIABLE: str(path), HELD: str(lease)},
        pass_fds=(lease,),
        cwd=path,
    )
    os.close(log)
    told = False
    while True:
        try:
            return job.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            pass
        if not told and (path / "cancel").exists():
            told = True
            grace = float((path / "cancel").read_text() or control.GRACE)
            os.kill(job.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
        if told and time.monotonic() > deadline:
            os.killpg(job.pid, signal.SIGKILL)


def main(path: Path, lease: int, ready: int) -> None:
    os.umask(0o077)
    os.nice(10)  # the job may use every core: the app and a reply being streamed come first
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited "ignore" would make every exit code 0
    signal.signal(signal.SIGTERM, lambda *_: (path / "cancel").touch())
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own = os.open(path / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(own, fcntl.LOCK_EX)
    os.write(ready, b"1")
    os.close(ready)
    code = run_job(path, lease)
    survivors = [pid for pid in processes.members(path) if pid != os.getpid()]
    processes.end(survivors, grace=2.0)
    with control.changing(path):
        control.finish(path, code)
    os.close(lease)
    os.close(own)
    control.kick()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
