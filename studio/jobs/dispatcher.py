"""The dispatcher: gives the device to the next queued run and leaves.

Stateless and on demand (``python -m studio.jobs.dispatcher``): whoever adds a run starts one, every runner starts one when it ends.
One at a time by a lock; after letting go of the lock it looks once more, so that a run added in that instant is not forgotten.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from studio.errors import StudioError
from studio.files import lock
from studio.home import home, known_personas
from studio.jobs import control, lease, processes
from studio.jobs.runs import QUEUED, RUNNING, Run, all_runs, append_event, read_run, update_status
from studio.persona.folder import Persona, load_manifest


def queued() -> list[Run]:
    """Queued runs of all personas of this machine, the longest waiting first."""
    return sorted((run for run in _everything() if run.status.state == QUEUED), key=lambda run: run.status.created)


def _everything() -> Iterator[Run]:
    for root in known_personas():
        try:
            yield from all_runs(Persona(root, load_manifest(root)))
        except (StudioError, OSError):
            continue


def dispatch() -> bool:
    """Start the next run if the device is free. Whether one was started."""
    for run in _everything():
        if run.status.state == RUNNING:
            control.settle(run)
    for run in queued():
        descriptor = lease.take(alone=True)
        if descriptor is None:
            _say_why(run)
            return False
        try:
            with control.changing(run.path):
                if read_run(run.path).status.state != QUEUED:
                    continue
                update_status(run.path, state=RUNNING, message="", started=time.time(), attempts=run.status.attempts + 1)
                append_event(run.path, "state", state=RUNNING)
                _start_runner(run, descriptor)
        finally:
            os.close(descriptor)
        return True
    return False


def _say_why(run: Run) -> None:
    reason = "Waiting: the device is held by another job or a server of the studio."
    with control.changing(run.path):
        status = read_run(run.path).status
        if status.state == QUEUED and status.message != reason:
            update_status(run.path, message=reason)


def _start_runner(run: Run, descriptor: int) -> None:
    """Start the runner with the lease in hand, and wait until it has its own lock: from then on it is seen to be alive."""
    ready, signal_ready = os.pipe()
    environment = os.environ | {processes.RUN_VARIABLE: str(run.path)}
    argv = processes.python("studio.jobs.runner", str(run.path), str(descriptor), str(signal_ready))
    processes.detach(argv, run.path / "runner.log", environment, keep=(descriptor, signal_ready))
    os.close(signal_ready)
    os.read(ready, 1)  # returns on the runner's byte, or empty if it died
    os.close(ready)


def main() -> None:
    os.umask(0o077)
    while True:
        try:
            with lock(home() / "locks" / "dispatcher.lock", wait=False):
                while dispatch():
                    pass
        except BlockingIOError:
            return
        if not queued() or (descriptor := lease.take(alone=True)) is None:
            return
        os.close(descriptor)


if __name__ == "__main__":
    main()
