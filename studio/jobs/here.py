"""The executor of this machine: one run at a time gets the device, with the lease in its hands."""

from __future__ import annotations

import os
import time

from studio.errors import StudioError
from studio.jobs import device, ending, lease, processes
from studio.jobs.runs import QUEUED, RUNNING, Run, append_event, read_run, update_status
from studio.settings import settings


class Here:
    started = -1
    """A descriptor of the runner started last, for whoever wants to know of its end; -1 without one."""

    def submit(self, run: Run, busy: list[Run]) -> str:
        if busy:
            return f"Waiting: the device is held by {_named(busy[0], run)}."
        count = run.inputs.devices
        there = lease.gpus(count)
        if there and len(there) < count:
            return f"Waiting: it wants {count} cards and this machine has {len(there)}; cancel it and queue it with devices={len(there)}."
        descriptors = lease.take_all(count)
        if descriptors is None and (reason := _make_way(run)):
            return reason
        descriptors = descriptors or lease.take_all(count)
        if descriptors is None:
            return "Waiting: the device is held by another job of the studio."
        try:
            if stranger := _stranger(count):
                return stranger
            with ending.changing(run.path):
                status = read_run(run.path).status
                if status.state == QUEUED:
                    ending.clear_leftovers(run.path)
                    number = status.attempts + 1
                    update_status(run.path, state=RUNNING, message="", started=time.time(), ended=0.0, attempts=number)
                    append_event(run.path, "state", state=RUNNING)
                    self._watch(_start_runner(run, number, descriptors))
        except (StudioError, OSError) as error:
            return f"Waiting: it could not be started. {error}"
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return ""

    def _watch(self, pid: int) -> None:
        if Here.started >= 0:
            os.close(Here.started)
        try:
            Here.started = os.pidfd_open(pid)
        except OSError:
            Here.started = -1

    def lives(self, run: Run) -> bool:
        return ending.is_alive(run.path)

    def cancel(self, run: Run) -> None:
        """Nothing to take back: the runner looks at the wishes."""

    def end_of(self, run: Run) -> str:
        return ""


def _named(run: Run, asker: Run) -> str:
    """A run, with its persona where that is another one."""
    return run.id if run.path.parent == asker.path.parent else f"{run.id} of {run.path.parent.parent.name}"


def _make_way(run: Run) -> str:
    """Stop the servers that hold the device, if that is wanted; the sentence that says who holds it, if not."""
    from studio.engines import giving_way

    held = giving_way.holding()
    if not held:
        return ""
    if run.inputs.give_way or settings().gpu.give_way:
        giving_way.stop_for(run)
        return ""
    names = ", ".join(f"{server.name} ({', '.join(server.models)})" for _, server in held)
    return f"Waiting: the device is held by the server {names}; stop it, or let it give way and come back: studio jobs give-way {run.id}"


def _stranger(count: int) -> str:
    """Who else computes on the devices, in one sentence; survivors of our own dead jobs are ended first."""
    seen = [process for reading in device.readings(count) for process in reading.processes]
    if not seen or settings().gpu.foreign == "ignore":
        return ""
    processes.end([p.pid for p in seen if device.is_ours(p.pid)], grace=2.0)
    strangers = device.foreign(count)
    if strangers:
        from studio.engines import giving_way

        giving_way.holding()  # looking for servers ends what a dead one left behind, known by its log where its environment is wiped
        strangers = device.foreign(count)
    if not strangers:
        return ""
    others = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
    return f"Waiting: {strangers[0].said}{others} computes on the GPU and is not the studio's; the run starts when that has ended."


def environment(run: Run) -> dict[str, str]:
    return dict(os.environ) | {processes.RUN_VARIABLE: str(run.path)}


def _start_runner(run: Run, number: int, descriptors: list[int]) -> int:
    """Start the runner with the lease in hand, and wait until it has its own lock: from then on it is seen to be alive. Its pid."""
    ready, signal_ready = os.pipe()
    lease_words = ",".join(str(descriptor) for descriptor in descriptors)
    argv = processes.python("studio.jobs.runner", str(run.path), str(number), lease_words, str(signal_ready))
    started = processes.detach(argv, run.path / "runner.log", environment(run), keep=(*descriptors, signal_ready))
    os.close(signal_ready)
    os.read(ready, 1)  # returns on the runner's byte, or empty if it died
    os.close(ready)
    return started.pid
