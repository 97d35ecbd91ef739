"""The lease on a device that a file describes: strangers are named and waited for, servers give way and come back. Row 11."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio.checkpoints.store import get_checkpoint
from studio.engines import giving_way, servers, sharing, starting
from studio.errors import StudioError
from studio.jobs import control, device, lease, processes
from studio.jobs.runs import DONE, QUEUED, RUNNING, read_events, read_run
from studio.persona.folder import Persona
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


def test_a_survivor_of_our_own_is_ended_and_another_studios_is_a_stranger(machine: Machine, gpu: Any) -> None:
    def lost(folder: str) -> subprocess.Popen[bytes]:
        code = [sys.executable, "-c", "import time; time.sleep(600)"]
        return subprocess.Popen(code, env={processes.RUN_VARIABLE: folder}, start_new_session=True)

    ours, theirs = lost(f"{machine.persona.root}/runs/cpt-77"), lost("/home/somebody/persona/runs/cpt-1")
    try:
        gpu((ours.pid, "python", 1 << 30), (theirs.pid, "python", 2 << 30))
        assert device.is_ours(ours.pid) and [process.pid for process in device.foreign()] == [theirs.pid]
        run = machine.queue(steps=1)
        machine.wait(run, lambda r: str(theirs.pid) in r.status.message)
        assert ours.wait(10) != 0 and theirs.poll() is None, "another studio's process was killed"
        gpu()
        assert machine.wait(run, over).status.state == DONE
    finally:
        for process in (ours, theirs):
            process.kill()
            process.wait()


def light_server(persona: Persona) -> servers.Server:
    """A process that is started, told and ended as an engine is, and answers nobody."""
    with starting._new_folder(persona, "embedded") as folder:
        return starting._launch(folder, "embedded", ["sleep", "600"], dict(os.environ), "key", 9, ["base"], 512, None)


def test_a_server_that_a_run_started_for_itself_goes_with_it(machine: Machine, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is killed while an engine of its own is up: the device is free again, and a server of the person's own stays."""

    def launch(run: str) -> servers.Server:
        with monkeypatch.context() as patch:
            if run:
                patch.setenv(processes.RUN_VARIABLE, run)
            return light_server(machine.persona)

    run = machine.queue(steps=400, seconds=0.05, every=1000)
    machine.wait(run, running)
    monkeypatch.setattr(lease, "gpu", lambda: "")  # it holds the run's own lease in life; here only that it is found and ended counts
    its_own, the_persons = launch(str(run.path)), launch("")
    machine.kill(machine.pid("stage", run))
    assert machine.wait(run, over).status.state == "interrupted"
    try:
        assert [server.name for server in servers.running(machine.persona)] == [the_persons.name]
        assert not servers.is_alive(its_own)
    finally:
        servers.stop(the_persons)


def test_a_server_gives_way_to_a_run_and_comes_back_and_its_death_frees_the_device(machine: Machine, gpu: Any, pocket: None) -> None:
    persona = machine.persona
    (server,) = starting.start(persona, [get_checkpoint(persona, "base")], "embedded")
    servers.wait_ready(server)
    key, port = server.key, server.port
    assert lease.take(alone=True) is None, "a server does not hold the device"

    run = machine.queue(steps=10, seconds=0.1)
    waits = machine.wait(run, lambda r: r.status.message)
    assert server.name in waits.status.message and "give-way" in waits.status.message
    control.give_way(persona, run.id)
    machine.wait(run, running)
    assert servers.running(persona) == [] and [note.name for note in giving_way.returning()] == [server.name]
    assert not servers.is_alive(server)
    with pytest.raises(StudioError, match="in use by a run"):
        starting.start(persona, [get_checkpoint(persona, "base")], "embedded")
    assert machine.wait(run, over).status.state == DONE
    machine.wait(run, lambda r: any(event["kind"] == "came_back" for event in read_events(r.path)))
    (back,) = servers.running(persona)
    try:
        assert (list(back.models), back.key, back.port, back.state) == (["base"], key, port, "ready")
        assert giving_way.returning() == []
        kinds = [event["kind"] for event in read_events(run.path)]
        assert kinds.index("gave_way") < kinds.index("came_back")
        # kill -9 of the engine: what waits for the device gets it, and nobody who has not given way is brought back.
        waiting = machine.queue(steps=1)
        assert back.name in machine.wait(waiting, lambda r: r.status.message).status.message
        machine.kill(back.pid)
        assert machine.wait(waiting, over).status.state == DONE
    finally:
        servers.stop(back)
    assert servers.running(persona) == [] and machine.losses_found() + machine.quiet() == []
    assert read_run(run.path).status.requeues == 0
    machine.report("engine")


def test_a_server_for_a_while_that_gave_way_does_not_come_back_for_good(machine: Machine, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat starts a server for itself, a run makes it give way, the chat is closed meanwhile: nobody wants it back."""
    persona = machine.persona
    monkeypatch.setattr(starting, "start", lambda *_, **__: [light_server(persona)])
    monkeypatch.setattr(servers, "wait_ready", lambda *_: None)
    with sharing.served(persona, [get_checkpoint(persona, "base")]) as found:
        assert servers.is_alive(found["base"])
        run = machine.queue(steps=60, seconds=0.1)
        machine.wait(run, lambda r: r.status.message)
        control.give_way(persona, run.id)
        machine.wait(run, running)
        assert [note.name for note in giving_way.returning()] == [found["base"].name]
    assert giving_way.returning() == [] and read_run(run.path).status.state == RUNNING
    assert machine.wait(run, over).status.state == DONE
    assert machine.wait(machine.queue(steps=1), over).status.state == DONE
    assert servers.running(persona) == [] and machine.quiet() == []
