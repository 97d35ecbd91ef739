"""Trainer states: what a training needs to go on where it was. Read here without any model library, written by the stages.

The rule by which they go, in the words people are told: while a run goes on its newest ``keep_states`` stay; when it is done they
all go; one that failed, was cancelled or interrupted keeps them, until ``studio jobs prune`` is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

MARKER = "complete.json"

SAVE = "save"
"""File in a run folder that asks its training for a state and a checkpoint at the end of the step. It goes on."""

RULE = (
    "While a run goes on, its newest keep_states trainer states stay. When it is done they all go. A run that failed, was cancelled, "
    "paused or interrupted keeps them to go on from; `studio jobs prune` removes those of ended runs."
)


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


def state_folders(run: Path) -> list[Path]:
    return [path for path in trainer_folder(run).glob("state-*") if path.is_dir()]


def read_marker(folder: Path) -> Marker | None:
    """The marker of a whole state; None for a torn one."""
    try:
        marker = msgspec.json.decode((folder / MARKER).read_bytes(), type=Marker)
        whole = all((folder / name).stat().st_size == length for name, length in marker.files.items())
    except (OSError, msgspec.DecodeError):
        return None
    return marker if whole else None


def newest_step(run: Path) -> int:
    """The step a retried run would go on from; 0 without a whole state."""
    return max((marker.step for folder in state_folders(run) if (marker := read_marker(folder))), default=0)
