"""A training in two processes under torchrun (gloo, no GPU): the same losses as in one, saved and stopped by all together, none left over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest

from studio import launch
from studio.checkpoints.base import pocket_folder
from studio.home import home
from studio.jobs import control, processes
from studio.jobs.runs import DONE, INTERRUPTED, PAUSED, QUEUED, Run, read_events
from studio.jobs.states import newest_step
from studio.persona.folder import Persona
from studio.recipes.files import resolve
from tests.jobs.machine import Machine, over, saved

SMALL = ["epochs=1", "length=64", "batch=4", "evals_per_epoch=1", "saves_per_epoch=3", "learning_rate=1e-3", "probes=0"]


def start(persona: Persona, *settings: str) -> Run:
    return launch.start(persona, "cpt", resolve(persona, "cpt", settings=[*SMALL, *settings]))


def told(run: Run, kind: str, value: str) -> dict[int, float]:
    return {event["step"]: event[value] for event in read_events(run.path) if event["kind"] == kind}


def weights(persona: Persona, run: Run) -> dict[str, Any]:
    """The tensors of a run's checkpoint, which are bf16, as float32."""
    raw = (persona.checkpoints / f"{run.id}-e1" / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for name, facts in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            assert facts["dtype"] == "BF16"
            begin, end = facts["data_offsets"]
            found[name] = (numpy.frombuffer(raw[start + begin : start + end], "<u2").astype("<u4") << 16).view("<f4")
    return found


def workers(machine: Machine, run: Run) -> list[int]:
    """The processes of a run that torchrun started."""
    found = []
    for pid in machine.pids():
        try:
            if b"\0RANK=" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def listeners(pids: list[int]) -> set[str]:
    """Addresses on which processes of ours take connections."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(os.readlink(link).partition("socket:[")[2].rstrip("]"))
            except OSError:
                continue
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                raw = bytes.fromhex(words[1].partition(":")[0])
                found.add(socket.inet_ntop(family, b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))))
    return found


@pytest.fixture(scope="module")
def one(trained: Persona) -> Run:
    """The training as a single process does it."""
    ended = Machine.around(home(), trained).wait(start(trained), over, 240)
    assert ended.status.state == DONE, ended.status.message
    return ended


def assert_learned_the_same(trained: Persona, run: Run, one: Run) -> None:
    for kind, value in (("step", "loss"), ("eval", "val_loss")):
        assert told(run, kind, value) == pytest.approx(told(one, kind, value), rel=1e-4)
    ours, theirs = weights(trained, run), weights(trained, one)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert numpy.abs(tensor - ours[name]).max() < 0.005, name


def test_two_processes_learn_what_one_does_and_are_stopped_and_killed(trained: Persona, one: Run) -> None:
    machine = Machine.around(home(), trained)
    # Whole copies; asked to save and stop in the middle, killed later on: its launcher first, so that the workers are left over.
    two = start(trained, "devices=2")
    assert two.inputs.devices == 2
    machine.wait(two, saved, 240)
    assert len(workers(machine, two)) == 2
    listening = listeners([*workers(machine, two), machine.pid("launcher", two)])
    assert listening and listening <= {"127.0.0.1"}, listening
    control.pause(trained, two.id)
    stopped = machine.wait(two, lambda r: r.status.state == PAUSED, 120)
    assert machine.quiet() == [] and newest_step(two.path) > 0, stopped
    control.resume(trained, two.id)
    machine.wait(two, lambda r: len(workers(machine, r)) == 2, 120)
    left = workers(machine, two)
    for kind in ("runner", "launcher"):
        machine.kill(machine.pid(kind, two))
    ended = machine.wait(two, lambda r: r.status.state != "running", 60)
    assert not any(processes.born(pid) for pid in left), "workers of a killed launcher were left"
    if ended.status.state == INTERRUPTED:
        control.retry(trained, two.id)
    ended = machine.wait(two, over, 240)
    assert ended.status.state == DONE, (ended.status, control.log_tail(two.path))
    assert_learned_the_same(trained, two, one)
    print(f"\nfault matrix row 4 (torchrun): {machine.injected['SIGKILL']} faults injected, 0 losses found")


def test_a_model_spread_over_two_learns_the_same_though_one_of_them_is_killed(trained: Persona, one: Run) -> None:
    """FSDP2. Killed as the kernel does when memory runs out: the other does not wait for it for ever, it is said what happened, and it goes on."""
    machine = Machine.around(home(), trained)
    spread = start(trained, "devices=2", "sharded=true")
    machine.wait(spread, saved, 240)
    machine.kill(workers(machine, spread)[-1])
    ended = machine.wait(spread, lambda r: r.status.state != "running", 60)
    assert "SIGKILL" in ended.status.message, ended.status
    if ended.status.state != QUEUED:
        control.retry(trained, spread.id)
    ended = machine.wait(spread, over, 240)
    assert ended.status.state == DONE and machine.quiet() == [], (ended.status, control.log_tail(spread.path))
    assert any(event["kind"] == "resume" for event in read_events(spread.path))
    assert_learned_the_same(trained, spread, one)


@pytest.mark.skipif("STUDIO_STORM" not in os.environ, reason="two trainings in two processes take a minute; set STUDIO_STORM=1")
@pytest.mark.parametrize("stage", ["dpo", "orpo"])
def test_two_processes_prefer_what_one_does(trained: Persona, tmp_path: Path, stage: str) -> None:
    """Losses, margins and what was read of the pairs; five of them held out, so that one of the two measures one more."""
    from tests.stages.conftest import preference, run_in

    found = []
    for devices in (1, 2):
        settings: dict[str, Any] = {"batch": 4, "micro_batch": 1, "devices": devices, "rank": 4, "alpha": 8, "learning_rate": 1e-3, "length": 96}
        run = run_in(tmp_path, pocket_folder(), stage, f"{stage}-{devices}", train=preference(8), val=preference(13)[8:], **settings)
        words = ["studio.stages", str(run)] if devices == 1 else ["studio.stages.launcher", "2", str(run)]
        with (run / "log.txt").open("wb") as log:
            assert subprocess.run(processes.python(*words), stdout=log, stderr=log).returncode == 0, (run / "log.txt").read_text()
        events = read_events(run)
        steps = [[e["loss"], e["margin"], e["accuracy"], e["tokens"]] for e in events if e["kind"] == "step"]
        found.append([*steps, *([e["val_loss"], e["val_margin"], e["val_accuracy"]] for e in events if e["kind"] == "eval")])
    assert len(found[0]) == 4
    for one, two in zip(*found, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
