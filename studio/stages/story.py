"""What a running stage tells: events, status, log lines. Every number is measured in this process."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections import deque
from importlib.metadata import version
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.jobs.runs import append_event, update_status
from studio.stages import together
from studio.stages.sentences import is_no_room
from studio.stages.stopping import StopWish

STATUS_INTERVAL = 1.0
"""Seconds between two writes of ``status.json`` that only move the step on."""


EARLY_EVENTS = 100


class Story:
    """The events and the status of one run folder, and its log line for each."""

    def __init__(self, run: Path, wish: StopWish | None = None) -> None:
        self.run = run
        self.wish = wish
        self.started = time.monotonic()
        self._status_at = float("-inf")
        self._pending: dict[str, Any] = {}
        self._unsaid: deque[tuple[float, str, dict[str, Any]]] = deque(maxlen=100_000)
        self.early: list[dict[str, Any]] = []
        """The first events of this process, for the reading that stops a plainly broken run."""

    def event(self, kind: str, **payload: Any) -> None:
        """Tell what happened. On a full disk it is kept and told later: no training dies of not being able to say something."""
        if not together.speaks():
            return
        self._unsaid.append((time.time(), kind, payload))
        if len(self.early) < EARLY_EVENTS:
            self.early.append({"t": time.time(), "kind": kind, **payload})
        facts = " ".join(f"{key}={_short(value)}" for key, value in payload.items())
        try:
            print(f"{time.strftime('%H:%M:%S')} {kind} {facts}", flush=True)
        except OSError:
            pass
        try:
            while self._unsaid:
                at, kind, payload = self._unsaid[0]
                append_event(self.run, kind, at, **payload)
                self._unsaid.popleft()
        except StudioError as error:
            if not is_no_room(error):
                raise

    def phase(self, name: str) -> None:
        self.event("phase", name=name)
        self.status(now=True, phase=name)

    def warning(self, text: str) -> None:
        self.event("warning", text=text)

    def status(self, now: bool = False, **changes: Any) -> None:
        """Change fields of ``status.json``, at most once a second unless it must be ``now``. Never the state: that is the runner's."""
        if not together.speaks():
            return
        self._pending |= changes
        if now or time.monotonic() - self._status_at >= STATUS_INTERVAL:
            try:
                update_status(self.run, **self._pending)
                self._pending = {}
            except StudioError as error:
                if not is_no_room(error):
                    raise
            self._status_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since this process began the run."""
        return round(time.monotonic() - self.started, 3)

    def start(self) -> None:
        import torch

        device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else processor_name()
        versions = {name: version(name) for name in ("torch", "transformers", "trl", "peft")}
        self.event("start", versions={"python": platform.python_version(), **versions}, device=device, threads=torch.get_num_threads())


def processor_name() -> str:
    """What the machine calls its processor (Linux), else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def peak_memory() -> int:
    """Highest bytes held so far: on the GPU if there is one, else by this process."""
    torch = sys.modules.get("torch")  # a stage that needed none would load it for this alone
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
