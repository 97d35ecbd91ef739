"""The run folder: one execution of a stage, told by its files alone.

``recipe.toml`` and ``inputs.json`` say what is done, ``events.jsonl`` and ``log.txt`` what happened, ``status.json`` how it stands.
A reader needs nothing else to draw the run, live or a year later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import append_line, fsync_folder, lock, write_atomic, write_json
from studio.persona.folder import Persona

QUEUED, RUNNING, DONE, FAILED, CANCELLED, INTERRUPTED = "queued", "running", "done", "failed", "cancelled", "interrupted"
ENDED = frozenset((DONE, FAILED, CANCELLED, INTERRUPTED))


class Inputs(msgspec.Struct):
    """``inputs.json``: what the run reads. Written once, before it is queued."""

    stage: str
    persona: str
    """Absolute path of the persona folder."""
    parent: str
    """Checkpoint id the run starts from."""
    parent_path: str
    """Folder of that checkpoint (of its weights and, for an adapter, of the adapter)."""
    parent_kind: str = "full"
    weights_path: str = ""
    """Folder of the full weights under an adapter parent; equals ``parent_path`` for a full one."""
    base: str = ""
    """Name of the base at the root of the family."""
    snapshot: str = ""
    """Id of the snapshot."""
    data: str = ""
    """Folder of the frozen export: ``train.jsonl`` and ``val.jsonl``."""
    character: str = ""
    system_prompt: str = ""
    trust_remote_code: bool = False


class Status(msgspec.Struct):
    """``status.json``: how the run stands. Small, written atomically."""

    state: str = QUEUED
    stage: str = ""
    message: str = ""
    """One sentence for people: why it waits, failed or stopped."""
    created: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    phase: str = ""
    step: int = 0
    steps: int = 0
    checkpoints: list[str] = []
    """Ids of the checkpoints it has made."""
    attempts: int = 0


class Run(msgspec.Struct, frozen=True):
    """One run folder, as read."""

    path: Path
    inputs: Inputs
    status: Status

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def recipe_text(self) -> str:
        return (self.path / "recipe.toml").read_text(encoding="utf-8")


def create_run(persona: Persona, inputs: Inputs, recipe_toml: str) -> Run:
    """A new run folder ``STAGE-N``, N one above the highest run of the persona; state ``queued``."""
    with persona.exclusive():
        persona.runs.mkdir(exist_ok=True)
        taken = [int(p.name.rpartition("-")[2]) for p in persona.runs.iterdir() if p.name.rpartition("-")[2].isdigit()]
        path = persona.runs / f"{inputs.stage}-{max(taken, default=0) + 1}"
        building = persona.runs / f".building-{path.name}"
        building.mkdir(mode=0o700)
        write_atomic(building / "recipe.toml", recipe_toml)
        write_json(building / "inputs.json", inputs)
        write_json(building / "status.json", Status(stage=inputs.stage, created=time.time()))
        os.rename(building, path)
        fsync_folder(persona.runs)
    return read_run(path)


def read_run(path: Path) -> Run:
    """The run in a folder; StudioError if its files are missing or damaged."""
    try:
        inputs = msgspec.json.decode((path / "inputs.json").read_bytes(), type=Inputs)
        status = msgspec.json.decode((path / "status.json").read_bytes(), type=Status)
    except FileNotFoundError as error:
        raise StudioError(f"{path} is no run folder ({Path(str(error.filename)).name} is missing).") from error
    except (OSError, msgspec.DecodeError) as error:
        raise StudioError(f"The run {path} cannot be read: {error}.") from error
    return Run(path, inputs, status)


def all_runs(persona: Persona) -> list[Run]:
    """Every readable run of the persona, the oldest first."""
    runs = []
    for path in persona.runs.iterdir() if persona.runs.is_dir() else ():
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            runs.append(read_run(path))
        except StudioError:
            continue
    return sorted(runs, key=lambda run: (run.status.created, run.id))


def get_run(persona: Persona, run_id: str) -> Run:
    path = persona.runs / run_id
    if "/" in run_id or not (path / "inputs.json").is_file():
        names = ", ".join(run.id for run in all_runs(persona)) or "none yet"
        raise StudioError(f"There is no run {run_id!r} in {persona.name}; there are: {names}.")
    return read_run(path)


def update_status(path: Path, **changes: Any) -> Status:
    """Change fields of ``status.json`` and write it whole. The runner and the stage both do, so each does it under a lock."""
    with lock(path / "status.lock"):
        status = msgspec.structs.replace(read_run(path).status, **changes)
        write_json(path / "status.json", status)
    return status


def append_event(path: Path, kind: str, /, **payload: Any) -> None:
    """Add one event: ``{"t": unix seconds, "kind": …, …payload}``. Not fsynced: a lost tail is no lost work."""
    append_line(path / "events.jsonl", {"t": round(time.time(), 3), "kind": kind, **payload}, durable=False)


class EventReader:
    """Follows ``events.jsonl``: each ``read`` gives the events added since the last. A torn line waits until it is whole."""

    def __init__(self, path: Path) -> None:
        self.file = path / "events.jsonl"
        self.offset = 0

    def read(self) -> Iterator[dict[str, Any]]:
        try:
            with self.file.open("rb") as file:
                file.seek(self.offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self.offset += len(line)
                    try:
                        event = msgspec.json.decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue
                    if isinstance(event, dict) and "kind" in event:
                        yield event
        except FileNotFoundError:
            return


def read_events(path: Path) -> list[dict[str, Any]]:
    return list(EventReader(path).read())
