"""The queue: order, priority, pause of one run and of all, waiting for another run, pruning."""

from __future__ import annotations

import pytest

from studio import chain, launch
from studio.cli.main import main as studio
from studio.errors import StudioError, UsageError
from studio.home import home
from studio.jobs import control, queue
from studio.jobs.runs import CANCELLED, DONE, PAUSED, QUEUED, RUNNING, SKIPPED, read_run
from studio.persona.folder import Persona
from studio.recipes.files import resolve
from tests.jobs.machine import Machine, over, running, saved


def order(machine: Machine) -> list[str]:
    return [run.id for run in queue.waiting()]


def test_the_order_is_changed_by_hand_and_kept(machine: Machine) -> None:
    queue.pause()
    runs = [machine.queue(steps=1) for _ in range(4)]
    a, b, c, d = (run.id for run in runs)
    assert order(machine) == [a, b, c, d]
    assert queue.move(machine.persona, c, "up") == 2
    assert order(machine) == [a, c, b, d]
    assert queue.move(machine.persona, d, "first") == 1
    assert order(machine) == [d, a, c, b]
    queue.move(machine.persona, d, "down")
    queue.move(machine.persona, a, "last")
    assert order(machine) == [d, c, b, a]
    queue.prioritize(machine.persona, b, 5)
    assert order(machine) == [b, d, c, a]
    queue.move(machine.persona, a, "first")
    assert order(machine) == [a, b, d, c]
    assert machine.wait(runs[0], lambda r: r.status.message).status.message.startswith("Waiting: the queue is paused")
    assert machine.pids() == {} or set(machine.pids().values()) == {"dispatcher"}
    assert studio(["-p", str(machine.persona.root), "jobs", "down", a]) == 0
    queue.resume()
    ended = machine.wait_all()
    assert [run.id for run in sorted(ended, key=lambda run: run.status.started)] == [b, a, d, c]
    assert {run.status.state for run in ended} == {DONE}
    with pytest.raises(StudioError, match="no place in the queue"):
        queue.move(machine.persona, a, "first")
    assert machine.losses_found() + machine.quiet() == []


def test_a_paused_run_is_saved_keeps_its_place_and_goes_on(machine: Machine) -> None:
    run, waiting = machine.queue(steps=30, seconds=0.1), machine.queue(steps=1)
    machine.wait(run, running)
    control.pause(machine.persona, waiting.id)
    assert read_run(waiting.path).status.state == PAUSED
    control.pause(machine.persona, run.id)
    stopped = machine.wait(run, lambda r: r.status.state == PAUSED)
    assert "step" in stopped.status.message and machine.quiet() == []
    assert order(machine) == [run.id, waiting.id]
    with pytest.raises(StudioError, match="only failed, cancelled"):
        control.retry(machine.persona, run.id)
    done = len(machine.steps(run))
    control.resume(machine.persona, waiting.id)
    assert machine.wait(waiting, over).status.state == DONE
    control.resume(machine.persona, run.id)
    assert machine.wait(run, over).status.state == DONE
    assert machine.steps(run) == list(range(1, 31)) and done < 30
    with pytest.raises(StudioError, match="only paused"):
        control.resume(machine.persona, run.id)
    assert machine.losses_found() + machine.quiet() == []


def test_followers_wait_are_skipped_and_come_back(machine: Machine) -> None:
    first = machine.queue(steps=400, seconds=0.05)
    second = machine.queue(after=first.id, steps=1)
    third = machine.queue(after=second.id, steps=1)
    machine.wait(second, lambda r: r.status.message == f"Waiting for {first.id}.")
    machine.wait(first, running)
    control.cancel(machine.persona, first.id)
    assert machine.wait(first, over).status.state == CANCELLED
    assert [machine.wait(run, over).status.state for run in (second, third)] == [SKIPPED, SKIPPED]
    with pytest.raises(StudioError, match="comes along"):
        control.retry(machine.persona, second.id)
    freed = control.prune(machine.persona)
    assert [name for name, _ in freed] == [first.id] and freed[0][1] > 0
    (first.path / "recipe.toml").write_text('{"steps": 2}')
    control.retry(machine.persona, first.id)
    assert [machine.wait(run, over).status.state for run in (first, second, third)] == [DONE] * 3
    spans = [read_run(run.path).status for run in (first, second, third)]
    assert spans[0].ended <= spans[1].started + 0.01 and spans[1].ended <= spans[2].started + 0.01


def test_a_chain_is_checked_before_anything_is_queued(trained: Persona) -> None:
    def links(first: str, *then: str, settings: list[str] | None = None) -> list[chain.Link]:
        return chain.links(trained, chain.Link(first, resolve(trained, first)), list(then), settings or [])

    before = len(control.runs(trained))
    for first, then, says in (
        ("cpt", ["quantize", "sft"], "cannot be trained"),
        ("sft", ["cpt"], "full weights"),
        ("cpt", ["serve", "quantize"], "nothing comes after"),
        ("cpt", ["dream"], "no such stage"),
        ("cpt", ["merge"], "makes none"),
    ):
        with pytest.raises(UsageError, match=says):
            links(first, *then)
    with pytest.raises(UsageError, match="no stage of this chain"):
        links("cpt", "quantize", settings=["sft.epochs=2"])
    with pytest.raises(StudioError, match="no dialogue snapshot"):
        chain.start(trained, links("cpt", "sft"))
    assert chain.split(["epochs=2", "quantize.scheme=int4-rtn", "name=a.b"]) == (["epochs=2", "name=a.b"], ["quantize.scheme=int4-rtn"])
    assert len(control.runs(trained)) == before, "a chain that could not be queued as a whole was queued in part"


def test_one_command_trains_quantizes_and_serves_across_a_restart(trained: Persona) -> None:
    """Real stages on the pocket base; everything is killed in the middle of the first and found again by opening the studio."""
    from studio.engines import servers

    machine = Machine.around(home(), trained)
    small = ["epochs=2", "length=64", "batch=4", "evals_per_epoch=1", "learning_rate=1e-3", "gradient_checkpointing=false", "saves_per_epoch=4"]
    settings = [word for value in (*small, "quantize.scheme=int4-rtn") for word in ("--set", value)]
    assert studio(["-p", str(trained.root), "train", "cpt", "--then", "quantize", "--then", "serve", *settings]) == 0
    runs = [run for run in control.runs(trained) if run.status.state in (QUEUED, RUNNING)]
    assert [run.inputs.stage for run in runs] == ["cpt", "quantize", "serve"]
    assert [run.inputs.after for run in runs] == ["", runs[0].id, runs[1].id]
    machine.wait(runs[0], saved, 180)
    machine.kill_everything()
    queue.go_on()
    ended = [machine.wait(run, over, 240) for run in runs]
    assert [run.status.state for run in ended] == [DONE] * 3, [run.status.message for run in ended]
    assert ended[0].status.requeues == 1
    assert ended[1].inputs.parent == f"{runs[0].id}-e2"
    (server,) = servers.running(trained)
    try:
        assert list(server.models) == ended[1].status.checkpoints
    finally:
        servers.stop(server)
    assert launch.plan(trained, "cpt", resolve(trained, "cpt")).memory["total"] > 0
