"""A training that ends itself, where its recipe says so: done, its last checkpoint in place, and it says why."""

from __future__ import annotations

from studio.checkpoints.store import read_checkpoint
from studio.jobs.ending import judge
from studio.jobs.runs import DONE, read_run
from studio.jobs.telling import event_line
from studio.stages.watching import Counted

from .conftest import MakeRun, done, events, lore

# A step size at which it only gets worse after a few steps.
WILD = {"train": lore(8), "val": lore(12)[8:], "packing": False, "length": 48, "learning_rate": 3e-2, "epochs": 2.0, "evals_per_epoch": 4}


def in_vain(losses: list[float], limit: int) -> int:
    """At which evaluation the last ``limit`` have brought nothing lower."""
    return next(at for at in range(limit, len(losses)) if min(losses[at - limit + 1 : at + 1]) >= min(losses[: at - limit + 1]))


def test_it_ends_where_nothing_gets_better_and_says_so(make_run: MakeRun) -> None:
    whole = make_run("cpt", **WILD)
    assert done(whole)["checkpoints"] == ["cpt-1-e1", "cpt-1-e2"] and not events(whole, "ended_early")
    losses = [event["val_loss"] for event in events(whole, "eval")]
    assert len(losses) == 9

    run = make_run("cpt", "cpt-2", stop_after=1, **WILD)
    outcome = done(run)
    expected = in_vain(losses, 1)
    assert 0 < expected < 8 and expected != 4
    assert [event["val_loss"] for event in events(run, "eval")] == losses[: expected + 1]
    (told,) = events(run, "ended_early")
    last = f"cpt-2-s{told['step']}"
    assert told["step"] == events(run, "step")[-1]["step"] == outcome["global_step"] == outcome["planned_steps"] == expected
    lowest = min(losses[: expected + 1])
    assert event_line(told) == outcome["message"] and f"lowest {lowest:.3f} at step {losses.index(lowest)}" in outcome["message"]
    assert outcome["checkpoints"][-1] == last and read_run(run).status.checkpoints == outcome["checkpoints"]
    assert read_checkpoint(run.parent.parent / "checkpoints" / last).metrics["val_loss"] == losses[expected]
    assert not (run / "trainer").exists()
    verdict = judge(read_run(run))
    assert (verdict.state, verdict.message) == (DONE, outcome["message"])


def test_what_was_in_vain_is_counted_on_after_a_stop() -> None:
    counted, resumed = Counted(), Counted()
    for step, loss in enumerate((4.0, 3.0, 3.5, 3.0)):
        counted.measured(step, loss)
    resumed.restore(counted.as_dict(1.0))
    assert resumed.lowest == counted.lowest == (1, 3.0) and resumed.vain == counted.vain == 2
    resumed.measured(4, 2.9)
    assert resumed.lowest == (4, 2.9) and resumed.vain == 0
    before = {key: value for key, value in counted.as_dict(1.0).items() if key not in ("lowest", "vain")}
    resumed.restore(before)  # a state of an earlier version
    assert resumed.lowest is None and resumed.vain == 0
