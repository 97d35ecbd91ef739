"""The run folder: one execution of a stage, told by its files alone.

``recipe.toml`` and ``inputs.json`` say what is done, ``events.jsonl`` and ``log.txt`` what happened, ``status.json`` how it stands.
A reader needs nothing else to draw the run, live or a year later.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import append_line, fsync_folder, lock, write_atomic, write_json
from studio.home import home
from studio.persona.folder import Persona

QUEUED, RUNNING, DONE, FAILED, CANCELLED, INTERRUPTED = "queued", "running", "done", "failed", "cancelled", "interrupted"
PAUSED, SKIPPED = "paused", "skipped"
"""Paused: saved and stopped by the person, its place in the queue kept. Skipped: what it waited for did not come to a good end."""
ENDED = frozenset((DONE, FAILED, CANCELLED, INTERRUPTED, SKIPPED))
AGAIN = frozenset((FAILED, CANCELLED, INTERRUPTED, SKIPPED))
"""States from which a run may be tried again."""


NOTE = ".shelf"
NOTE_AFTER = 200
"""So many runs more than it holds must have ended before the note is written again."""


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
    after: str = ""
    """Id of the run whose end it waits for; ``parent`` and the paths are empty until then, and filled with what that run made."""
    disk: int = 0
    """Bytes it will write, as planned; 0: not known."""
    give_way: bool = False
    """Whether the studio's servers are stopped for it (and come back afterwards), whatever the settings say."""
    devices: int = 1
    """Cards it trains on together."""
    on: str = ""
    """Where it is executed: ``here`` or ``slurm``; empty only before it is queued."""


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
    requeues: int = 0
    """Times it was put back into the queue by itself; a retry by hand sets this to 0."""
    priority: int = 0
    """Higher goes first."""
    place: float = 0.0
    """Order among equals; like a time, but never set back."""


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
    try:
        return _create_run(persona, inputs, recipe_toml)
    except OSError as error:
        raise StudioError(f"No run was added: {persona.runs} cannot be written ({error.strerror}); check the folder's permissions.") from error


def _create_run(persona: Persona, inputs: Inputs, recipe_toml: str) -> Run:
    with persona.exclusive():
        persona.runs.mkdir(exist_ok=True)
        for left in persona.runs.glob(".building-*"):  # somebody was killed or had no room here; we alone hold the persona now
            shutil.rmtree(left)
        taken = [int(p.name.rpartition("-")[2]) for p in persona.runs.iterdir() if p.name.rpartition("-")[2].isdigit()]
        path = persona.runs / f"{inputs.stage}-{max(taken, default=0) + 1}"
        building = persona.runs / f".building-{path.name}"
        building.mkdir(mode=0o700)
        write_atomic(building / "recipe.toml", recipe_toml)
        write_json(building / "inputs.json", inputs)
        write_json(building / "status.json", Status(stage=inputs.stage, created=time.time(), place=next_place()))
        os.rename(building, path)
        fsync_folder(persona.runs)
    return read_run(path)


def next_place() -> float:
    """The end of the machine's queue: now, or just behind the last place given where the clock was set back since. Only the order counts."""
    path = home() / "locks" / "order"
    try:
        with lock(path), path.open("r+b") as file:
            try:
                last = float(file.read(64) or 0)
            except ValueError:
                last = 0.0
            place = max(time.time(), last + 0.001)
            file.seek(0)
            file.write(f"{place:<32.3f}".encode())
        return place
    except OSError:  # a full disk: the run itself says so when it is written
        return time.time()


def read_run(path: Path) -> Run:
    """The run in a folder; StudioError if its inputs are missing or damaged. A lost status is told again from its events."""
    try:
        inputs = msgspec.json.decode((path / "inputs.json").read_bytes(), type=Inputs)
    except FileNotFoundError as error:
        raise StudioError(f"{path} is no run folder (inputs.json is missing).") from error
    except (OSError, msgspec.DecodeError) as error:
        raise StudioError(f"The run {path} cannot be read: {error}.") from error
    try:
        status = msgspec.json.decode((path / "status.json").read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError):
        status = _retold(path, inputs)
    except OSError as error:
        raise StudioError(f"The run {path} cannot be read: {error}.") from error
    return Run(path, _at_home(path, inputs), status)


def _retold(path: Path, inputs: Inputs) -> Status:
    """A status from what the events say: a run is not lost with one small file. What was running is judged by what it left, as ever."""
    events = read_events(path)
    created = (path / "inputs.json").stat().st_mtime
    status = Status(stage=inputs.stage, created=created, place=created, started=created if events else 0.0)
    for event in events:
        match event["kind"]:
            case "state":
                status.state, status.message = str(event.get("state", QUEUED)), str(event.get("message", ""))
                status.ended = float(event["t"]) if status.state in ENDED else 0.0
                if status.state == RUNNING:
                    status.attempts += 1
            case "step":
                status.step = int(event["step"])
            case "plan":
                status.steps = int(event.get("steps") or 0)
            case "checkpoint":
                status.checkpoints.append(str(event["id"]))
    return status


def _at_home(path: Path, inputs: Inputs) -> Inputs:
    """The inputs with the persona's present place: the folder may have been moved since the run was queued."""
    here, there = str(path.parent.parent), inputs.persona
    if path.parent.name != "runs" or not there or here == there:
        return inputs

    def moved(old: str) -> str:
        return here + old[len(there) :] if old == there or old.startswith(there + os.sep) else old

    return msgspec.structs.replace(
        inputs, persona=here, parent_path=moved(inputs.parent_path), weights_path=moved(inputs.weights_path), data=moved(inputs.data)
    )


Stamp = tuple[int, int, int]


class Shelf:
    """Runs read again and again: a folder is opened only when its status file is another than before.

    What has ended is also noted in ``runs/.shelf``, so that thousands of runs need not be opened by every new process. The note can be
    deleted at any time: it is believed only where the files' inodes and times are still those it was made from.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Stamp, Run]] = {}
        self._noted: dict[Path, int] = {}
        """How many runs the note of a folder holds."""

    def _read_note(self, folder: Path) -> None:
        try:
            rows = msgspec.msgpack.decode((folder / NOTE).read_bytes(), type=list[tuple[str, Stamp, Inputs, Status]])
        except (OSError, msgspec.DecodeError):
            rows = []
        self._noted[folder] = len(rows)
        for name, stamp, inputs, status in rows:
            path = folder / name
            self._known.setdefault(path, (stamp, Run(path, _at_home(path, inputs), status)))

    def _write_note(self, folder: Path, found: list[Run]) -> None:
        if len(found) < self._noted[folder] + NOTE_AFTER:
            return
        ended = [self._known[run.path] for run in found if run.status.state in ENDED]
        if len(ended) >= self._noted[folder] + NOTE_AFTER:
            self._noted[folder] = len(ended)
            try:
                write_atomic(folder / NOTE, msgspec.msgpack.encode([(run.id, stamp, run.inputs, run.status) for stamp, run in ended]))
            except StudioError:  # a full disk, a read-only folder: it is only a note
                pass

    def runs(self, folder: Path) -> list[Run]:
        """Every readable run below ``folder``, the oldest first."""
        if folder not in self._noted:
            self._read_note(folder)
        found = []
        try:
            names = [entry.path for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except OSError:
            names = []
        for name in names:
            try:
                # Written beside its place and renamed in, a new status is a new file: no clock needs to be trusted.
                read = os.stat(f"{name}/inputs.json")
                try:
                    facts = os.stat(f"{name}/status.json")
                except FileNotFoundError:
                    facts = read
                stamp = (facts.st_ino, facts.st_mtime_ns, read.st_ino)
                path = Path(name)
                known = self._known.get(path)
                if known is None or known[0] != stamp:
                    known = self._known[path] = (stamp, read_run(path))
                found.append(known[1])
            except (OSError, StudioError):
                continue
        self._write_note(folder, found)
        return sorted(found, key=lambda run: (run.status.place or run.status.created, run.id))


SHELF = Shelf()
"""This process's own: a history of thousands is opened once and looked over from then on."""


def all_runs(persona: Persona) -> list[Run]:
    """Every readable run of the persona, the oldest first."""
    return SHELF.runs(persona.runs)


def get_run(persona: Persona, run_id: str) -> Run:
    path = persona.runs / run_id
    if "/" in run_id or not (path / "inputs.json").is_file():
        names = ", ".join(run.id for run in all_runs(persona)) or "none yet"
        raise StudioError(f"There is no run {run_id!r} in {persona.name}; there are: {names}.")
    return read_run(path)


def update_status(path: Path, **changes: Any) -> Status:
    """Change fields of ``status.json`` and write it whole. The runner and the stage both do, so each does it under a lock."""
    still_there(path)
    with lock(path / "status.lock"):
        status = msgspec.structs.replace(read_run(path).status, **changes)
        write_json(path / "status.json", status)
    return status


def append_event(path: Path, kind: str, at: float | None = None, /, **payload: Any) -> None:
    """Add one event: ``{"t": unix seconds, "kind": …, …payload}``. Not fsynced: a lost tail is no lost work."""
    still_there(path)
    append_line(path / "events.jsonl", {"t": round(time.time() if at is None else at, 3), "kind": kind, **payload}, durable=False)


def still_there(path: Path) -> None:
    """A folder that was moved away is not made anew at its old place."""
    if not path.is_dir():
        raise StudioError(
            f"The run folder {path} is not there any more; it was moved or deleted. A moved run goes on from its new place when retried."
        )


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
