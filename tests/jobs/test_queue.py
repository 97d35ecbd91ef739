"""The queue: order, priority, pause of one run and of all, waiting for another run, pruning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from studio import chain, forecast
from studio.checkpoints.store import get_checkpoint
from studio.cli.main import main as studio
from studio.dialogue import adding
from studio.dialogue import build as dialogue_build
from studio.errors import StudioError, UsageError
from studio.home import home
from studio.jobs import control, queue
from studio.jobs.runs import CANCELLED, DONE, PAUSED, SKIPPED, read_run
from studio.jobs.states import RULE
from studio.lore import build as lore_build
from studio.persona.folder import Persona, create
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


def test_followers_wait_are_skipped_and_come_back(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert studio(["-p", str(machine.persona.root), "jobs", "prune"]) == 0
    said = capsys.readouterr().out
    assert RULE in said and f"{first.id}: " in said and "removed; a retry starts over." in said and second.id not in said
    assert not (first.path / "trainer").exists()
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


def talkative(trained: Persona, folder: Path) -> Persona:
    """The same lore, and something to say."""
    persona = create("Ada", parent=folder)
    shutil.copytree(trained.lore, persona.lore, dirs_exist_ok=True)
    lore_build.build(persona)
    asked, answered = ("Where is the {0}?", "And the {0} of {1}?"), ("Under the {0}, where it was in {1}.", "Nobody has seen the {0} since {1}.")
    with (folder / "talk.jsonl").open("w") as file:
        for year, thing in zip(range(1801, 1825), ["lamp", "bell", "plum", "glove", "crate", "ledger", "rope", "oar"] * 3, strict=True):
            pairs = [(a.format(thing, year), b.format(thing, year * 7 % 997)) for a, b in zip(asked, answered, strict=True)]
            turns = [{"role": role, "content": text} for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
            file.write(json.dumps({"messages": turns}) + "\n")
    adding.add(persona, [folder / "talk.jsonl"])
    dialogue_build.build(persona)
    return persona


def test_one_command_from_the_lore_to_a_server_across_a_restart(trained: Persona, tmp_path: Path) -> None:
    """Real stages on the pocket base; everything is killed in the middle of the second and found again by opening the studio."""
    from studio.engines import servers

    persona = talkative(trained, tmp_path)
    machine = Machine.around(home(), persona)
    training = ["epochs=1", "length=64", "batch=8", "evals_per_epoch=1", "learning_rate=1e-3", "gradient_checkpointing=false", "probes=0"]
    small = [
        *training,
        *(f"sft.{value}" for value in training),
        "sft.batch=2",
        "sft.saves_per_epoch=4",
        "sft.rank=4",
        "quantize.scheme=int4-rtn",
        "quantize.check_tokens=64",
    ]
    then = [word for stage in ("sft", "merge", "quantize", "serve") for word in ("--then", stage)]
    assert studio(["-p", str(persona.root), "train", "cpt", *then, *(word for value in small for word in ("--set", value))]) == 0
    runs = control.runs(persona)
    assert [run.inputs.stage for run in runs] == ["cpt", "sft", "merge", "quantize", "serve"]
    assert [run.inputs.after for run in runs] == ["", *(run.id for run in runs[:-1])]
    machine.wait(runs[1], saved, 240)
    machine.kill_everything()
    queue.go_on()
    ended = [machine.wait(run, over, 240) for run in runs]
    assert [run.status.state for run in ended] == [DONE] * 5, [run.status.message for run in ended]
    assert [run.status.requeues for run in ended] == [0, 1, 0, 0, 0]
    parents = [run.inputs.parent for run in ended]
    assert parents[1:] == [run.status.checkpoints[-1] for run in ended[:-1]], "a stage did not start from what the one before it made"
    merged = get_checkpoint(persona, ended[2].status.checkpoints[0])
    assert merged.kind == "full" and get_checkpoint(persona, parents[2]).kind == "adapter"
    (server,) = servers.running(persona)
    try:
        assert list(server.models) == ended[3].status.checkpoints
    finally:
        servers.stop(server)
    assert forecast.plan(trained, "cpt", resolve(trained, "cpt")).memory["total"] > 0
    assert machine.quiet() == []
