"""Rows 17 to 20 of the fault matrix: a thousand runs, damaged files, unreadable stories, and a random storm of kills.

``STUDIO_STORM=n`` makes the storm n times as long.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from studio.jobs import control, queue
from studio.jobs.runs import DONE, INTERRUPTED, QUEUED, RUNNING, Inputs, append_event, create_run, read_events, read_run
from studio.persona.folder import Persona, create
from tests.jobs.machine import Machine, over, python, running, saved

WRITER = """
import sys
from pathlib import Path
from studio.jobs.runs import Inputs, create_run
from studio.persona.folder import open_persona
persona = open_persona(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    print(create_run(persona, Inputs(stage="cpt", persona=str(persona.root), parent="base", parent_path=""), "{}").id)
"""


def test_row_17_a_thousand_runs_from_eight_writers(light: Path) -> None:
    persona = create("Wen", parent=light)
    writers = [python(WRITER, str(persona.root), "125") for _ in range(8)]
    said = [name for writer in writers for name in writer.communicate()[0].split()]
    assert len(said) == len(set(said)) == 1000, "two writers were given the same run"
    began = time.process_time()
    rows = control.listing(persona)
    first = time.process_time() - began
    began = time.process_time()
    order = queue.waiting()
    second = time.process_time() - began
    assert len(rows) == 1000 and {row["state"] for row in rows} == {QUEUED}
    assert [run.id for run in order] == [run.id for run in sorted(order, key=lambda run: run.status.place)]
    assert len({run.status.place for run in order}) == 1000, "two runs have one place"
    print(f"\nfault matrix row 17: 1,000 runs by 8 writers, listed in {first * 1000:.0f} ms, the queue in {second * 1000:.0f} ms, 0 losses found")


def test_row_18_what_holds_the_queue_deleted_damaged_and_older(machine: Machine) -> None:
    """There is no database to lose; what there is instead is broken here: order, locks, statuses, the list of personas."""
    queue.pause()
    done = machine.queue(steps=2)
    queue.resume()
    machine.wait(done, over)
    queue.pause()
    runs = [machine.queue(steps=2) for _ in range(4)]
    machine.wait(runs[0], lambda r: not machine.pids())
    (done.path / "status.json").write_bytes(b"")
    (runs[0].path / "status.json").write_bytes(b'{"state": "que')
    (runs[1].path / "status.json").unlink()
    (runs[2].path / "status.json").write_text(json.dumps({"state": "queued", "created": read_run(runs[2].path).status.created, "unknown": 1}))
    (machine.home / "locks" / "order").write_bytes(b"\xff\xffnonsense")
    with (machine.home / "personas.jsonl").open("ab") as file:
        file.write(b'{"path": "/no')
    machine.injected["file damaged"] += 6
    retold = control.run(machine.persona, done.id)
    assert retold.status.state == DONE and retold.status.checkpoints == [f"{done.id}-e1"]
    assert {run.id for run in queue.waiting()} == {run.id for run in runs}
    create("Other", parent=machine.folder)
    queue.resume()
    runs.append(machine.queue(steps=1))
    assert [machine.wait(run, over).status.state for run in runs] == [DONE] * 5
    for path in machine.home.glob("locks/*"):
        path.unlink()
    assert machine.wait(machine.queue(steps=1), over).status.state == DONE

    # A running run whose status is lost is still found to be running, and ends well.
    long = machine.queue(steps=30, seconds=0.1)
    machine.wait(long, running)
    (long.path / "status.json").write_bytes(b"\0" * 100)
    machine.injected["file damaged"] += 1
    assert control.run(machine.persona, long.id).status.state == RUNNING
    assert machine.wait(long, over).status.state == DONE
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 18")


async def test_row_19_the_viewer_stays_up_on_a_torn_story_and_a_giant_log(persona: Persona) -> None:
    from studio.tui.app import StudioApp
    from studio.tui.screens.run import RunScreen

    run = create_run(persona, Inputs(stage="cpt", persona=str(persona.root), parent="base", parent_path=""), "{}")
    append_event(run.path, "phase", name="Training")
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(b'\x00\xff\x1b[2J\n{"kind": 5}\n[]\n{"kind": "step", "step": "x", "loss": null}\n{"kind": "eval"}\n{"t": 1, "kind": "ph')
    append_event(run.path, "phase", name="after the tear")
    with (run.path / "log.txt").open("wb") as log:
        log.seek(1 << 30)
        log.write(b"\x1b[31m\x00\xff\xfe" * 4000 + b"\nthe last line\n")
    assert control.log_tail(run.path).endswith("the last line\n")
    assert [event["name"] for event in read_events(run.path) if event["kind"] == "phase"] == ["Training", "after the tear"]
    app = StudioApp(persona)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = RunScreen(run, log=True)
        await app.push_screen(screen)
        for _ in range(200):
            await pilot.pause(0.02)
            if "the last line" in screen.log_text and screen.told.lines:
                break
        assert "the last line" in screen.log_text
        await pilot.press("l")
        await pilot.pause(0.1)
        assert any("after the tear" in str(line) for line in screen.told.lines) and app.is_running
    print("\nfault matrix row 19: 7 damaged lines and a binary log of 1 GB injected, 0 losses found")


def test_row_20_a_storm_of_kills_over_a_queue(machine: Machine) -> None:
    times = int(os.environ.get("STUDIO_STORM", "1"))
    for seed in range(1, times + 1):
        before = len(machine.runs())
        runs = [machine.queue(steps=8, seconds=0.05, children=["worker"] if n % 4 == 0 else []) for n in range(16)]
        runs += [machine.queue(after=runs[n].id, steps=3) for n in (0, 2, 5, 9)]
        machine.storm(seed, kills=50, between=0.25)
        # The storm is over.
        deadline = time.monotonic() + 300
        while not all(run.status.state == DONE for run in machine.runs()) and time.monotonic() < deadline:
            if not machine.pids():
                control.kick()
            machine.retry_all()
            time.sleep(0.5)
        assert [read_run(run.path).status.state for run in runs] == [DONE] * 20
        assert len(machine.runs()) == before + 20, "a run was lost or doubled"
        assert machine.injected["SIGKILL"] == 50 * seed
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 20")


def test_the_persona_folder_moved_under_a_running_job(machine: Machine) -> None:
    run = machine.queue(steps=60, seconds=0.05, every=2)
    machine.wait(run, saved)
    moved = machine.persona.root.with_name("wen-moved")
    machine.persona.root.rename(moved)
    machine.injected["folder moved"] += 1
    from studio.persona.folder import open_persona

    machine.persona = open_persona(moved)
    deadline = time.monotonic() + 30
    while control.is_alive(moved / "runs" / run.id) and time.monotonic() < deadline:
        time.sleep(0.05)
    found = control.run(machine.persona, run.id)
    assert not (machine.folder / "wen").exists(), "the old folder was made anew"
    assert found.inputs.persona == str(moved)
    if found.status.state == INTERRUPTED:
        control.retry(machine.persona, run.id)
    assert machine.wait(found, over).status.state == DONE
    assert machine.losses_found() + machine.quiet() == []
    machine.report("folder moved")


def test_this_file_would_see_a_loss(machine: Machine) -> None:
    """The instruments: a doubled device, a wrong loss, a torn checkpoint, a dead run shown as running."""
    run = machine.queue(steps=2)
    machine.wait(run, over)
    assert machine.losses_found() == []
    append_event(run.path, "step", step=2, loss=5)
    (machine.persona.checkpoints / "torn").mkdir()
    (machine.home / "double").write_text("x")
    (run.path / "status.json").write_bytes((run.path / "status.json").read_bytes())
    dead = create_run(machine.persona, Inputs(stage="cpt", persona="", parent="", parent_path=""), "{}")
    (dead.path / "status.json").write_text('{"state": "running"}')
    assert len(machine.losses_found()) == 4
    child = subprocess.Popen(["sleep", "60"], env={"STUDIO_HOME": str(machine.home)})
    assert any("is left" in line for line in machine.quiet(0.1))
    child.kill()
    child.wait()
    assert Path(f"/proc/{os.getpid()}").exists()
