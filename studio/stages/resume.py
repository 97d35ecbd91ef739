"""Trainer states: what a training needs to go on where it was, whole or not counted.

``<run>/trainer/state-N`` is written under another name, fsynced, marked with the list of its files, and renamed. The library's own
checkpoints are written in place and resumed from by highest number, torn or not (transformers 5.17); these are not.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from studio.files import fsync_folder, write_json
from studio.jobs.states import MARKER, Marker, read_marker, state_folders, trainer_folder

__all__ = ["MARKER", "Marker", "discard", "keep", "newest_state", "staging", "trainer_folder"]

STAGING = ".staging"
GONE = ".gone-"


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
    # The same step again: two renames apart there is no state at all, not for as long as removing one takes.
    replaced = _hidden(destination) if destination.exists() else None
    os.rename(written, destination)
    fsync_folder(destination.parent)
    if replaced:
        shutil.rmtree(replaced, ignore_errors=True)
    for old in sorted(state_folders(run), key=_step)[:-newest]:
        shutil.rmtree(_hidden(old), ignore_errors=True)
    return destination


def _hidden(state: Path) -> Path:
    """The state under a name that counts for nothing: whoever is killed while it is removed leaves no torn one in sight."""
    gone = state.with_name(f"{GONE}{state.name}")
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(state, gone)
    return gone


def newest_state(run: Path, plan: dict[str, Any]) -> tuple[Path, Marker] | None:
    """The newest whole state that fits the plan. Whatever is torn or fits another plan is moved to ``trainer/.broken``."""
    for left in (staging(run), *trainer_folder(run).glob(f"{GONE}*")):
        shutil.rmtree(left, ignore_errors=True)
    found = []
    for folder in state_folders(run):
        marker = read_marker(folder)
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
    for state in state_folders(run):
        try:
            _hidden(state)
        except OSError:
            pass
    shutil.rmtree(trainer_folder(run), ignore_errors=True)


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
