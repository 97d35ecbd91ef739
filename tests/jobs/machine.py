"""A machine of its own for a test: home, personas, a queue of light stages, and hands to break it with."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.jobs import control, lease, processes
from studio.jobs.runs import DONE, INTERRUPTED, PAUSED, QUEUED, RUNNING, Inputs, Run, all_runs, read_events, read_run
from studio.persona.folder import Persona, create

STAGE = Path(__file__).with_name("stage.py")
ROOT = Path(__file__).parents[2]


class Machine:
    def __init__(self, home: Path, folder: Path) -> None:
        self.home, self.folder = home, folder
        self.configure()
        self.persona = create("Wen", parent=folder)
        self.injected: Counter[str] = Counter()
        """Faults by kind, for the count that is printed at the end."""

    @classmethod
    def around(cls, home: Path, persona: Persona) -> Machine:
        """The hands alone, for a persona and a home that are there already and whose stages are the real ones."""
        made = cls.__new__(cls)
        made.home, made.folder, made.persona, made.injected = home, persona.root.parent, persona, Counter()
        return made

    def configure(self, **tables: dict[str, Any]) -> None:
        """Write ``config.toml``: the light stage, and what is said in tables of it."""
        import tomli_w

        wanted = {"jobs": {"launcher": [sys.executable, str(STAGE)]}} | tables
        (self.home / "config.toml").write_bytes(tomli_w.dumps(wanted).encode())
        os.environ["PYTHONPATH"] = str(ROOT)

    def queue(self, after: str = "", stage: str = "cpt", persona: Persona | None = None, disk: int = 0, on: str = "", **spec: Any) -> Run:
        persona = persona or self.persona
        inputs = Inputs(stage=stage, persona=str(persona.root), parent="base", parent_path=str(persona.root), after=after, disk=disk, on=on)
        return control.submit(persona, inputs, json.dumps(spec))

    def runs(self, persona: Persona | None = None) -> list[Run]:
        return all_runs(persona or self.persona)

    # Looking

    def wait(self, run: Run, until: Callable[[Run], object], seconds: float = 60) -> Run:
        """The run once ``until`` holds; fails with everything it left if that never comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = control.settle(read_run(run.path))
            if until(now):
                return now
            time.sleep(0.05)
        logs = {name: (run.path / name).read_text(errors="replace")[-2000:] for name in ("log.txt", "runner.log") if (run.path / name).exists()}
        dispatcher = (self.home / "dispatcher.log").read_text(errors="replace")[-2000:] if (self.home / "dispatcher.log").exists() else ""
        raise AssertionError(f"{run.id} is {read_run(run.path).status}\n{logs}\n{dispatcher}\n{self.pids()}")

    def wait_all(self, seconds: float = 120) -> list[Run]:
        for run in self.runs():
            self.wait(run, over, seconds)
        return [read_run(run.path) for run in self.runs()]

    def pids(self) -> dict[int, str]:
        """Our processes of this machine: pid and what it is (``stage``, ``runner``, ``dispatcher``, ``other``)."""
        mark = f"\0STUDIO_HOME={self.home}\0".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid() or processes.born(int(entry.name)) is None:
                continue
            try:
                if mark in b"\0" + (entry / "environ").read_bytes() + b"\0":
                    words = (entry / "cmdline").read_bytes()
                    kinds = (
                        ("stage.py", "stage"),
                        ("jobs.runner", "runner"),
                        ("jobs.dispatcher", "dispatcher"),
                        ("stages.launcher", "launcher"),
                        ("studio.stages", "stage"),
                    )
                    found[int(entry.name)] = next((kind for sign, kind in kinds if sign.encode() in words), "other")
            except OSError:
                continue
        return found

    def pid(self, kind: str, run: Run | None = None) -> int:
        """Of the stage or runner of a run, or of the dispatcher."""
        for pid, what in self.pids().items():
            try:
                if what == kind and (run is None or str(run.path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()):
                    return pid
            except OSError:
                continue
        raise AssertionError(f"no {kind} process; there are {self.pids()}")

    @staticmethod
    def steps(run: Run) -> list[int]:
        return [event["step"] for event in read_events(run.path) if event["kind"] == "step"]

    @staticmethod
    def losses(run: Run) -> dict[int, int]:
        return {event["step"]: event["loss"] for event in read_events(run.path) if event["kind"] == "step"}

    # Breaking

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        self.injected[number.name] += 1
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def kill_everything(self) -> int:
        pids = self.pids()
        for pid in pids:
            self.kill(pid)
        deadline = time.monotonic() + 10
        while any(processes.born(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.01)  # dying takes a moment, and a dying process still holds its locks
        return len(pids)

    def storm(self, seed: int, kills: int, between: float, kinds: tuple[str, ...] = ("stage", "runner", "dispatcher", "other")) -> None:
        """SIGKILL to a random process of ours, so many times, at random moments ``between`` seconds apart on average.

        Where nothing of ours lives any more somebody opens the studio, and tells what asks to go on.
        """
        chance = random.Random(seed)
        hits = 0
        while hits < kills and not all(run.status.state == DONE for run in self.runs()):
            time.sleep(chance.uniform(0, 2 * between))
            candidates = sorted(pid for pid, kind in self.pids().items() if kind in kinds)
            if candidates:
                self.kill(chance.choice(candidates))
                hits += 1
            else:
                control.kick()
                self.retry_all()

    def retry_all(self) -> None:
        """What was interrupted too often, or before it had saved anything, asks; it is told to go on."""
        for run in control.runs(self.persona):
            if run.status.state == INTERRUPTED:
                control.retry(self.persona, run.id)

    # What must hold, whatever happened

    def losses_found(self) -> list[str]:
        """Everything that is wrong with the machine now, in words; empty is the only right answer."""
        wrong = []
        if (self.home / "double").exists():
            wrong.append("the device was given to two jobs: " + (self.home / "double").read_text())
        for run in self.runs():
            # Only the stand-in stage's losses are known beforehand; a real training's are compared by its own test.
            if run.status.state == DONE and run.recipe_text.startswith("{"):
                losses, steps = self.losses(run), json.loads(run.recipe_text).get("steps", 3)
                if losses != right_losses(steps):
                    wrong.append(f"{run.id} did not learn what an uninterrupted run learns: {losses}")
                made = self.persona.checkpoints / f"{run.id}-e1" / "checkpoint.toml"
                if not made.is_file():
                    wrong.append(f"{run.id} is done without a checkpoint")
            if run.status.state == RUNNING and not control.is_alive(run.path):
                wrong.append(f"{run.id} is shown as running and is dead")
        for folder in self.persona.checkpoints.iterdir():
            if not folder.name.startswith(".") and folder.is_dir() and not (folder / "checkpoint.toml").is_file():
                wrong.append(f"{folder.name} is a torn checkpoint")
        return wrong

    def quiet(self, seconds: float = 10) -> list[str]:
        """After the end of everything: no process, no lease, no lock."""
        deadline = time.monotonic() + seconds
        while (left := self.pids()) and time.monotonic() < deadline:
            time.sleep(0.05)
        wrong = [f"process {pid} ({kind}) is left" for pid, kind in left.items()]
        descriptor = lease.take(alone=True)
        if descriptor is None:
            wrong.append("the lease is stuck")
        else:
            os.close(descriptor)
        wrong += [f"{run.id} is locked" for run in self.runs() if control.is_alive(run.path)]
        return wrong

    def report(self, row: str) -> None:
        print(f"\nfault matrix {row}: {sum(self.injected.values())} faults injected ({dict(self.injected)}), {len(self.losses_found())} losses found")

    def clear_away(self) -> None:
        """Nothing of this machine outlives the test."""
        for _ in range(50):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)


def over(run: Run) -> bool:
    return run.status.state not in (QUEUED, RUNNING, PAUSED)


def running(run: Run) -> bool:
    return run.status.state == RUNNING and any(event["kind"] == "step" for event in read_events(run.path))


def saved(run: Run) -> bool:
    return any(event["kind"] == "saved" for event in read_events(run.path))


def right_losses(steps: int) -> dict[int, int]:
    from tests.jobs.stage import following

    value, found = 1, {}
    for step in range(1, steps + 1):
        value = following(value, step)
        found[step] = value
    return found


def python(code: str, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """A Python of ours in a session of its own, stdout to be read."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT, **more)
