"""The order of the machine's queue: who is next, who waits for whom, and whether anything starts at all.

Nothing here is a database: the order is two numbers in each run's ``status.json``, who waits for whom stands in ``inputs.json``, and
a paused queue is a file in the studio's home.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from studio.errors import StudioError
from studio.files import lock, write_atomic
from studio.home import home, known_personas
from studio.jobs import control
from studio.jobs.runs import DONE, ENDED, PAUSED, QUEUED, RUNNING, SHELF, Run, Shelf, get_run, read_run, update_status
from studio.persona.folder import Persona


def everything(shelf: Shelf | None = None) -> list[Run]:
    """Every run of every persona of this machine."""
    shelf = shelf or SHELF
    return [run for root in known_personas() for run in shelf.runs(root / "runs")]


def in_order(runs: list[Run]) -> list[Run]:
    """Those that are queued or paused, the next one first."""
    waiting = [run for run in runs if run.status.state in (QUEUED, PAUSED)]
    return sorted(waiting, key=lambda run: (-run.status.priority, run.status.place or run.status.created, run.id))


def waiting() -> list[Run]:
    return in_order(everything())


def before(run: Run) -> Run | None:
    """The run that ``run`` waits for; None if it waits for none, or that one is not there any more."""
    if not run.inputs.after:
        return None
    try:
        return read_run(run.path.parent / run.inputs.after)
    except StudioError:
        return None


def why_blocked(run: Run) -> tuple[str, bool]:
    """Why a run must wait for another, in one sentence, and whether that can never change; ("", False) if nothing is in its way."""
    if not run.inputs.after:
        return "", False
    other = before(run)
    if other is None:
        return f"Skipped: {run.inputs.after}, which it waited for, is not there any more.", True
    state = other.status.state
    if state == DONE:
        return "", False
    if state in ENDED and state != "interrupted":
        why = f": {other.status.message}" if state == "failed" and other.status.message else "."
        return f"Skipped: {other.id}, which it waited for, was {state}{why}".replace("was failed", "failed"), True
    if state == "interrupted":
        return f"Waiting for {other.id}, which was interrupted; it goes on with: studio jobs retry {other.id}", False
    if state == PAUSED:
        return f"Waiting for {other.id}, which is paused.", False
    return f"Waiting for {other.id}.", False


def _ordering() -> AbstractContextManager[None]:
    return lock(home() / "locks" / "reorder")


def move(persona: Persona, run_id: str, where: str) -> int:
    """Move a waiting run ``up``, ``down``, ``first`` or ``last`` in the machine's queue. Its new place, counted from 1."""
    wanted = get_run(persona, run_id)
    with _ordering():
        order = waiting()
        index = next((i for i, run in enumerate(order) if run.path == wanted.path), None)
        if index is None:
            raise StudioError(f"{run_id} is {wanted.status.state} and has no place in the queue any more.")
        target = {"up": max(0, index - 1), "down": min(len(order) - 1, index + 1), "first": 0, "last": len(order) - 1}[where]
        if target != index:
            order.insert(target, order.pop(index))
            _number(order, min(index, target), max(index, target))
        return target + 1


def _number(order: list[Run], first: int, last: int) -> None:
    """Give the runs of that stretch of the order the places that belong to it. One that crosses a priority takes it on."""
    stretch = order[first : last + 1]
    slots = sorted(((run.status.priority, run.status.place or run.status.created) for run in stretch), key=lambda slot: (-slot[0], slot[1]))
    for run, (priority, place) in zip(stretch, slots, strict=True):
        if (run.status.priority, run.status.place) != (priority, place):
            update_status(run.path, priority=priority, place=place)


def prioritize(persona: Persona, run_id: str, priority: int) -> Run:
    """Give a waiting run a priority; higher goes first, 0 is usual."""
    run = get_run(persona, run_id)
    with _ordering():
        if run.status.state not in (QUEUED, PAUSED):
            raise StudioError(f"{run_id} is {run.status.state} and has no place in the queue any more.")
        update_status(run.path, priority=priority)
    return read_run(run.path)


def pause_file() -> Path:
    return home() / "queue-paused"


def is_paused() -> bool:
    return pause_file().exists()


def pause() -> None:
    """Start nothing more on this machine until ``resume``. What runs goes on."""
    write_atomic(pause_file(), "Nothing is started while this file is here; remove it with: studio jobs resume\n")


def resume() -> None:
    pause_file().unlink(missing_ok=True)
    control.kick()


def go_on() -> None:
    """After a reboot, or a dispatcher that was killed: whoever opens the studio sets a standing queue going again."""
    if any(run.status.state in (QUEUED, RUNNING) for run in everything()):
        control.kick()
