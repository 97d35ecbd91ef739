"""Row 1: the terminal goes away: a real pty closed, a real tmux session killed, the app killed. Job and queue go on, and are found again."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time

import pytest

from studio.jobs import control
from studio.jobs.runs import DONE, RUNNING, read_run
from tests.jobs.machine import ROOT, Machine, over, running

CLIENT = """
import json, sys, time
from pathlib import Path
from studio.jobs import control
from studio.jobs.runs import Inputs
from studio.persona.folder import open_persona
persona = open_persona(Path(sys.argv[1]))
inputs = Inputs(stage="cpt", persona=str(persona.root), parent="base", parent_path=str(persona.root))
run = control.submit(persona, inputs, json.dumps({"steps": 20, "seconds": 0.1}))
print("queued", run.id, flush=True)
for event in control.follow(run.path):
    print(event["kind"], flush=True)
time.sleep(600)
"""


def test_row_1_a_closed_pty(machine: Machine) -> None:
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", CLIENT, str(machine.persona.root)])
    said = b""
    while b"step" not in said:
        said += os.read(master, 1000)
    os.close(master)  # what an SSH connection that drops does: SIGHUP to the whole foreground
    machine.injected["pty closed"] += 1
    os.waitpid(pid, 0)
    (run,) = machine.runs()
    assert control.settle(run).status.state == RUNNING
    assert machine.wait(run, over).status.state == DONE
    assert read_run(run.path).status.attempts == 1
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 1 (pty)")


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_row_1_tmux_killed_with_the_app_and_the_shell_in_it(machine: Machine) -> None:
    socket = str(machine.folder / "tmux")

    def tmux(*words: str) -> str:
        return subprocess.run(["tmux", "-S", socket, *words], capture_output=True, text=True, check=True).stdout

    app = [sys.executable, "-m", "studio.cli.main", "-p", str(machine.persona.root)]
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "one", "-x", "100", "-y", "30", *app)
    try:
        deadline = time.monotonic() + 90
        while "1 Persona" not in (screen := tmux("capture-pane", "-p", "-t", "one")) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "1 Persona" in screen or "Persona]" in screen, screen
        tmux("new-window", "-t", "one", sys.executable, "-c", CLIENT, str(machine.persona.root))
        while not machine.runs() and time.monotonic() < deadline:
            time.sleep(0.05)
        (run,) = machine.runs()
        machine.wait(run, running)
        waiting = machine.queue(steps=1)
        tmux("kill-session", "-t", "one")
        machine.injected["tmux killed"] += 1
        assert machine.wait(run, over).status.state == DONE
        assert machine.wait(waiting, over).status.state == DONE
        assert machine.losses_found() + machine.quiet() == []
    finally:
        subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True)
    machine.report("row 1 (tmux)")


def test_row_1_the_app_killed(machine: Machine) -> None:
    app = subprocess.Popen([sys.executable, "-c", CLIENT, str(machine.persona.root)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    assert app.stdout and app.stdout.readline().startswith(b"queued")
    (run,) = machine.runs()
    os.killpg(app.pid, signal.SIGKILL)
    machine.injected["SIGKILL to the app"] += 1
    app.wait()
    assert machine.wait(run, over).status.state == DONE
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 1 (app)")
