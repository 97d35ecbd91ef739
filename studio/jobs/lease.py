"""The lease: one GPU is never given to two jobs.

A lock file per machine and device. A training job holds it alone (one on several devices holds all of theirs), servers hold it together.
The lock travels on an open descriptor and is gone exactly when its last holder is.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from studio.home import home
from studio.jobs import device


def gpu() -> str:
    """UUID of the GPU the studio uses, or ``""`` without one."""
    return device.uuid()


def gpus(count: int) -> list[str]:
    """UUIDs of the GPUs that a run on ``count`` devices uses."""
    return device.uuids(count)


def lease_file() -> Path:
    return _file(gpu())


def _file(uuid: str) -> Path:
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"{uuid or 'cpu'}.lock"


HELD = "STUDIO_LEASE"
"""In the environment of a job: the numbers of the descriptors that hold its lease, one for each device."""


def held() -> list[int]:
    """Descriptors of the lease that this job was started with; none outside a job."""
    return [int(number) for number in os.environ.get(HELD, "").split(",") if number.isdigit()]


def inherited() -> int | None:
    """A further descriptor of the lease that this job was started with, for an engine of its own; None outside a job."""
    number = next(iter(held()), None)
    if number is None:
        return None
    descriptor = os.dup(number)
    os.set_inheritable(descriptor, True)
    return descriptor


def take(alone: bool) -> int | None:
    """An inheritable descriptor that holds the lease, or None if it is held against us. Closing it (or dying) gives it back."""
    return _take(lease_file(), alone)


def take_all(count: int) -> list[int] | None:
    """The leases of the first ``count`` devices, all of them or None; without a GPU there is one for the whole machine."""
    taken: list[int] = []
    for uuid in sorted(gpus(count)) or [""]:
        descriptor = _take(_file(uuid), alone=True)
        if descriptor is None:
            for other in taken:
                os.close(other)
            return None
        taken.append(descriptor)
    return taken


def _take(file: Path, alone: bool) -> int | None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.set_inheritable(descriptor, True)
    return descriptor


def share() -> None:
    """Turn the lease this job holds alone into one that servers hold together; for what outlives the job with it."""
    for number in held():
        fcntl.flock(number, fcntl.LOCK_SH)
