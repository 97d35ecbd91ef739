"""Real trainings of the pocket base, really killed and cancelled. The machinery around them: the fault matrix, ``test_faults_*``."""

from __future__ import annotations

import pytest

from studio import forecast, launch
from studio.errors import StudioError
from studio.home import home
from studio.jobs import control
from studio.jobs.runs import CANCELLED, INTERRUPTED, RUNNING, Run, append_event, read_events
from studio.jobs.states import newest_step
from studio.persona.folder import Persona
from studio.recipes.files import resolve
from tests.jobs.machine import Machine, over, saved


def start(persona: Persona, epochs: float = 1) -> Run:
    small = [f"epochs={epochs}", "length=64", "batch=8", "evals_per_epoch=1", "learning_rate=1e-3", "gradient_checkpointing=false", "probes=0"]
    return launch.start(persona, "cpt", resolve(persona, "cpt", settings=small))


def test_killed_it_goes_on_by_itself_and_cancelled_it_saves_and_stops(trained: Persona) -> None:
    machine = Machine.around(home(), trained)
    run = start(trained, epochs=40)
    machine.wait(run, saved, 180)
    waiting = start(trained)
    assert control.cancel(trained, waiting.id).status.state == CANCELLED
    machine.kill(machine.pid("stage", run))
    again = machine.wait(run, lambda r: over(r) or gone_on(r), 180)
    assert (again.status.state, again.status.attempts, again.status.requeues) == (RUNNING, 2, 1)
    told = [e["message"] for e in read_events(run.path) if e["kind"] == "state" and e["state"] == INTERRUPTED]
    assert len(told) == 1 and "SIGKILL" in told[0] and "goes on from step" in told[0]
    with pytest.raises(StudioError, match="only failed, cancelled"):
        control.retry(trained, run.id)

    control.cancel(trained, run.id)
    assert machine.wait(run, over, 180).status.state == CANCELLED
    assert machine.losses_found() + machine.quiet() == []
    assert newest_step(run.path) == machine.steps(run)[-1], "what it had learned was not saved on the way out"
    with pytest.raises(StudioError, match="already"):
        control.cancel(trained, run.id)


def gone_on(run: Run) -> bool:
    """Whether it has done a step after it was taken up again."""
    kinds = [event["kind"] for event in read_events(run.path) if event["kind"] in ("resume", "step")]
    return "resume" in kinds and kinds[-1] == "step"


def test_a_torn_event_line_is_waited_for(trained: Persona) -> None:
    run = control.runs(trained)[0]
    before = len(read_events(run.path))
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(b'{"t": 1, "kind": "phase", "na')
    assert len(read_events(run.path)) == before
    append_event(run.path, "phase", name="after")
    assert [e.get("name") for e in read_events(run.path)[before:]] == ["after"]


def test_what_cannot_end_well_is_refused_before_it_is_queued(trained: Persona) -> None:
    count = len(control.runs(trained))
    with pytest.raises(StudioError, match="no dialogue snapshot"):
        launch.start(trained, "sft", resolve(trained, "sft"))
    with pytest.raises(StudioError, match="at most"):
        launch.start(trained, "cpt", resolve(trained, "cpt", settings=["length=100000"]))
    with pytest.raises(StudioError, match="no key"):
        resolve(trained, "cpt", settings=["leraning_rate=1"])
    with pytest.raises(StudioError, match="learning_rate"):
        resolve(trained, "cpt", settings=["learning_rate=much"])
    with pytest.raises(StudioError, match="no checkpoint"):
        forecast.plan(trained, "cpt", resolve(trained, "cpt"), "nowhere")
    assert len(control.runs(trained)) == count
