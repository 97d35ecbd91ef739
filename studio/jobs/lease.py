"""The lease: one GPU is never given to two jobs.

A lock file per machine and device. A training job holds it alone, servers hold it together. The lock travels on an open
descriptor and is gone exactly when its last holder is.
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


def lease_file() -> Path:
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"{gpu() or 'cpu'}.lock"


HELD = "STUDIO_LEASE"
"""In the environment of a job: the number of the descriptor that holds its lease."""


def inherited() -> int | None:
    """A further descriptor of the lease that this job was started with, for an engine of its own; None outside a job."""
    number = os.environ.get(HELD, "")
    if not number.isdigit():
        return None
    descriptor = os.dup(int(number))
    os.set_inheritable(descriptor, True)
    return descriptor


def take(alone: bool) -> int | None:
    """An inheritable descriptor that holds the lease, or None if it is held against us. Closing it (or dying) gives it back."""
    descriptor = os.open(lease_file(), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.set_inheritable(descriptor, True)
    return descriptor


def share() -> None:
    """Turn the lease this job holds alone into one that servers hold together; for what outlives the job with it."""
    number = os.environ.get(HELD, "")
    if number.isdigit():
        fcntl.flock(int(number), fcntl.LOCK_SH)
