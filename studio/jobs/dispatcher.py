"""The dispatcher: gives the device to the next run in the queue, for as long as there is one, and leaves.

Stateless and on demand (``python -m studio.jobs.dispatcher``): whoever adds a run starts one, every runner starts one when it ends,
and so does opening the studio. One at a time by a lock; after letting go of the lock it looks once more, so that a run added in that
instant is not forgotten. Killed at any moment it leaves nothing half done.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from studio.errors import StudioError
from studio.files import lock
from studio.home import home
from studio.jobs import device, ending, lease, processes, queue
from studio.jobs.runs import FAILED, QUEUED, RUNNING, SKIPPED, Run, Shelf, append_event, read_run, update_status
from studio.settings import settings

POLL = 0.3
"""Seconds between two looks while something waits."""


class Dispatcher:
    """One look after another at the queue."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.runner = -1
        """A descriptor of the runner started last: its end is worth a look before the next one is due."""

    def rest(self) -> None:
        over, _, _ = select.select([self.runner] if self.runner >= 0 else [], [], [], POLL)
        if over:
            os.close(self.runner)
            self.runner = -1

    def step(self) -> bool:
        """Do what can be done now. Whether something is left to wait for."""
        runs = queue.everything(self.shelf)
        busy = self._look_after([run for run in runs if run.status.state == RUNNING])
        if self._skip_and_tell(runs):
            return True
        runs = queue.everything(self.shelf)
        ready = [run for run in queue.in_order(runs) if run.status.state == QUEUED and not queue.why_blocked(run)[0]]
        if not busy and (not ready or queue.is_paused()):
            _bring_back()
        if not ready:
            return any(run.status.state == RUNNING for run in runs) and any(run.status.state == QUEUED for run in runs)
        if queue.is_paused():
            _say(ready[0], "Waiting: the queue is paused; it goes on with: studio jobs resume")
            return False
        for run in ready:
            problem, for_ever = self._missing(run)
            if problem:  # its own trouble: the next may go
                _say(run, problem, FAILED if for_ever else QUEUED)
                continue
            if reason := self._start(run, busy):
                _say(run, reason)
            break
        return True

    def _look_after(self, running: list[Run]) -> list[Run]:
        """Settle what is over, find a supervisor for what lost it. Those that really run."""
        alive = []
        for run in running:
            settled = ending.settle(run)
            if settled.status.state == RUNNING:
                alive.append(settled)
                if not ending.is_watched(run.path):
                    processes.detach(processes.python("studio.jobs.runner", str(run.path)), run.path / "runner.log", _environment(run))
        return alive

    def _skip_and_tell(self, runs: list[Run]) -> bool:
        """Tell each run that waits for another why; skip it where that other came to no good end. Whether one was skipped."""
        skipped = False
        for run in runs:
            if run.status.state == QUEUED and run.inputs.after:
                sentence, for_ever = queue.why_blocked(run)
                if sentence:
                    _say(run, sentence, SKIPPED if for_ever else QUEUED)
                skipped |= for_ever
        return skipped

    def _start(self, run: Run, busy: list[Run]) -> str:
        """Give the device to a run; the sentence that says why it has to wait, if it has to."""
        if busy:
            return f"Waiting: the device is held by {_named(busy[0], run)}."
        descriptor = lease.take(alone=True)
        if descriptor is None and (reason := _make_way(run)):
            return reason
        descriptor = descriptor or lease.take(alone=True)
        if descriptor is None:
            return "Waiting: the device is held by another job of the studio."
        try:
            if stranger := _stranger():
                return stranger
            with ending.changing(run.path):
                status = read_run(run.path).status
                if status.state == QUEUED:
                    ending.clear_leftovers(run.path)
                    number = status.attempts + 1
                    update_status(run.path, state=RUNNING, message="", started=time.time(), ended=0.0, attempts=number)
                    append_event(run.path, "state", state=RUNNING)
                    self._watch(_start_runner(run, number, descriptor))
        except (StudioError, OSError) as error:
            return f"Waiting: it could not be started. {error}"
        finally:
            os.close(descriptor)
        return ""

    def _watch(self, pid: int) -> None:
        if self.runner >= 0:
            os.close(self.runner)
        try:
            self.runner = os.pidfd_open(pid)
        except OSError:
            self.runner = -1

    def _missing(self, run: Run) -> tuple[str, bool]:
        """What a run needs and is not there, and whether waiting cannot mend it."""
        from studio import launch

        return launch.why_not_now(run)


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


def _bring_back() -> None:
    """Servers that gave way are started again by a process of their own: it waits for them, the queue does not."""
    if (home() / "returning.json").exists():
        from studio.engines import giving_way

        if giving_way.returning():
            processes.detach(processes.python("studio.engines.giving_way"), home() / "dispatcher.log")


def _stranger() -> str:
    """Who else computes on the device, in one sentence; survivors of our own dead jobs are ended first."""
    reading = device.read()
    if reading is None or settings().gpu.foreign == "ignore":
        return ""
    processes.end([p.pid for p in reading.processes if device.is_ours(p.pid)], grace=2.0)
    strangers = device.foreign()
    if strangers:
        from studio.engines import giving_way

        giving_way.holding()  # looking for servers ends what a dead one left behind, known by its log where its environment is wiped
        strangers = device.foreign()
    if not strangers:
        return ""
    others = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
    return f"Waiting: {strangers[0].said}{others} computes on the GPU and is not the studio's; the run starts when that has ended."


def _say(run: Run, sentence: str, state: str = QUEUED) -> None:
    """Put why it waits (or will never run) into its status, once."""
    if run.status.message == sentence and state == QUEUED:
        return
    try:
        with ending.changing(run.path):
            status = read_run(run.path).status
            if status.state != QUEUED or (status.message == sentence and state == QUEUED):
                return
            if state == QUEUED:
                update_status(run.path, message=sentence)
            else:
                update_status(run.path, state=state, message=sentence, ended=time.time())
                append_event(run.path, "state", state=state, message=sentence)
    except (StudioError, OSError):
        pass


def _environment(run: Run) -> dict[str, str]:
    return dict(os.environ) | {processes.RUN_VARIABLE: str(run.path)}


def _start_runner(run: Run, number: int, descriptor: int) -> int:
    """Start the runner with the lease in hand, and wait until it has its own lock: from then on it is seen to be alive. Its pid."""
    ready, signal_ready = os.pipe()
    argv = processes.python("studio.jobs.runner", str(run.path), str(number), str(descriptor), str(signal_ready))
    started = processes.detach(argv, run.path / "runner.log", _environment(run), keep=(descriptor, signal_ready))
    os.close(signal_ready)
    os.read(ready, 1)  # returns on the runner's byte, or empty if it died
    os.close(ready)
    return started.pid


def main() -> None:
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    dispatcher = Dispatcher()
    while True:
        try:
            with lock(home() / "locks" / "dispatcher.lock", wait=False):
                while _step(dispatcher):
                    dispatcher.rest()
        except BlockingIOError:
            return
        # Whoever added a run while we held the lock saw it held and left: look once more.
        if not _step_needed():
            return


def _step(dispatcher: Dispatcher) -> bool:
    _reap()
    try:
        return dispatcher.step()
    except (StudioError, OSError) as error:
        print(f"{time.strftime('%H:%M:%S')} {error}", file=sys.stderr, flush=True)
        time.sleep(5)
        return True


def _reap() -> None:
    """Runners are our children and outlive us; those that end before are not left as zombies."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _step_needed() -> bool:
    if queue.is_paused():
        return False
    runs = queue.everything()
    return any(run.status.state == QUEUED and not queue.why_blocked(run)[0] for run in runs)


if __name__ == "__main__":
    main()
