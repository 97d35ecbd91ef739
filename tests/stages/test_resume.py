"""Killed or stopped, a training goes on as if nothing had been."""

from __future__ import annotations

import json
import shutil
import signal
from typing import Any

from studio.jobs.runs import read_run
from studio.stages import resume

from .conftest import MakeRun, dialogue, done, events, hit_after, losses, start, stop_at

SETTINGS: dict[str, Any] = {
    "rank": 4,
    "alpha": 8,
    "dropout": 0.1,
    "neftune": 5.0,
    "epochs": 3.0,
    "saves_per_epoch": 3,
    "evals_per_epoch": 2,
    "train": dialogue(12),
}


def test_killed_in_the_middle_and_rerun(make_run: MakeRun) -> None:
    """SIGKILL after a saved state, mid-epoch; dropout, noise and data order must all come back."""
    whole, killed = make_run("sft", "sft-1", **SETTINGS), make_run("sft", "sft-2", **SETTINGS)
    process = start(killed)
    done(whole)

    def past_a_state() -> bool:
        states = events(killed, "saved")
        return len(states) > 3 and bool(events(killed, "step")) and events(killed, "step")[-1]["step"] > states[-1]["step"]

    assert hit_after(killed, process, past_a_state, signal.SIGKILL) == -signal.SIGKILL
    assert not (killed / "result.json").exists()
    first = killed.parent.parent / "checkpoints" / "sft-2-e1" / "checkpoint.toml"
    written = first.stat().st_mtime_ns
    # What a kill in the middle of saving leaves: a state without its marker, newer than all others.
    (torn,) = (killed / "trainer").glob("state-*")
    shutil.copytree(torn, torn.with_name("state-999"))
    (torn.with_name("state-999") / resume.MARKER).unlink()

    outcome = done(killed)
    assert outcome["checkpoints"] == ["sft-2-e1", "sft-2-e2", "sft-2-e3"]
    (came_back,) = events(killed, "resume")
    assert 0 < came_back["step"] < outcome["planned_steps"]
    assert len(events(killed, "step")) > outcome["planned_steps"] - came_back["step"]
    assert losses(killed) == losses(whole)
    assert [e["val_loss"] for e in events(killed, "eval")][-1] == [e["val_loss"] for e in events(whole, "eval")][-1]
    assert events(killed, "step")[-1]["tokens"] == events(whole, "step")[-1]["tokens"]
    assert first.stat().st_mtime_ns == written


def test_asked_to_stop_it_saves_and_says_so(make_run: MakeRun) -> None:
    stopped, whole = make_run("cpt", "cpt-1", epochs=2.0), make_run("cpt", "cpt-2", epochs=2.0)
    stop_at(stopped, 3)
    done(whole)
    assert not (stopped / "result.json").exists()
    assert [e["kind"] for e in events(stopped, "stopping")] == ["stopping"]
    done(stopped)
    assert events(stopped, "resume")[0]["step"] >= 3
    assert losses(stopped) == losses(whole)
    assert len(events(stopped, "step")) == len(events(whole, "step"))
    # Every evaluation took place, the one a stop put off as well.
    assert [(e["step"], e["val_loss"]) for e in events(stopped, "eval")] == [(e["step"], e["val_loss"]) for e in events(whole, "eval")]


def test_a_finished_run_is_not_done_again(make_run: MakeRun) -> None:
    run = make_run("cpt")
    steps = done(run)["planned_steps"]
    (run / "result.json").unlink()
    assert done(run) | {"seconds": 0, "peak_memory_bytes": 0} == {
        "ok": True,
        "checkpoints": ["cpt-1-e1"],
        "global_step": steps,
        "planned_steps": steps,
        "message": "",
        "seconds": 0,
        "peak_memory_bytes": 0,
    }
    assert len(events(run, "step")) == steps
    assert read_run(run).status.checkpoints == ["cpt-1-e1"]


def test_only_whole_states_of_the_same_plan_count(tmp_path) -> None:  # type: ignore[no-untyped-def]
    plan = {"rows": 4}

    def save(step: int, plan: dict[str, int], newest: int = 5) -> None:
        written = resume.staging(tmp_path) / f"checkpoint-{step}"
        written.mkdir(parents=True)
        (written / "optimizer.pt").write_bytes(b"x" * step)
        resume.keep(tmp_path, written, resume.Marker(step, {}, plan, {}), newest)

    def kept() -> list[str]:
        return sorted(path.name for path in (tmp_path / "trainer").glob("state-*"))

    for step in (2, 10, 9):
        save(step, plan)
    assert resume.newest_state(tmp_path, plan)[0].name == "state-10"
    (tmp_path / "trainer/state-10/optimizer.pt").write_bytes(b"short")
    assert resume.newest_state(tmp_path, plan)[0].name == "state-9"
    assert (tmp_path / "trainer/.broken/state-10").is_dir()
    save(11, {"rows": 5})
    assert resume.newest_state(tmp_path, plan)[1].step == 9
    (tmp_path / "trainer/state-9" / resume.MARKER).write_text(json.dumps({"step": 9}))
    assert resume.newest_state(tmp_path, plan)[0].name == "state-2"
    save(12, plan)
    save(13, plan, newest=2)
    assert kept() == ["state-12", "state-13"]
