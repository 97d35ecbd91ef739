"""The checkpoint at the end of an epoch: a folder under the persona's ``checkpoints``, complete or absent."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

from studio.checkpoints.store import Checkpoint, read_checkpoint, write_card
from studio.files import build_folder, folder_size
from studio.jobs.runs import Run
from studio.stages import together
from studio.stages.room import with_room
from studio.stages.story import Story


def checkpoints_folder(run: Run) -> Path:
    return Path(run.inputs.persona) / "checkpoints"


def planned_ids(run: Run, epochs: float) -> list[str]:
    return [f"{run.id}-e{number}" for number in range(1, ceil(epochs) + 1)]


def all_made(run: Run) -> list[str]:
    """Every checkpoint of the run, of its epochs and from on the way, in the order in which they were made."""
    return _in_order(run, made(run, _of_run(run)))


def made(run: Run, ids: list[str]) -> list[str]:
    """Those of ``ids`` that are in place already."""
    folder = checkpoints_folder(run)
    return [name for name in ids if (folder / name / "checkpoint.toml").is_file() and read_checkpoint(folder / name).run == run.id]


def write_checkpoint(
    run: Run, story: Story, name: str, kind: str, epoch: float, tokens_seen: int, metrics: dict[str, float], write: Callable[[Path], None]
) -> Path:
    """Build ``name`` with ``write(folder)`` and its card. One that is in place already is left alone (a resumed run comes by again)."""
    destination = checkpoints_folder(run) / name
    there = bool(made(run, [name]))
    together.wait()
    if there or not together.speaks():
        together.wait()
        return destination
    story.phase(f"Writing checkpoint {name}")
    began = time.monotonic()

    def build() -> None:
        with build_folder(destination) as folder:
            write(folder)
            for file in folder.iterdir():
                file.chmod(0o600)
            write_card(folder, card)

    card = Checkpoint(
        id=name,
        name=f"{run.id}, epoch {epoch:.2f}".removesuffix(".00"),
        stage=run.inputs.stage,
        parent=run.inputs.parent,
        base=run.inputs.base,
        kind=kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run=run.id,
        recipe=run.recipe_text,
        snapshot=run.inputs.snapshot,
        tokens_seen=tokens_seen,
        metrics=metrics,
    )
    with_room(story, _needed(run, kind), f"writing the checkpoint {name}", build)
    story.event("checkpoint", id=name, path=str(destination), epoch=epoch, bytes=folder_size(destination), seconds=round(time.monotonic() - began, 3))
    story.phase("Training")
    story.status(now=True, checkpoints=all_made(run))
    together.wait()
    return destination


def _needed(run: Run, kind: str) -> int:
    """Bytes of the next checkpoint: as the last one of this run, else as the weights it was made from; of a first adapter nobody knows."""
    sizes = [folder_size(checkpoints_folder(run) / name) for name in _of_run(run)]
    return max(sizes, default=folder_size(Path(run.inputs.weights_path)) if kind == "full" and run.inputs.weights_path else 0)


def _of_run(run: Run) -> list[str]:
    return [path.name for path in checkpoints_folder(run).glob(f"{run.id}-[es]*")]


def _in_order(run: Run, names: list[str]) -> list[str]:
    """What has read more comes later. (Two of one run never have read the same.)"""
    folder = checkpoints_folder(run)
    return sorted(names, key=lambda name: (read_checkpoint(folder / name).tokens_seen, name))
