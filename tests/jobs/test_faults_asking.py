"""Rows 10 and 12 to 16: many at once, asked to stop in every way, names that lie, odd surroundings, a clock that jumps."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from studio.files import write_json
from studio.jobs import control, ending, processes
from studio.jobs.attempt import Attempt, Exit, read_attempt, write_exit
from studio.jobs.runs import CANCELLED, DONE, FAILED, INTERRUPTED, QUEUED, RUNNING, Run, read_events, read_run, update_status
from tests.jobs.machine import ROOT, Machine, over, python, running, saved

CLIENT = """
import json, sys
from pathlib import Path
from studio.jobs import control
from studio.jobs.runs import Inputs
from studio.persona.folder import open_persona
sys.stdin.readline()
persona = open_persona(Path(sys.argv[1]))
inputs = Inputs(stage="cpt", persona=str(persona.root), parent="base", parent_path=str(persona.root))
print(control.submit(persona, inputs, json.dumps({"steps": 1})).id)
"""


def test_row_10_eight_dispatchers_and_twenty_clients(machine: Machine) -> None:
    clients = [python(CLIENT, str(machine.persona.root), stdin=subprocess.PIPE) for _ in range(20)]
    time.sleep(1)
    dispatchers = [subprocess.Popen(processes.python("studio.jobs.dispatcher"), cwd=ROOT) for _ in range(8)]
    said = [client.communicate("go\n")[0].strip() for client in clients]
    machine.injected["dispatchers at once"] += 8
    machine.injected["clients at once"] += 20
    assert len(set(said)) == 20 and all(said), said
    ended = machine.wait_all(180)
    for dispatcher in dispatchers:
        dispatcher.wait()
    assert [run.status.state for run in ended] == [DONE] * 20
    assert {run.status.attempts for run in ended} == {1}
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 10")


def test_row_12_cancelled_politely_deaf_forked_and_queued(machine: Machine) -> None:
    persona = machine.persona
    polite, queued = machine.queue(steps=400, seconds=0.05), machine.queue(steps=1)
    machine.wait(polite, saved)
    assert control.cancel(persona, queued.id).status.state == CANCELLED
    control.cancel(persona, polite.id)
    assert machine.wait(polite, over).status.state == CANCELLED
    assert ending.newest_step(polite.path) == len(machine.steps(polite)), "it did not save on the way out"

    deaf = machine.queue(steps=400, seconds=0.05, deaf=True, children=["worker", "session"])
    machine.wait(deaf, running)
    control.cancel(persona, deaf.id, grace=0.5)
    assert machine.wait(deaf, over).status.state == CANCELLED
    assert machine.quiet() == []
    with pytest.raises(Exception, match="already"):
        control.cancel(persona, deaf.id)
    machine.injected["cancels"] += 4
    assert machine.losses_found() == []
    machine.report("row 12")


def test_row_13_sigterm_from_outside_is_an_interruption_and_it_goes_on(machine: Machine) -> None:
    run = machine.queue(steps=30, seconds=0.1)
    machine.wait(run, running)
    machine.kill(machine.pid("stage", run), signal.SIGTERM)
    machine.wait(run, resumed(1))
    # The second time all of it, as a shutdown does: it waits in the queue, and nothing new is started on a machine that goes down.
    machine.kill(machine.pid("runner", run), signal.SIGTERM)
    waits = machine.wait(run, lambda r: r.status.state == QUEUED)
    assert "from outside" in waits.status.message and "goes on from step" in waits.status.message
    assert machine.quiet() == []
    control.kick()
    ended = machine.wait(run, over)
    assert (ended.status.state, ended.status.attempts) == (DONE, 3)
    assert machine.steps(run) == list(range(1, 31)), "a step was done twice or lost though each stop was a saved one"

    stubborn = machine.queue(steps=400, seconds=0.1)
    for times in range(4):
        machine.wait(stubborn, resumed(times) if times else running)
        machine.kill(machine.pid("stage", stubborn), signal.SIGTERM)
    given_up = machine.wait(stubborn, over)
    assert given_up.status.state == INTERRUPTED and "4th time" in given_up.status.message and "retry" in given_up.status.message
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 13")


def resumed(times: int) -> Callable[[Run], bool]:
    """Whether a run has gone on so many times and has done a step since."""

    def check(run: Run) -> bool:
        kinds = [event["kind"] for event in read_events(run.path) if event["kind"] in ("resume", "step")]
        return kinds.count("resume") == times and kinds[-1] == "step" and run.status.state == RUNNING

    return check


def test_row_14_pids_that_lie_zombies_and_stale_files(machine: Machine) -> None:
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})
    zombie = subprocess.Popen(["true"])
    try:
        true = processes.identity(innocent.pid)
        assert true.lives()
        assert not msgspec.structs.replace(true, born=true.born - 1).lives(), "a pid alone was believed"
        assert not msgspec.structs.replace(true, boot="another").lives()
        while Path(f"/proc/{zombie.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
            time.sleep(0.01)
        assert processes.born(zombie.pid) is None, "a zombie was taken for alive"

        # A running run whose records name a pid that now belongs to somebody else, its own processes all dead.
        run = machine.queue(steps=400, seconds=0.05, every=1000)
        machine.wait(run, running)
        attempt = read_attempt(run.path, 1)
        assert attempt is not None and attempt.job.lives()
        machine.kill_everything()
        write_json(run.path / "attempt.json", Attempt(1, 0, true, msgspec.structs.replace(attempt.job, pid=innocent.pid)))
        found = control.settle(read_run(run.path))
        assert found.status.state == INTERRUPTED, "dead, and shown as running because its pid lives again"
        control.cancel(machine.persona, machine.queue(steps=400, seconds=0.05).id, grace=0.1)
        assert innocent.poll() is None, "somebody else's process was killed"

        # What the last attempt left behind speaks for that attempt alone.
        write_exit(run.path, Exit(1, code=-9))
        write_json(run.path / "result.json", {"ok": False, "error": "an old story"})
        (run.path / "cancel").write_text("0.1")
        (run.path / "recipe.toml").write_text('{"steps": 3}')
        control.retry(machine.persona, run.id)
        assert machine.wait(run, over).status.state == DONE
        update_status(run.path, state=RUNNING, attempts=7)
        (run.path / "result.json").unlink()
        assert "not started" in ending.judge(read_run(run.path)).message, "the exit record of another attempt was believed"
        update_status(run.path, state=FAILED)
        machine.injected.update({"pid reused": 1, "zombie": 1, "stale file": 4})
    finally:
        innocent.kill()
        innocent.wait()
        zombie.wait()
    machine.report("row 14")


def test_row_15_odd_surroundings(machine: Machine) -> None:
    """SIGCHLD ignored, no stdin, stdout or stderr, SIGTERM blocked, umask 000: as cron and broken launchers start us."""
    code = (
        "import json, os, signal, sys\nfrom pathlib import Path\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); os.umask(0)\n"
        "from studio.jobs import control\nfrom studio.jobs.runs import Inputs\nfrom studio.persona.folder import open_persona\n"
        "persona = open_persona(Path(sys.argv[1]))\n"
        "inputs = Inputs(stage='cpt', persona=str(persona.root), parent='base', parent_path=str(persona.root))\n"
        "for number in (0, 1, 2): os.close(number)\n"
        "control.submit(persona, inputs, json.dumps({'steps': 400, 'seconds': 0.02, 'exit_at': 3, 'exit': 7}))\n"
        "control.submit(persona, inputs, json.dumps({'steps': 400, 'seconds': 0.05}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(machine.persona.root)], cwd=ROOT).returncode == 0
    first, second = machine.runs()
    failed = machine.wait(first, over)
    assert failed.status.state == FAILED and "exit code 7" in failed.status.message
    machine.wait(second, running)
    control.cancel(machine.persona, second.id)
    assert machine.wait(second, over).status.state == CANCELLED
    assert any(event["kind"] == "step" for event in read_events(second.path)) and ending.newest_step(second.path) > 0
    for run in (first, second):
        open_files = [path.name for path in run.path.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
        assert open_files == [], f"others can read {open_files}"
    machine.injected.update({"surroundings": 5})
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 15")


def test_row_16_the_clock_set_a_day_on_and_a_day_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """``time.time`` of every process of ours follows a file, as a clock that somebody sets."""
    folder = machine.folder / "clock"
    folder.mkdir()
    offset = folder / "offset"
    (folder / "sitecustomize.py").write_text(
        f"import time\nreal = time.time\ndef shifted():\n    try:\n        return real() + float(open({str(offset)!r}).read() or 0)\n"
        "    except (OSError, ValueError):\n        return real()\ntime.time = shifted\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
    real = time.time

    def set_clock(seconds: float) -> None:
        (folder / "new").write_text(str(seconds))
        (folder / "new").rename(offset)
        monkeypatch.setattr(time, "time", lambda: real() + seconds)
        machine.injected["clock set"] += 1

    run = machine.queue(steps=40, seconds=0.1)
    machine.wait(run, running)
    second = machine.queue(steps=1)
    for seconds in (86_400, -86_400, 0):
        set_clock(seconds)
        assert control.settle(read_run(run.path)).status.state == RUNNING
        time.sleep(0.3)
    set_clock(-86_400)
    third = machine.queue(steps=1)
    set_clock(86_400)
    fourth = machine.queue(steps=1)
    set_clock(-86_400)
    fifth = machine.queue(steps=1)
    places = [read_run(r.path).status.place for r in (run, second, third, fourth, fifth)]
    assert places == sorted(places)
    states = [machine.wait(r, over) for r in (run, second, third, fourth, fifth)]
    assert [r.status.state for r in states] == [DONE] * 5 and {r.status.attempts for r in states} == {1}
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 16")
