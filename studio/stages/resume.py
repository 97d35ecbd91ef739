"""Trainer states: what a training needs to go on where it was, whole or not counted.

``<run>/trainer/state-N`` is written under another name, fsynced, marked with the list of its files, and renamed. The library's own
checkpoints are written in place and resumed from by highest number, torn or not (transformers 5.17); these are not.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from studio.files import fsync_folder, write_json

MARKER = "complete.json"
STAGING = ".staging"


class Marker(msgspec.Struct):
    """``complete.json``, written last: the state's files and what the training had counted by then."""

    step: int
    files: dict[str, int]
    """Sizes by name."""
    plan: dict[str, Any]
    """What must be the same for the state to fit: rows, batches, steps."""
    counted: dict[str, Any]


def trainer_folder(run: Path) -> Path:
    return run / "trainer"


def staging(run: Path) -> Path:
    """Where the library writes a state before it counts."""
    return trainer_folder(run) / STAGING


def keep(run: Path, written: Path, marker: Marker, newest: int) -> Path:
    """Turn a folder the library has written into a state that counts; only the ``newest`` so many stay."""
    for file in written.iterdir():
        marker.files[file.name] = file.stat().st_size
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    write_json(written / MARKER, marker)
    destination = trainer_folder(run) / f"state-{marker.step}"
    shutil.rmtree(destination, ignore_errors=True)
    os.rename(written, destination)
    fsync_folder(destination.parent)
    for old in sorted(_states(run), key=_step)[:-newest]:
        shutil.rmtree(old, ignore_errors=True)
    return destination


def newest_state(run: Path, plan: dict[str, Any]) -> tuple[Path, Marker] | None:
    """The newest whole state that fits the plan. Whatever is torn or fits another plan is moved to ``trainer/.broken``."""
    shutil.rmtree(staging(run), ignore_errors=True)
    found = []
    for folder in _states(run):
        marker = _read(folder)
        if marker is None or marker.plan != plan:
            broken = trainer_folder(run) / ".broken"
            broken.mkdir(exist_ok=True)
            shutil.rmtree(broken / folder.name, ignore_errors=True)
            os.rename(folder, broken / folder.name)
        else:
            found.append((folder, marker))
    return max(found, key=lambda pair: pair[1].step, default=None)


def discard(run: Path) -> None:
    """A finished run needs its states no more (a full fine-tune's take 12 bytes a parameter each)."""
    shutil.rmtree(trainer_folder(run), ignore_errors=True)


def _states(run: Path) -> list[Path]:
    return [path for path in trainer_folder(run).glob("state-*") if path.is_dir()]


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _read(folder: Path) -> Marker | None:
    try:
        marker = msgspec.json.decode((folder / MARKER).read_bytes(), type=Marker)
        whole = all((folder / name).stat().st_size == length for name, length in marker.files.items())
    except (OSError, msgspec.DecodeError):
        return None
    return marker if whole else None
