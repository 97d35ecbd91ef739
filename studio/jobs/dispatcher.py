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
from studio.jobs import ending, executors, notify, processes, queue
from studio.jobs.here import Here, environment
from studio.jobs.runs import FAILED, QUEUED, RUNNING, SKIPPED, Run, Shelf, append_event, read_run, update_status

POLL = 0.3
"""Seconds between two looks while something waits."""


class Dispatcher:
    """One look after another at the queue."""

    def __init__(self) -> None:
        self.shelf = Shelf()

    def rest(self) -> None:
        """Until the next look is due, or the runner started last has ended."""
        over, _, _ = select.select([Here.started] if Here.started >= 0 else [], [], [], POLL)
        if over:
            os.close(Here.started)
            Here.started = -1

    def step(self) -> bool:
        """Do what can be done now. Whether something is left to wait for."""
        runs = queue.everything(self.shelf)
        busy = self._look_after([run for run in runs if run.status.state == RUNNING])
        if self._skip_and_tell(runs):
            return True
        runs = queue.everything(self.shelf)
        ready = [run for run in queue.in_order(runs) if run.status.state == QUEUED and not queue.why_blocked(run)[0]]
        here = [run for run in ready if not _is_away(run)]
        if not busy and (not here or queue.is_paused()):
            _bring_back()
        away = any(run.status.state in (QUEUED, RUNNING) and _is_away(run) for run in runs)
        if not ready:
            return any(run.status.state == RUNNING for run in runs) and (away or any(run.status.state == QUEUED for run in runs))
        if queue.is_paused():
            _say(ready[0], "Waiting: the queue is paused; it goes on with: studio jobs resume")
            return any(run.status.state == RUNNING and _is_away(run) for run in runs)
        for run in ready:
            if run not in here:
                self._submit(run, busy)
        for run in here:
            if self._submit(run, busy):
                break
        return True

    def _submit(self, run: Run, busy: list[Run]) -> bool:
        """Give a run to its executor. Whether it is the device that it waits for or has; else it is its own trouble, and the next may go."""
        problem, for_ever = self._missing(run)
        if problem:
            _say(run, problem, FAILED if for_ever else QUEUED)
            return False
        try:
            reason = executors.of(run).submit(read_run(run.path), busy)
        except (StudioError, OSError) as error:
            reason = f"Waiting: it could not be started. {error}"
        if reason:
            _say(run, reason)
        return True

    def _look_after(self, running: list[Run]) -> list[Run]:
        """Settle what is over, find a supervisor for what lost it. Those that really run."""
        alive = []
        for run in running:
            settled = ending.settle(run)
            if settled.status.state == RUNNING:
                away = _is_away(run)
                if not away:
                    alive.append(settled)
                if not ending.is_watched(run.path) and (not away or ending.is_alive(run.path)):
                    processes.detach(processes.python("studio.jobs.runner", str(run.path)), run.path / "runner.log", environment(run))
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

    def _missing(self, run: Run) -> tuple[str, bool]:
        """What a run needs and is not there, and whether waiting cannot mend it."""
        from studio import launch

        if not os.access(run.path, os.W_OK):
            return "Waiting: its folder cannot be written; check the folder's permissions.", False
        return launch.why_not_now(run)


def _bring_back() -> None:
    """Servers that gave way are started again by a process of their own: it waits for them, the queue does not."""
    if (home() / "returning.json").exists():
        from studio.engines import giving_way

        if giving_way.returning():
            processes.detach(processes.python("studio.engines.giving_way"), home() / "dispatcher.log")


def _is_away(run: Run) -> bool:
    return run.inputs.on not in ("", executors.HERE)


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
                if state == FAILED:  # a run that is skipped has one before it that has told its own end
                    notify.tell(read_run(run.path))
    except (StudioError, OSError):
        pass


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
