"""What changes by itself: runs and servers, looked at once a second by a thread that posts a message when something is new.

The same thread watches the terminal: when its other end is gone, the process leaves instead of spinning.
"""

from __future__ import annotations

import os
import select
import threading
from typing import Any, NamedTuple

from textual.app import App
from textual.message import Message

from studio.errors import StudioError
from studio.jobs import control
from studio.jobs.runs import ENDED, QUEUED, RUNNING, Run, all_runs
from studio.persona.folder import Persona


class Served(NamedTuple):
    """One server, as the screens need it."""

    name: str
    engine: str
    base_url: str
    models: tuple[str, ...]
    """Ids of the checkpoints it serves."""
    ready: bool
    """Whether it answers; False while it loads."""
    filtered: bool = False
    """Whether it filters what it says."""


class Pulse(Message):
    """How runs and servers stand now."""

    def __init__(self, runs: list[Run], servers: list[Served], problem: str = "", news: tuple[str, ...] = (), rings: bool = False) -> None:
        super().__init__()
        self.runs, self.servers, self.problem = runs, servers, problem
        self.news = news
        """Sentences about what has just happened: a run that ended, a server that gave way."""
        self.rings = rings
        """Whether the terminal's bell is wanted for it."""

    @property
    def active(self) -> Run | None:
        """The running run, else the next in the queue."""
        for state in (RUNNING, QUEUED):
            for run in self.runs:
                if run.status.state == state:
                    return run
        return None


def look(persona: Persona, known: dict[str, tuple[int, Run]]) -> tuple[list[Run], list[Served]]:
    """Runs with their true states, and living servers. Runs that ended are read again only when their status file changes."""
    found = []
    folders = [p for p in persona.runs.iterdir() if p.is_dir() and not p.name.startswith(".")] if persona.runs.is_dir() else []
    stamps = {}
    for path in folders:
        try:
            stamps[path.name] = (path / "status.json").stat().st_mtime_ns
        except OSError:
            continue
    if stamps.keys() == known.keys() and all(run.status.state in ENDED and stamps[name] == stamp for name, (stamp, run) in known.items()):
        found = [run for _, run in known.values()]
    else:
        found = [control.settle(run) for run in all_runs(persona)]
        known.clear()
        known.update({run.id: (stamps.get(run.id, 0), run) for run in found})
    return sorted(found, key=lambda run: (run.status.created, run.id)), served(persona)


def served(persona: Persona) -> list[Served]:
    """The living servers of the persona."""
    if not persona.private.is_dir():
        return []
    try:
        from studio.engines.servers import running
    except ImportError:
        return []
    return [Served(s.name, s.engine, s.base_url, tuple(s.models), s.state == "ready", s.filtered) for s in running(persona)]


class News:
    """What has happened between two looks."""

    def __init__(self) -> None:
        self._states: dict[str, str] | None = None
        self._gone: dict[str, str] = {}

    def of(self, runs: list[Run]) -> tuple[tuple[str, ...], bool]:
        """Sentences, and whether the bell rings: a run that was at work or in the queue has ended."""
        ended = [run for run in runs if self._states and run.status.state in ENDED and self._states.get(run.id) in (RUNNING, QUEUED)]
        self._states = {run.id: run.status.state for run in runs}
        said = [f"{run.id} is {run.status.state}{': ' + run.status.message if run.status.message else '.'}" for run in ended]
        return (*said, *self._servers()), bool(ended) and wants_bell()

    def _servers(self) -> list[str]:
        from studio.home import home

        if not self._gone and not (home() / "returning.json").exists():
            return []
        from studio.engines.giving_way import returning

        now = {note.id: f"{note.name} was stopped for {note.run.rpartition('/')[2]}" for note in returning()}
        said = [f"{text}; it comes back after it." for key, text in now.items() if key not in self._gone]
        said += [f"{text.partition(' was ')[0]} is started again, or was not wanted any more." for key, text in self._gone.items() if key not in now]
        self._gone = now
        return said


def wants_bell() -> bool:
    from studio.settings import settings

    try:
        return settings().notify.bell
    except StudioError:
        return True


class Heart(threading.Thread):
    """The thread. ``beat`` makes it look at once."""

    def __init__(self, app: App[Any], interval: float = 1.0) -> None:
        super().__init__(daemon=True, name="pulse")
        self.app = app
        self.interval = interval
        self.persona: Persona | None = None
        self.over = threading.Event()
        self.wanted = threading.Event()

    def run(self) -> None:
        last: object = None
        news = News()
        known: dict[str, tuple[int, Run]] = {}
        while not self.over.is_set():
            if terminal_is_gone():
                os._exit(129)  # nobody is there to draw for; jobs and servers are processes of their own and go on
            if self.persona:
                problem = ""
                try:
                    runs, servers = look(self.persona, known)
                except (StudioError, OSError) as error:
                    runs, servers, problem = [], [], str(error)
                said, rings = news.of(runs)
                if (now := (runs, servers, problem)) != last or said:
                    last = now
                    try:
                        self.app.post_message(Pulse(runs, servers, problem, said, rings))
                    except RuntimeError:
                        return
            self.wanted.wait(self.interval)
            self.wanted.clear()

    def beat(self) -> None:
        self.wanted.set()

    def stop(self) -> None:
        self.over.set()
        self.wanted.set()


def terminal_is_gone() -> bool:
    """Whether the terminal on stdin was there and hung up."""
    try:
        if not os.isatty(0):
            # A hung-up terminal answers isatty with an I/O error, a file or a pipe with ENOTTY: only the first is a loss.
            os.ttyname(0)
    except OSError as error:
        import errno

        return error.errno == errno.EIO
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    return any(event & select.POLLHUP for _, event in poll.poll(0)) and os.isatty(0)
