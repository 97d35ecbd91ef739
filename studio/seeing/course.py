"""The course of a training, told by its events: every step once, every evaluation, what was read and planned, what it took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Event = dict[str, Any]
Point = tuple[int, float]
"""Step and value."""


@dataclass
class Course:
    """A run as far as it came. Of a step that was done twice (a resumed run) the later account counts."""

    data: Event = field(default_factory=dict)
    """The newest ``data`` event: rows, tokens, what was left out."""
    plan: Event = field(default_factory=dict)
    steps: list[Event] = field(default_factory=list)
    evals: list[Event] = field(default_factory=list)
    probes: list[Event] = field(default_factory=list)
    broken: Event = field(default_factory=dict)
    """The ``broken`` event of a training that stopped itself; empty in all others."""
    started: Event = field(default_factory=dict)
    peak: int = 0
    """Highest bytes held; 0 before the end."""
    seconds: float = 0.0
    """Of all its processes that told of their end or of a step."""
    ended: bool = False
    _at: float = 0.0
    """Time of the last event of the process that is being told of."""

    def feed(self, event: Event) -> None:
        """Take in the next event; a damaged one is left out."""
        try:
            self._take(event)
        except (KeyError, TypeError, ValueError):
            return

    def _take(self, event: Event) -> None:
        match event["kind"]:
            case "start":
                self.started, self._at = event, float(event["t"])
            case "data":
                self.data = event
            case "plan":
                self.plan = event
            case "step":
                _put(self.steps, {**event, "step": int(event["step"]), "loss": float(event["loss"])})
            case "eval":
                _put(self.evals, {**event, "step": int(event["step"]), "val_loss": float(event["val_loss"])})
            case "probes":
                _put(self.probes, {**event, "step": int(event["step"])})
            case "broken":
                self.broken = event
            case "resume":
                self.broken = {}
            case "memory":
                self.peak = max(self.peak, int(event["peak_bytes"]))
            case "end":
                self.ended = True
        if self._at and event["kind"] in ("step", "eval", "checkpoint", "end", "stopping"):
            self.seconds += max(0.0, float(event["t"]) - self._at)
            self._at = float(event["t"])

    def losses(self) -> list[Point]:
        return [(int(e["step"]), float(e["loss"])) for e in self.steps]

    def validation(self) -> list[Point]:
        return [(int(e["step"]), float(e["val_loss"])) for e in self.evals]

    @property
    def best(self) -> Event:
        """The evaluation with the lowest validation loss; empty without one."""
        return min(self.evals, key=lambda e: float(e["val_loss"]), default={})

    @property
    def last(self) -> Event:
        return self.evals[-1] if self.evals else {}

    @property
    def rate(self) -> float:
        """Median tokens a second over the steps; 0 where nothing was measured."""
        rates = [float(e["tokens_per_s"]) for e in self.steps if e.get("tokens_per_s")]
        return median(rates) if rates else 0.0

    @property
    def mfu(self) -> float:
        """Median share of the card's arithmetic that was used; 0 where it is not known."""
        shares = [float(e["mfu"]) for e in self.steps if e.get("mfu")]
        return median(shares) if shares else 0.0


def course(events: Iterable[Event]) -> Course:
    """Pure: the same events give the same course."""
    found = Course()
    for event in events:
        found.feed(event)
    return found


def _put(series: list[Event], event: Event) -> None:
    """At its step; whatever was told of this step and later ones before is of an earlier try."""
    while series and series[-1]["step"] >= event["step"]:
        series.pop()
    series.append(event)
