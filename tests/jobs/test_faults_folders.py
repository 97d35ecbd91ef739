"""A persona folder that cannot be written any more, and memory that runs out: for the kernel, and by a limit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.jobs.runs import DONE, FAILED, SKIPPED
from tests.jobs.machine import ROOT, STAGE, Machine, over

READ_ONLY = r"""
import json, os, sys, time
from pathlib import Path
from studio.errors import StudioError
from studio.jobs import control, queue
from studio.jobs.runs import DONE, INTERRUPTED, QUEUED, RUNNING, create_run, read_events, read_run
from studio.persona.folder import create
from tests.jobs.machine import Machine, over, saved

machine = Machine(Path(os.environ["STUDIO_HOME"]), Path(sys.argv[1]))
root = machine.persona.root
other = create("Other", parent=machine.folder)

def writable(yes):
    machine.injected["folder made read-only"] += not yes
    for folder, _, files in os.walk(root):
        for name in (".", *files):
            path = os.path.join(folder, name)
            os.chmod(path, os.stat(path).st_mode | 0o200 if yes else os.stat(path).st_mode & ~0o222)

try:
    run, waiting = machine.queue(steps=40, seconds=0.1), machine.queue(steps=2)
    machine.wait(run, saved)
    writable(False)
    assert not os.access(root, os.W_OK), "this test is blind: nothing keeps us from writing"
    fine = machine.queue(persona=other, steps=2)
    seen = machine.wait(run, lambda r: r.status.state != RUNNING)
    assert seen.status.state in (INTERRUPTED, QUEUED) and "cannot be written" in seen.status.message, seen.status
    # The queue goes on for others, and nothing of what is there is lost or shown as running.
    assert machine.wait(fine, over).status.state == DONE
    persona = machine.persona
    for attempt in (machine.queue, lambda: control.cancel(persona, waiting.id), lambda: control.retry(persona, run.id)):
        try:
            attempt()
            raise SystemExit("a change was said to be made in a folder that cannot be written")
        except StudioError as error:
            assert "cannot be written" in str(error), error
    assert control.listing(machine.persona)[1]["state"] == QUEUED
    writable(True)
    control.kick()
    now = machine.wait(run, lambda r: r.status.state != RUNNING or r.status.attempts == 2)
    if now.status.state == INTERRUPTED:
        control.retry(machine.persona, run.id)
    assert machine.wait(run, over).status.state == DONE
    assert machine.wait(waiting, over).status.state == DONE
    assert any(event["kind"] == "resume" for event in read_events(run.path)), "it started over"
    assert machine.losses_found() + machine.quiet() == [], machine.losses_found() + machine.quiet()
    machine.report("read-only folder")
finally:
    writable(True)
    machine.clear_away()
"""


def test_a_persona_folder_made_read_only_during_a_run(tmp_path: Path, studio_home: Path) -> None:
    argv = [sys.executable, "-c", READ_ONLY, str(tmp_path)]
    if os.geteuid() == 0:  # to root no folder is read-only, unless it goes without the right to pass over that
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed")
        argv = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", *argv]
    found = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=200)
    print(found.stdout)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.fixture
def narrow() -> Iterator[list[str]]:
    """A launcher whose processes have 96 MB of memory together, and are killed by the kernel when they want more."""
    first = Path("/sys/fs/cgroup/memory")
    group = (first if first.is_dir() else Path("/sys/fs/cgroup")) / f"studio-test-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if first.is_dir() else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(96 << 20))
        swap = group / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no memory group can be made here ({error})")
    yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", sys.executable, str(STAGE)]
    group.rmdir()


def test_row_5_the_kernel_kills_for_memory(machine: Machine, narrow: list[str]) -> None:
    machine.configure(jobs={"launcher": narrow})
    greedy = machine.queue(steps=40, seconds=0.02, eat=400 << 20)
    follower, other = machine.queue(after=greedy.id, steps=1), machine.queue(steps=1)
    ended = machine.wait(greedy, over)
    machine.injected["killed for memory"] += 1
    assert ended.status.state == FAILED and "ran out of memory and the kernel killed" in ended.status.message, ended.status
    assert machine.wait(follower, over).status.state == SKIPPED
    assert machine.wait(other, over).status.state == DONE
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 5 (kernel)")


def test_row_5_memory_by_a_limit(machine: Machine) -> None:
    """What ``ulimit -v`` or a library's own allocator says: an error in the stage itself."""
    machine.configure(jobs={"launcher": ["sh", "-c", 'ulimit -v 600000 && exec "$@"', "sh", sys.executable, str(STAGE)]})
    greedy, other = machine.queue(steps=40, seconds=0.02, eat=4 << 30), machine.queue(steps=1)
    ended = machine.wait(greedy, over)
    machine.injected["memory refused"] += 1
    assert ended.status.state == FAILED and "lower micro_batch" in ended.status.message
    assert machine.wait(other, over).status.state == DONE
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 5 (limit)")
