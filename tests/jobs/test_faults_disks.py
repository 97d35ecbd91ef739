"""Rows 7 to 9 of the fault matrix: killed in the middle of a save, power cut at any write, a disk that is full (a real one)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import files
from studio.errors import StudioError
from studio.files import append_line, read_lines, write_json
from studio.jobs import control
from studio.jobs.runs import DONE, INTERRUPTED, Inputs, create_run, read_events, read_run, update_status
from studio.persona.folder import create
from studio.stages import resume
from tests.jobs.machine import ROOT, Machine, over
from tests.jobs.stage import DEATHS


def test_row_7_killed_at_every_file_of_a_save(machine: Machine) -> None:
    run = machine.queue(steps=len(DEATHS) + 3, deaths=DEATHS, bytes=4000)
    deaths = 0
    while machine.wait(run, over).status.state == INTERRUPTED:
        deaths += 1
        control.retry(machine.persona, run.id)
        assert deaths < 20
    ended = read_run(run.path)
    assert ended.status.state == DONE and ended.status.attempts == len(DEATHS) + 1
    machine.injected["SIGKILL in a save"] += len(DEATHS)
    came_back = [event["step"] for event in read_events(run.path) if event["kind"] == "resume"]
    assert len(came_back) == len(DEATHS) and came_back == sorted(came_back), "a step that had been saved was lost"
    assert machine.losses_found() + machine.quiet() == []
    machine.report("row 7")


class PowerCut(Exception):
    pass


class Disk:
    """What a disk would hold if the power went out now: names as they are or as last synced, contents as last synced.

    Watches fsync, rename and truncate of this process. A cut loses every byte that was not synced, with either fate of the names.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.contents = {path.stat().st_ino: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        self.cut_at = -1
        self.writes = 0
        real_fsync, real_rename, real_replace = os.fsync, os.rename, os.replace

        def fsync(descriptor: int) -> None:
            self.tick()
            real_fsync(descriptor)
            facts = os.fstat(descriptor)
            name = os.readlink(f"/proc/self/fd/{descriptor}")
            if not os.path.isdir(name):
                self.contents[facts.st_ino] = Path(name).read_bytes()

        def rename(old: Any, new: Any, **more: Any) -> None:
            self.tick()
            real_rename(old, new, **more)

        def replace(old: Any, new: Any, **more: Any) -> None:
            self.tick()
            real_replace(old, new, **more)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "rename", rename)
        monkeypatch.setattr(os, "replace", replace)

    def tick(self) -> None:
        self.writes += 1
        if self.writes == self.cut_at:
            raise PowerCut

    def after_the_cut(self, copy: Path) -> Path:
        """The folder as it is found afterwards: every name there is, with what was synced of it."""
        shutil.copytree(self.root, copy)
        for path in self.root.rglob("*"):
            if path.is_file():
                (copy / path.relative_to(self.root)).write_bytes(self.contents.get(path.stat().st_ino, b""))
        return copy


def test_row_8_power_cut_at_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cuts, wrong = 0, []
    number = 1
    while True:
        folder = tmp_path / str(number)
        folder.mkdir()
        persona = create("Wen", parent=folder)
        with monkeypatch.context() as patch:
            disk = Disk(folder, patch)
            disk.cut_at = number
            acknowledged: list[Callable[[Path], bool]] = []
            try:
                _work(persona.root, acknowledged)
                finished = True
            except (PowerCut, StudioError):
                finished = False
                cuts += 1
        found = disk.after_the_cut(tmp_path / f"found-{number}")
        for check in acknowledged:
            if not check(found / "wen"):
                wrong.append(f"cut {number}: something acknowledged is gone ({check.__doc__ or check})")
        for path in (found / "wen").rglob("*.json"):
            if not any(part.startswith(".") for part in path.relative_to(found).parts):
                try:
                    json.loads(path.read_bytes())
                except ValueError:
                    wrong.append(f"cut {number}: {path.relative_to(found)} is empty or garbled")
        if finished:
            break
        number += 1
    print(f"\nfault matrix row 8: {cuts} power cuts injected, {len(wrong)} losses found")
    assert cuts > 30 and wrong == []


def _work(root: Path, acknowledged: list[Callable[[Path], bool]]) -> None:
    """Runs added, statuses changed, votes cast, a trainer state kept; after each, what must be found from then on."""
    from studio.persona.folder import open_persona

    persona = open_persona(root)
    for count in (1, 2):
        run = create_run(persona, Inputs(stage="cpt", persona=str(root), parent="base", parent_path=""), "{}")
        acknowledged.append(lambda found, run=run: (found / "runs" / run.id / "inputs.json").stat().st_size > 0)  # type: ignore[misc]
        update_status(run.path, message=f"change {count}")
        acknowledged.append(
            lambda found, run=run, count=count: f"change {count}" in (found / "runs" / run.id / "status.json").read_text()  # type: ignore[misc]
        )
        append_line(persona.votes, {"vote": count})
        acknowledged.append(lambda found, count=count: {"vote": count} in [row for _, row in read_lines(found / "votes.jsonl")])  # type: ignore[misc]
        written = resume.staging(run.path) / "checkpoint-1"
        written.mkdir(parents=True)
        (written / "optimizer.pt").write_bytes(b"moments" * 100)
        resume.keep(run.path, written, resume.Marker(count, {}, {}, {}), 1)

        def state(found: Path, run: Any = run) -> bool:
            newest = resume.newest_state(found / "runs" / run.id, {})
            return newest is not None and (newest[0] / "optimizer.pt").read_bytes() == b"moments" * 100

        acknowledged.append(state)


def test_the_disk_of_row_8_finds_a_write_without_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument itself: the same write without its fsync is seen to be lost."""
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk", monkeypatch)
    write_json(tmp_path / "disk" / "good.json", {"a": 1})
    monkeypatch.setattr(files.os, "fsync", lambda _: None)
    write_json(tmp_path / "disk" / "bad.json", {"a": 1})
    found = disk.after_the_cut(tmp_path / "found")
    assert (found / "good.json").stat().st_size > 0 and (found / "bad.json").stat().st_size == 0


FULL = r"""
import json, os, signal, sys, time
from pathlib import Path
from studio.errors import StudioError
from studio.files import append_line, read_lines
from studio.jobs import control
from studio.jobs.runs import DONE, INTERRUPTED, QUEUED, RUNNING, read_events, read_run
from tests.jobs.machine import Machine, over, running

disk = Path(sys.argv[1])
machine = Machine(Path(os.environ["STUDIO_HOME"]), disk)
ballast = disk / "ballast"

def fill(leave=0):
    machine.injected["disk filled"] += 1
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > leave + size - 1:
                    if file.write(b"x" * size) < size:
                        break
            except OSError:
                pass

def empty():
    ballast.unlink()

try:
    # Before: it waits, says why, and starts when there is room.
    fill(leave=2_000_000)
    run = machine.queue(steps=3)
    told = machine.wait(run, lambda r: r.status.message)
    assert told.status.state == QUEUED and "room on the disk" in told.status.message, told.status
    empty()
    assert machine.wait(run, over).status.state == DONE

    # During: not a byte is left. It learns on, saves nothing torn, and goes on when there is room, nothing of its story lost.
    run = machine.queue(steps=30, seconds=0.05, every=10, bytes=200_000)
    machine.wait(run, running)
    fill()
    time.sleep(1.5)
    now = control.settle(read_run(run.path))
    assert now.status.state == RUNNING, now.status
    assert not list((run.path / "trainer").glob("state-*")) or all((s / "complete.json").exists() for s in (run.path / "trainer").glob("state-*"))
    votes = machine.persona.votes
    try:
        append_line(votes, {"vote": 2})
        raise SystemExit("a vote was said to be kept on a full disk")
    except StudioError as error:
        assert "disk is full" in str(error), error
    empty()
    append_line(votes, {"vote": 3})
    assert [row for _, row in read_lines(votes)] == [{"vote": 3}]
    done = machine.wait(run, over)
    assert done.status.state == DONE and done.status.attempts == 1, done.status
    assert machine.steps(run) == list(range(1, 31)), "a step was done twice or its story lost"
    assert any(e["kind"] == "warning" and "Paused before" in e["text"] for e in read_events(run.path)), "nobody was told"

    # At exit: the job dies on a full disk; how it ended is known at once, written when there is room, and the queue goes on.
    run, waiting = machine.queue(steps=60, seconds=0.05, every=5, bytes=1000), machine.queue(steps=1)
    machine.wait(run, lambda r: any(e["kind"] == "saved" for e in read_events(r.path)))
    fill()
    machine.kill(machine.pid("stage", run), signal.SIGKILL)
    record = run.path / "exit"
    deadline = time.monotonic() + 20
    while b'"code":-9' not in record.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert b'"code":-9' in record.read_bytes(), "the exit code was lost on the full disk"
    time.sleep(0.5)
    seen = control.settle(read_run(run.path))
    assert seen.status.state == INTERRUPTED and "SIGKILL" in seen.status.message, seen.status
    empty()
    control.kick()
    assert machine.wait(run, over).status.state == DONE
    assert machine.wait(waiting, over).status.state == DONE
    assert machine.losses_found() + machine.quiet() == [], machine.losses_found() + machine.quiet()
    machine.report("row 9")
finally:
    machine.clear_away()
"""


def test_row_9_a_full_disk_before_during_and_at_exit(tmp_path: Path, studio_home: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("a small disk of its own needs root and mount namespaces (unshare -m)")
    (tmp_path / "disk").mkdir()
    shell = f'mount -t tmpfs -o size=48m tmpfs "{tmp_path}/disk" && exec "$0" "$@"'
    argv = ["unshare", "-m", "sh", "-c", shell, sys.executable, "-c", FULL, str(tmp_path / "disk")]
    found = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=200)
    print(found.stdout)
    assert found.returncode == 0, found.stdout + found.stderr
