"""Rows 2 to 6 of the fault matrix: dispatcher, runner, launcher, job and everything at once, killed."""

from __future__ import annotations

import json
import os
import signal
import time

import msgspec

from studio.jobs import control, ending, lease
from studio.jobs.attempt import Attempt
from studio.jobs.runs import CANCELLED, DONE, FAILED, INTERRUPTED, QUEUED, RUNNING, SKIPPED, read_run
from tests.jobs.machine import Machine, over, running, saved


def test_row_2_a_killed_dispatcher_is_replaced_when_a_job_ends(machine: Machine) -> None:
    first, second = machine.queue(steps=8, seconds=0.1), machine.queue(steps=2)
    machine.wait(first, running)
    machine.kill(machine.pid("dispatcher"))
    assert machine.wait(first, over).status.state == DONE
    assert machine.wait(second, over).status.state == DONE
    third = machine.queue(steps=2)
    time.sleep(0.05)
    machine.kill_everything()
    control.kick()
    assert machine.wait(third, over).status.state == DONE
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 2")


def test_row_3_a_killed_runner_costs_nothing(machine: Machine) -> None:
    run, waiting = machine.queue(steps=25, seconds=0.1), machine.queue(steps=1)
    machine.wait(run, running)
    old = machine.pid("runner", run)
    machine.kill(old)
    time.sleep(0.2)
    assert control.settle(read_run(run.path)).status.state == RUNNING
    assert lease.take(alone=True) is None, "the device was given away while the job still ran"
    machine.wait(run, lambda r: ending.is_watched(r.path))
    assert machine.pid("runner", run) != old
    assert machine.wait(run, over).status.state == DONE
    assert machine.wait(waiting, over).status.state == DONE
    assert read_run(run.path).status.attempts == 1

    again = machine.queue(steps=400, seconds=0.1)
    machine.wait(again, running)
    machine.kill(machine.pid("runner", again))
    control.cancel(machine.persona, again.id)
    assert machine.wait(again, over).status.state == CANCELLED
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 3")


def test_row_4_survivors_of_a_killed_launcher_are_ended_before_the_device_is_given_away(machine: Machine) -> None:
    run = machine.queue(steps=400, seconds=0.05, every=1000, children=["worker", "wiped", "session"])
    waiting = machine.queue(steps=1)
    machine.wait(run, lambda r: running(r) and len(machine.pids()) >= 5)
    runner, stage = machine.pid("runner", run), machine.pid("stage", run)
    machine.kill(runner)
    machine.kill(stage)
    began = time.monotonic()
    assert machine.wait(waiting, over).status.state == DONE
    assert time.monotonic() - began < 20  # what was measured is far below; this is the hang that the row is about
    assert machine.wait(run, over).status.state == INTERRUPTED
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 4")


def test_row_5_a_job_that_fails_takes_its_followers_along_and_nobody_else(machine: Machine) -> None:
    broken = machine.queue(steps=5, crash_at=3)
    second = machine.queue(after=broken.id, steps=1)
    third = machine.queue(after=second.id, steps=1)
    other = machine.queue(steps=1)
    assert machine.wait(broken, over).status.state == FAILED
    for run in (second, third):
        skipped = machine.wait(run, over)
        assert skipped.status.state == SKIPPED and "waited for" in skipped.status.message
    assert machine.wait(other, over).status.state == DONE
    assert "the building" in read_run(broken.path).status.message

    segfault = machine.queue(steps=5, signal_at=2, signal=int(signal.SIGSEGV))
    crashed = machine.wait(segfault, over)
    assert crashed.status.state == FAILED and "SIGSEGV" in crashed.status.message
    machine.injected.update(crash=1, SIGSEGV=1)

    # What the kernel does when memory runs out: SIGKILL, and its own count of it, which is all we can know it by.
    killed = machine.queue(steps=400, seconds=0.05, every=1000)
    machine.wait(killed, running)
    machine.kill(machine.pid("stage", killed))
    assert machine.wait(killed, over).status.state == INTERRUPTED
    record = json.loads((killed.path / "exit").read_bytes())
    (killed.path / "exit").write_bytes(json.dumps(record | {"out_of_memory": True}).encode().ljust(4096))
    verdict = ending.judge(read_run(killed.path))
    assert verdict.state == FAILED and "memory" in verdict.message

    # Retried, it takes those that were skipped along.
    (broken.path / "recipe.toml").write_text(json.dumps({"steps": 5}))
    control.retry(machine.persona, broken.id)
    assert [machine.wait(run, over).status.state for run in (broken, second, third)] == [DONE] * 3
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 5")


def test_row_6_everything_killed_and_the_machine_restarted(machine: Machine) -> None:
    chain = [machine.queue(steps=12, seconds=0.1)]
    chain += [machine.queue(after=chain[0].id, steps=2)]
    chain += [machine.queue(after=chain[1].id, steps=2)]
    machine.wait(chain[0], saved)
    machine.kill_everything()
    assert machine.pids() == {}
    # Another boot id in what the last attempt left: as a restarted machine finds it, its pids given to others.
    path = chain[0].path / "attempt.json"
    attempt = msgspec.json.decode(path.read_bytes(), type=Attempt)
    old = msgspec.structs.replace(attempt.runner, boot="another-boot", pid=os.getpid())
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(attempt, runner=old, job=old)))
    assert read_run(chain[0].path).status.state == RUNNING
    found = control.run(machine.persona, chain[0].id)
    assert found.status.state in (QUEUED, RUNNING) and found.status.requeues == 1
    ended = [machine.wait(run, over) for run in chain]
    assert [run.status.state for run in ended] == [DONE] * 3
    assert ended[0].status.attempts == 2 and len(machine.steps(chain[0])) < 24, "it started over instead of going on"
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 6")
