"""Processes of ours: kept apart from the terminal, told alive from dead by locks, ended with all their descendants."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

RUN_VARIABLE = "STUDIO_RUN"
"""Set in the environment of a run's processes to the run folder, so that survivors of a killed launcher are found."""


def detach(argv: list[str], log: Path, environment: Mapping[str, str] | None = None, keep: Iterable[int] = ()) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, all three standard streams away from the terminal: it outlives whoever started it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=None if environment is None else dict(environment),
            pass_fds=tuple(keep),
            cwd="/",
        )


def python(*arguments: str) -> list[str]:
    """argv for one of our own modules, with this interpreter."""
    return [sys.executable, "-P", "-m", *arguments]


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock on ``path``: the file decides what is alive, never a pid or a time alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def members(run: Path) -> list[int]:
    """Pids of all living processes that belong to a run: its folder in their environment, or its locked log open.

    vLLM's and torchrun's workers outlive a killed launcher, and a program that sets its process title wipes its environment;
    hence both signs.
    """
    mark = f"{RUN_VARIABLE}={run}\0".encode()
    try:
        log = os.stat(run / "log.txt")
    except FileNotFoundError:
        log = None
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            if state == b"Z":
                continue
            if mark in (entry / "environ").read_bytes() + b"\0" or (log and _has_open(entry / "fd", log)):
                found.append(int(entry.name))
        except (OSError, IndexError):
            continue
    return found


def _has_open(descriptors: Path, wanted: os.stat_result) -> bool:
    for link in (descriptors / "1", descriptors / "2"):
        try:
            opened = link.stat()
        except OSError:
            continue
        if (opened.st_dev, opened.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def end(pids: Iterable[int], grace: float) -> list[int]:
    """SIGTERM to each, ``grace`` seconds, then SIGKILL. Returns those that had to be killed."""
    waiting = [pid for pid in pids if _signal(pid, signal.SIGTERM)]
    deadline = time.monotonic() + grace
    while waiting and time.monotonic() < deadline:
        time.sleep(0.05)
        waiting = [pid for pid in waiting if is_running(pid)]
    return [pid for pid in waiting if _signal(pid, signal.SIGKILL)]


def is_running(pid: int) -> bool:
    """Whether a pid is alive and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except (OSError, IndexError):
        return False


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
