"""One attempt at a run: who does it, where it began, and an exit record that can be written on a full disk.

``attempt.json`` is written by the runner before and after it starts the job. ``exit`` is 4 KiB, laid out before the job starts and
overwritten in place at its end: no new block is needed.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from studio.jobs.processes import Identity

EXIT_BYTES = 4096


class Attempt(msgspec.Struct):
    """``attempt.json``."""

    number: int
    """Counts with ``status.attempts``: what another attempt left behind says nothing of this one."""
    step: int
    """The step of the newest whole trainer state when it began."""
    runner: Identity
    job: Identity = Identity()
    """The stage process; nobody until it is started."""
    device: str = ""


class Exit(msgspec.Struct):
    """The ``exit`` record."""

    number: int
    code: int | None = None
    """Exit code of the stage, negative for a signal; None if nobody saw it end."""
    outside: bool = False
    """Whether somebody outside the studio asked it to end (SIGTERM to the runner: a shutdown, an administrator)."""
    out_of_memory: bool = False
    """Whether the kernel killed a process for memory meanwhile."""
    ended: float = 0.0
    """Unix time."""


def read_attempt(run: Path, number: int) -> Attempt | None:
    """The record of the attempt with that number; None if it never came that far."""
    try:
        attempt = msgspec.json.decode((run / "attempt.json").read_bytes(), type=Attempt)
    except (OSError, msgspec.DecodeError):
        return None
    return attempt if attempt.number == number else None


def prepare_exit(run: Path) -> None:
    """Lay the exit record out, empty. OSError on a full disk: the job is then not started at all."""
    descriptor = os.open(run / "exit", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, EXIT_BYTES)
        os.pwrite(descriptor, b" " * EXIT_BYTES, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_exit(run: Path, record: Exit) -> None:
    """Write the record over its place. Never raises: without it the run counts as interrupted, which is true as well."""
    try:
        descriptor = os.open(run / "exit", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.pwrite(descriptor, msgspec.json.encode(record).ljust(EXIT_BYTES - 1) + b"\n", 0)
        os.fdatasync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def read_exit(run: Path, number: int) -> Exit | None:
    """The exit record of the attempt with that number."""
    try:
        record = msgspec.json.decode((run / "exit").read_bytes().strip() or b"null", type=Exit | None)
    except (OSError, msgspec.DecodeError):
        return None
    return record if record and record.number == number else None
