"""Processes of ours: kept apart from the terminal, told alive from dead by locks, ended with all their descendants."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import msgspec

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
    """Whether some process holds the lock on ``path``: the file decides what is alive, never a pid or a time alone.

    Asked with a shared lock, so that any number of viewers may ask at once and none takes another for a holder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


class Identity(msgspec.Struct, frozen=True):
    """One process for ever: a pid alone is given away again, with its start time it is not, and across boots the boot id tells."""

    pid: int = 0
    born: int = 0
    """Start time in clock ticks since boot (no wall clock: setting the clock changes nothing)."""
    boot: str = ""

    def lives(self) -> bool:
        return bool(self.pid) and self.boot == boot_id() and born(self.pid) == self.born


def identity(pid: int) -> Identity:
    return Identity(pid, born(pid) or 0, boot_id())


@cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def born(pid: int) -> int | None:
    """Start time of a living process in clock ticks since boot; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def members(run: Path) -> list[int]:
    """Pids of all living processes that belong to a run: its folder in their environment, its log as their output, or the lock on it in hand.

    vLLM's and torchrun's workers outlive a killed launcher, and a program that sets its process title wipes its environment;
    hence all these signs.
    """
    mark = f"{RUN_VARIABLE}={run}\0".encode()
    try:
        log = os.stat(run / "log.txt")
    except OSError:
        log = None
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid() or born(int(entry.name)) is None:
            continue
        try:
            if mark in (entry / "environ").read_bytes() + b"\0" or (log and _writes_to(entry, log)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def holders(file: Path) -> list[int]:
    """Pids of the processes that have the lock on ``file`` in hand."""
    try:
        wanted = os.stat(file)
    except OSError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if any(_is_flock(entry, number) for number in _opened(entry, wanted)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _writes_to(process: Path, log: os.stat_result) -> bool:
    return any(number in ("1", "2") or _is_flock(process, number) for number in _opened(process, log))


def _opened(process: Path, wanted: os.stat_result) -> list[str]:
    """Numbers of the descriptors a process has open on a file."""
    found = []
    for link in os.scandir(process / "fd"):
        try:
            opened = os.stat(link.path)
        except OSError:
            continue
        if (opened.st_dev, opened.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(link.name)
    return found


def _is_flock(process: Path, number: str) -> bool:
    """Whether a descriptor holds a lock: a reader of the log, say ``less``, does not."""
    try:
        return "FLOCK" in (process / "fdinfo" / number).read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def end(pids: Iterable[int], grace: float) -> list[int]:
    """SIGTERM to each, ``grace`` seconds, then SIGKILL. Returns those that had to be killed; they are gone when this returns.

    Each is held by a descriptor from the beginning, so that a pid given away meanwhile hits nobody else.
    """
    waiting: dict[int, int] = {}
    for pid in pids:
        try:
            waiting[pid] = os.pidfd_open(pid)
        except OSError:
            continue
    try:
        for descriptor in waiting.values():
            _signal(descriptor, signal.SIGTERM)
        left = _ended(waiting, grace)
        for pid in left:
            _signal(waiting[pid], signal.SIGKILL)
        _ended({pid: waiting[pid] for pid in left}, 5.0)
        return left
    finally:
        for descriptor in waiting.values():
            os.close(descriptor)


def _ended(waiting: Mapping[int, int], seconds: float) -> list[int]:
    """Wait for processes by their descriptors; the pids that live on after ``seconds``."""
    left = dict(waiting)
    deadline = time.monotonic() + seconds
    while left:
        poll = select.poll()
        for descriptor in left.values():
            poll.register(descriptor, select.POLLIN)
        over = {descriptor for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
        left = {pid: descriptor for pid, descriptor in left.items() if descriptor not in over}
        if not over and time.monotonic() >= deadline:
            break
    return list(left)


def _signal(descriptor: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        pass


def is_running(pid: int) -> bool:
    """Whether a pid is alive and no zombie."""
    return born(pid) is not None
