"""A run ends: the person's own command is told, by facts and not by a shell. A checkpoint that is needed stays."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from studio import forecast, planning
from studio.checkpoints.store import delete_checkpoint
from studio.errors import StudioError
from studio.jobs import control, queue
from studio.jobs.runs import DONE, FAILED, INTERRUPTED, update_status
from studio.persona.folder import Persona
from studio.recipes.files import resolve
from studio.settings import settings
from studio.tui.pulse import News
from tests.jobs.machine import Machine, over, saved

TOLD = (
    "import json, os, sys; json.dump([sys.argv[1:], {k: v for k, v in os.environ.items() if k.startswith('STUDIO_')}], "
    "open(sys.argv[1] + '/' + os.environ['STUDIO_RUN_ID'] + '.told', 'w'))"
)


def test_a_command_of_the_persons_own_is_told_once_for_each_end(machine: Machine) -> None:
    machine.configure(notify={"command": [sys.executable, "-c", TOLD, str(machine.folder), "$(touch /tmp/never) `x`; $STUDIO_STATE"]})
    good = machine.queue(steps=2)
    bad = machine.queue(steps=2, crash_at=1)
    killed = machine.queue(steps=30, seconds=0.1)
    assert machine.wait(good, over).status.state == DONE and machine.wait(bad, over).status.state == FAILED
    machine.wait(killed, saved)
    machine.kill(machine.pid("stage", killed))  # goes on by itself: no end, nothing to tell
    assert machine.wait(killed, over).status.state == DONE
    for run, state in ((good, "done"), (bad, "failed"), (killed, "done")):
        file = machine.folder / f"{run.id}.told"
        machine.wait(run, lambda _, file=file: file.exists() and file.stat().st_size)  # type: ignore[misc]
        time.sleep(0.05)
        words, facts = json.loads(file.read_text())
        assert words[1] == "$(touch /tmp/never) `x`; $STUDIO_STATE", "a shell was here"
        assert (facts["STUDIO_STATE"], facts["STUDIO_STAGE"], facts["STUDIO_RUN_FOLDER"]) == (state, "cpt", str(run.path))
        assert "STUDIO_RUN" not in facts and "STUDIO_LEASE" not in facts, "the command would be taken for a part of the run"
        assert facts["STUDIO_CHECKPOINTS"] == (f"{run.id}-e1" if state == "done" else "")
    assert machine.losses_found() + machine.quiet() == []


def test_a_command_that_is_not_there_and_settings_that_are_wrong_harm_no_run(machine: Machine) -> None:
    machine.configure(notify={"command": ["/no/such/program"]})
    run = machine.queue(steps=1)
    assert machine.wait(run, over).status.state == DONE
    log = machine.home / "notify.log"
    machine.wait(run, lambda _: log.exists() and log.read_text().endswith("\n"))  # it is there, empty, a moment before its line
    assert "/no/such/program" in log.read_text()
    (machine.home / "config.toml").write_text("[notify]\nbel = true\n")
    with pytest.raises(StudioError, match="bel"):
        settings()


def test_the_app_tells_an_end_once_and_only_one_it_has_seen_coming(machine: Machine) -> None:
    news = News()
    old, run = machine.queue(steps=1), machine.queue(steps=2)
    machine.wait(old, over)
    machine.wait(run, over)
    update_status(run.path, state="running")
    assert news.of(machine.runs()) == ((), False), "what had ended before the app was opened is no news"
    update_status(run.path, state=INTERRUPTED, message="Its power was cut.")
    assert news.of(machine.runs()) == ((f"{run.id} is interrupted: Its power was cut.",), True)
    assert news.of(machine.runs()) == ((), False)
    update_status(run.path, state="running")
    news.of(machine.runs())
    machine.configure(notify={"bell": False})
    update_status(run.path, state=DONE, message="")
    assert news.of(machine.runs()) == ((f"{run.id} is done.",), False)


def test_a_checkpoint_that_something_depends_on_is_not_deleted(machine: Machine) -> None:
    first = machine.queue(steps=1)
    machine.wait(first, over)
    made = f"{first.id}-e1"
    queue.pause()
    follower = machine.queue(after=first.id, steps=1)
    (follower.path / "inputs.json").write_text((follower.path / "inputs.json").read_text().replace('"parent": "base"', '"parent": ""'))
    with pytest.raises(StudioError, match=f"{follower.id} waits for {first.id}"):
        delete_checkpoint(machine.persona, made)
    (follower.path / "inputs.json").write_text((follower.path / "inputs.json").read_text().replace('"parent": ""', f'"parent": "{made}"'))
    for state in ("queued", "paused", "running"):
        update_status(follower.path, state=state)
        with pytest.raises(StudioError, match="starts from it"):
            delete_checkpoint(machine.persona, made)
    update_status(follower.path, state=DONE)
    delete_checkpoint(machine.persona, made)
    assert not (machine.persona.checkpoints / made).exists()


def test_a_run_waits_for_the_room_it_was_planned_to_need(machine: Machine) -> None:
    huge, small = machine.queue(steps=1, disk=1 << 60), machine.queue(steps=2, seconds=0.1)
    assert machine.wait(small, over).status.state == DONE, "what has no room holds up what has"
    assert "room on the disk" in machine.wait(huge, lambda r: r.status.message).status.message
    control.cancel(machine.persona, huge.id)


def test_a_plan_that_wants_more_memory_than_there_is_warns(trained: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = resolve(trained, "cpt", settings=["length=64"])
    assert not [text for text in forecast.plan(trained, "cpt", recipe).warnings if "memory" in text]
    (tmp_path / "device.json").write_text(json.dumps({"uuid": "GPU-of-paper", "name": "Paper 1", "total": 1 << 20}))
    monkeypatch.setenv("STUDIO_DEVICE", str(tmp_path / "device.json"))
    (warning,) = [text for text in forecast.plan(trained, "cpt", recipe).warnings if "memory" in text]
    assert "Paper 1 has 1.0 MB" in warning


def test_what_would_fit_goes_by_the_rows_that_are_there(trained: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is as long as the recipe allows: half that length would save nothing, and is not offered."""
    (tmp_path / "device.json").write_text(json.dumps({"uuid": "GPU-of-paper", "name": "Paper 1", "total": 1 << 20}))
    monkeypatch.setenv("STUDIO_DEVICE", str(tmp_path / "device.json"))
    asked: list[int] = []
    monkeypatch.setattr(planning, "nearest_fit", lambda recipe, *there: asked.append(recipe.length))
    planned = forecast.plan(trained, "cpt", resolve(trained, "cpt", settings=["length=2048", "packing=false"]))
    assert planned.warnings and asked[0] < 2048
