"""Runs handed to a real Slurm of one node with one (paper) GPU: done, waiting, cancelled, killed, its daemons gone, handed over twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.jobs import control, executors, slurm
from studio.jobs.runs import CANCELLED, DONE, FAILED, INTERRUPTED, QUEUED, RUNNING, Run, read_events, read_run
from tests.jobs.cluster import Cluster, missing
from tests.jobs.machine import Machine, over, running, saved


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="studio-slurm-") as folder:
        made = Cluster(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def handing(machine: Machine, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.setattr(slurm, "_seen", (float("-inf"), None))
    return machine


def waits(run: Run) -> bool:
    return run.status.state == QUEUED and "pending" in run.status.message


def test_runs_go_through_slurm_one_after_the_other_and_are_cancelled(handing: Machine, cluster: Cluster) -> None:
    machine = handing
    first = machine.queue(on="slurm", steps=25, seconds=0.1)
    second = machine.queue(on="slurm", steps=2)
    third = machine.queue(on="slurm", after=second.id, steps=1)
    never = machine.queue(on="slurm", steps=1)
    assert executors.choose("ahead", "slurm") == executors.HERE, "what asks the servers of this machine was sent away"
    machine.wait(first, running)
    told = machine.wait(second, waits)
    assert "Waiting in Slurm as job" in told.status.message
    machine.wait(never, waits)
    control.cancel(machine.persona, never.id)
    assert read_run(never.path).status.state == CANCELLED

    # A dispatcher that died between handing over and noting it: it is found by its name, not handed over again.
    (second.path / "slurm.json").unlink()
    machine.kill(machine.pid("dispatcher"))
    control.kick()
    machine.wait(second, lambda r: slurm.handed(r.path) is not None)
    names = cluster.ask("squeue", "-h", "-o", "%j").split()
    assert len(names) == len(set(names)) == 2, names

    ended = [machine.wait(run, over) for run in (first, second, third)]
    assert [run.status.state for run in ended] == [DONE] * 3
    assert {run.status.attempts for run in ended} == {1}
    assert (first.path / "slurm.log").exists() and "studio.jobs.runner" in (first.path / "slurm.sh").read_text()
    assert not [path.name for path in first.path.iterdir() if path.is_file() and path.stat().st_mode & 0o077]

    long = machine.queue(on="slurm", steps=400, seconds=0.05)
    machine.wait(long, saved)
    control.cancel(machine.persona, long.id)
    gone = machine.wait(long, over)
    assert gone.status.state == CANCELLED and machine.steps(long)[-1] < 400
    control.retry(machine.persona, long.id)
    machine.wait(long, lambda r: any(event["kind"] == "resume" for event in read_events(r.path)))
    control.pause(machine.persona, long.id)
    assert "step" in machine.wait(long, lambda r: r.status.state == "paused").status.message
    control.cancel(machine.persona, long.id)
    assert machine.losses_found() + machine.quiet(20) == []
    cluster.until(lambda: cluster.ask("squeue", "-h", "-t", "PD,R") == "")


def test_slurms_own_faults(handing: Machine, cluster: Cluster) -> None:
    machine = handing
    # Its daemons are killed: nobody knows anything, and the run goes on.
    run = machine.queue(on="slurm", steps=40, seconds=0.1)
    machine.wait(run, running)
    for daemon in ("slurmctld", "slurmd"):
        cluster.kill(daemon)
        machine.injected[f"SIGKILL to {daemon}"] += 1
    assert control.settle(read_run(run.path)).status.state == RUNNING
    waiting = machine.queue(on="slurm", steps=1)
    assert "Slurm" in machine.wait(waiting, lambda r: r.status.message).status.message
    cluster.restart()
    # On a slow machine the daemons that come back may have ended it: then it was interrupted and went on, once. What is left of the
    # job on the node then holds it for a minute (UnkillableStepTimeout).
    assert machine.wait(run, over, 150).status.state == DONE and read_run(run.path).status.attempts <= 2
    assert machine.wait(waiting, over).status.state == DONE

    # The runner is killed. Where Slurm leaves the job alone it goes on, adopted; where Slurm ends it, it is handed over again.
    run = machine.queue(on="slurm", steps=40, seconds=0.1)
    machine.wait(run, saved)
    machine.kill(machine.pid("runner", run))
    assert machine.wait(run, over).status.state == DONE

    # Somebody says scancel: it saves, stops, and does not come back by itself.
    run = machine.queue(on="slurm", steps=400, seconds=0.05)
    machine.wait(run, saved)
    note = slurm.handed(run.path)
    assert note is not None
    cluster.ask("scancel", note.job)
    machine.injected["scancel"] += 1
    ended = machine.wait(run, over)
    assert ended.status.state == INTERRUPTED and "scancel" in ended.status.message, ended.status
    assert machine.steps(run)[-1] < 400

    # A job that Slurm drops before it began, and one it does not take at all.
    blocker, dropped = machine.queue(on="slurm", steps=30, seconds=0.1), machine.queue(on="slurm", steps=1)
    machine.wait(dropped, waits)
    note = slurm.handed(dropped.path)
    assert note is not None
    cluster.ask("scancel", note.job)
    machine.injected["scancel"] += 1
    lost = machine.wait(dropped, over)
    assert lost.status.state == FAILED and "scancel" in lost.status.message
    machine.configure(slurm={"options": ["--partition=nowhere"]})
    refused = machine.queue(on="slurm", steps=1)
    assert "nvalid partition" in machine.wait(refused, lambda r: r.status.message).status.message
    control.cancel(machine.persona, refused.id)
    machine.configure()
    assert machine.wait(blocker, over).status.state == DONE
    assert machine.losses_found() + machine.quiet(20) == []
    machine.report("Slurm")


def test_without_slurm_it_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StudioError, match="sbatch is not on this machine"):
        machine.queue(on="slurm", steps=1)
    with pytest.raises(StudioError, match="here or by slurm"):
        machine.queue(on="moon", steps=1)
    machine.configure(slurm={"use": True})
    assert executors.choose("serve") == executors.HERE
    with pytest.raises(StudioError, match="sbatch"):
        executors.choose("cpt")
