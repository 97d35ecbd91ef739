"""A stage process without a model: it keeps the contract of the real ones (events, states, checkpoint, result, SIGTERM) and learns a number.

``python stage.py RUN_FOLDER``; what it does stands in the run's ``recipe.toml``, as JSON. Each step's "loss" follows from the last one,
so that a run which was interrupted and went on must tell the same losses as one that was not.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from studio.files import build_folder, write_json
from studio.home import home
from studio.jobs.runs import Run, read_run
from studio.stages import resume
from studio.stages.room import insist, with_room
from studio.stages.sentences import sentence
from studio.stages.stopping import STOPPED, Stopped, StopWish
from studio.stages.story import Story

PLAN = {"rows": 1}


def claim_device() -> int:
    """Hold the one thing that no two jobs may hold. A second one is written down; the test looks for it."""
    descriptor = os.open(home() / "device-in-use", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with (home() / "double").open("a") as file:
            file.write(f"{sys.argv[1]} {os.getpid()} {time.time()}\n")
    return descriptor


def following(value: int, step: int) -> int:
    return (value * 6364136223846793005 + step * 1442695040888963407) % 2**61


def save(run: Run, step: int, value: int, size: int) -> None:
    written = resume.staging(run.path) / f"checkpoint-{step}"
    written.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        (written / f"part-{number}").write_bytes(os.urandom(max(1, size // 4)))
        die(run, step, f"file {number}")
    (written / "value").write_text(str(value))
    die(run, step, "value")
    rename, write = os.rename, resume.write_json

    def marked(path: Path, what: Any) -> None:
        die(run, step, "before the marker")
        write(path, what)
        die(run, step, "after the marker")

    def renamed(old: Path, new: Path) -> None:
        die(run, step, "before the rename")
        rename(old, new)
        die(run, step, "after the rename")

    resume.write_json, os.rename = marked, renamed  # type: ignore[assignment]
    try:
        _keep(run, step)
    finally:
        resume.write_json, os.rename = write, rename


DEATHS = ["file 0", "file 1", "file 2", "file 3", "value", "before the marker", "after the marker", "before the rename", "after the rename"]
"""Places in the saving of a state at which the stage can be told to die."""


def die(run: Run, step: int, place: str) -> None:
    """SIGKILL to ourselves where the recipe says so: the n-th attempt dies while it saves step n + 1, at the n-th place of its list."""
    deaths = json.loads(run.recipe_text).get("deaths", [])
    attempt = run.status.attempts
    if attempt <= len(deaths) and deaths[attempt - 1] == place and step > attempt:
        os.kill(os.getpid(), signal.SIGKILL)


def _keep(run: Run, step: int) -> None:
    written = resume.staging(run.path) / f"checkpoint-{step}"
    resume.keep(run.path, written, resume.Marker(step, {}, PLAN, {}), newest=2)


def checkpoint(run: Run, size: int) -> str:
    destination = run.path.parent.parent / "checkpoints" / f"{run.id}-e1"
    if not destination.exists():
        with build_folder(destination) as folder:
            (folder / "model.safetensors").write_bytes(os.urandom(size))
            (folder / "checkpoint.toml").write_text(
                f'id = "{destination.name}"\nname = "x"\nstage = "cpt"\nparent = "{run.inputs.parent}"\nrun = "{run.id}"\n'
            )
    return destination.name


def start_children(kinds: list[str], device: int) -> None:
    """What launchers leave behind: ``worker`` writes to the same log, ``wiped`` has no environment, ``session`` has left the group.

    Each is on the device, as workers are, and none has the lease's descriptor.
    """
    for kind in kinds:
        subprocess.Popen(
            ["sh", "-c", "trap '' TERM; exec sleep 600"],
            env={} if kind == "wiped" else None,
            start_new_session=kind == "session",
            pass_fds=(device,),
        )


def train(run: Run, spec: dict[str, Any], story: Story, wish: StopWish, device: int) -> int:
    steps, every = int(spec.get("steps", 3)), int(spec.get("every", 1))
    size = int(spec.get("bytes", 64))
    state = resume.newest_state(run.path, PLAN)
    step, value = (state[1].step, int((state[0] / "value").read_text())) if state else (0, 1)
    story.event("resume", step=step) if state else story.phase("Training")
    start_children(spec.get("children", []), device)
    held: list[bytearray] = []
    wish.patient = True
    while step < steps:
        time.sleep(float(spec.get("seconds", 0.01)))
        step += 1
        value = following(value, step)
        story.event("step", step=step, loss=value)
        story.status(step=step, steps=steps)
        if spec.get("eat") and step == 3:
            held.append(bytearray(os.urandom(1 << 16) * (int(spec["eat"]) >> 16)))
        if spec.get("crash_at") == step:
            raise ValueError("the loss has left the building")
        if spec.get("exit_at") == step:
            os._exit(int(spec["exit"]))
        if spec.get("signal_at") == step:
            os.kill(os.getpid(), int(spec["signal"]))
        if wish.wanted and not spec.get("deaf"):
            with_room(story, size, "saving a state", partial(save, run, step, value, size))
            raise Stopped
        if step % every == 0 and step < steps:
            with_room(story, size, "saving a state", partial(save, run, step, value, size))
            story.event("saved", step=step)
    name = with_room(story, size, "writing the checkpoint", lambda: checkpoint(run, size))
    resume.discard(run.path)
    story.event("checkpoint", id=name, bytes=size)
    story.status(now=True, step=steps, steps=steps, checkpoints=[name])
    result = {"ok": True, "checkpoints": [name], "global_step": step, "planned_steps": steps}
    insist(story, "recording its result", lambda: write_json(run.path / "result.json", result))
    return 0


def main() -> int:
    os.umask(0o077)
    wish = StopWish()
    wish.listen()
    run = read_run(Path(sys.argv[1]))
    spec = json.loads(run.recipe_text)
    device = claim_device()
    if spec.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    story = Story(run.path, wish)
    try:
        (run.path / "result.json").unlink(missing_ok=True)
        return train(run, spec, story, wish, device)
    except Stopped:
        return STOPPED
    except Exception as error:
        if run.path.is_dir():
            write_json(run.path / "result.json", {"ok": False, "error": sentence(error)})
        return 1


if __name__ == "__main__":
    code = main()
    os._exit(code)
