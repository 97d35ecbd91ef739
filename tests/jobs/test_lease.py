"""The lease on a device that a file describes: strangers are named and waited for, servers give way and come back. Row 11."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio.checkpoints.fetch import fetch_base
from studio.checkpoints.store import get_checkpoint
from studio.engines import giving_way, servers
from studio.errors import StudioError
from studio.jobs import device, lease, processes
from studio.jobs.runs import DONE, QUEUED, read_events, read_run
from tests.jobs.machine import Machine, over, running


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    file = tmp_path / "device.json"

    def describe(*strangers: tuple[int, str, int]) -> None:
        found = [{"pid": pid, "name": name, "memory": memory} for pid, name, memory in strangers]
        file.with_suffix(".new").write_text(
            json.dumps({"uuid": "GPU-of-paper", "name": "Paper 1", "total": 24 << 30, "free": 20 << 30, "processes": found})
        )
        file.with_suffix(".new").rename(file)

    describe()
    monkeypatch.setenv("STUDIO_DEVICE", str(file))
    return describe


def test_row_11_a_strangers_process_is_named_and_waited_for_and_never_killed(machine: Machine, gpu: Any) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})
    try:
        gpu((stranger.pid, "somebodys-training", 9 << 30))
        assert lease.gpu() == "GPU-of-paper" and lease.lease_file().name == "GPU-of-paper.lock"
        run = machine.queue(steps=2)
        waits = machine.wait(run, lambda r: "somebodys-training" in r.status.message)
        assert waits.status.state == QUEUED and str(stranger.pid) in waits.status.message and "9.7 GB" in waits.status.message
        assert stranger.poll() is None
        machine.injected["stranger"] += 1
        gpu()
        assert machine.wait(run, over).status.state == DONE
        assert stranger.poll() is None, "a process that is not ours was killed"

        gpu((stranger.pid, "somebodys-training", 9 << 30))
        machine.configure(gpu={"foreign": "ignore"})
        assert machine.wait(machine.queue(steps=1), over).status.state == DONE
    finally:
        stranger.kill()
        stranger.wait()
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 11")


def test_a_survivor_of_our_own_is_no_stranger_and_is_ended(machine: Machine, gpu: Any) -> None:
    lost = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={processes.RUN_VARIABLE: "/gone"}, start_new_session=True)
    gpu((lost.pid, "python", 1 << 30))
    assert device.is_ours(lost.pid) and device.foreign() == []
    assert machine.wait(machine.queue(steps=1), over).status.state == DONE
    assert lost.wait(10) != 0


def test_a_server_gives_way_to_a_run_and_comes_back(machine: Machine, gpu: Any) -> None:
    fetch_base("pocket", lambda _line: None)
    persona = machine.persona
    (server,) = servers.start(persona, [get_checkpoint(persona, "base")], "embedded")
    servers.wait_ready(server)
    key, port = server.key, server.port
    assert lease.take(alone=True) is None, "a server does not hold the device"

    run = machine.queue(steps=10, seconds=0.1)
    waits = machine.wait(run, lambda r: r.status.message)
    assert server.name in waits.status.message and "give-way" in waits.status.message
    from studio.jobs import control

    control.give_way(persona, run.id)
    machine.wait(run, running)
    assert servers.running(persona) == [] and [note.name for note in giving_way.returning()] == [server.name]
    assert not servers.is_alive(server)
    with pytest.raises(StudioError, match="in use by a run"):
        servers.start(persona, [get_checkpoint(persona, "base")], "embedded")
    assert machine.wait(run, over).status.state == DONE
    machine.wait(run, lambda r: any(event["kind"] == "came_back" for event in read_events(r.path)))
    (back,) = servers.running(persona)
    try:
        assert (list(back.models), back.key, back.port, back.state) == (["base"], key, port, "ready")
        assert giving_way.returning() == []
        kinds = [event["kind"] for event in read_events(run.path)]
        assert kinds.index("gave_way") < kinds.index("came_back")
    finally:
        servers.stop(back)
    # Stopped by hand it stays stopped, and what waits goes on.
    descriptor = lease.take(alone=True)
    assert descriptor is not None
    os.close(descriptor)
    assert machine.wait(machine.queue(steps=1), over).status.state == DONE
    assert servers.running(persona) == [] and machine.quiet() == []
    assert read_run(run.path).status.requeues == 0
