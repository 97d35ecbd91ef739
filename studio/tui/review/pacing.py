"""How replies are drawn so that their speed says nothing: all start together, and none runs ahead of one that is still written.

A quantized checkpoint answers sooner than a full one; a judge who sees that has stopped being blind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SLOWEST = 8
"""Characters a tick at least, while there are any: at 15 ticks a second about 30 tokens a second."""


@dataclass
class Reply:
    """One side's text: what has come, and how much of it is drawn."""

    arrived: str = ""
    drawn: int = 0
    """Characters."""
    finished: bool = False
    pieces: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all there will be is drawn."""
        return self.finished and self.drawn == len(self.arrived)


class Pacer:
    """Hands out what may be drawn now, for all sides by one measure."""

    def __init__(self, sides: int = 2) -> None:
        self.replies = [Reply() for _ in range(sides)]

    def arrive(self, side: int, text: str) -> None:
        self.replies[side].pieces.append(text)

    def finish(self, side: int) -> None:
        self.replies[side].finished = True

    @property
    def begun(self) -> bool:
        """Whether every side has begun, or ended without a word."""
        return all(reply.arrived or reply.pieces or reply.finished for reply in self.replies)

    @property
    def complete(self) -> bool:
        return all(reply.complete and not reply.pieces for reply in self.replies)

    def tick(self) -> list[str]:
        """The text to draw now, for each side."""
        for reply in self.replies:
            if reply.pieces:
                reply.arrived += "".join(reply.pieces)
                reply.pieces.clear()
        if not self.begun:
            return [""] * len(self.replies)
        common = min((len(reply.arrived) for reply in self.replies if not reply.finished), default=None)
        targets = [len(r.arrived) if common is None else max(r.drawn, min(common, len(r.arrived))) for r in self.replies]
        # One step for all: a third of the largest backlog, so that what is late by a second is caught up in a few ticks.
        step = max(SLOWEST, *((target - r.drawn) // 3 for target, r in zip(targets, self.replies, strict=True)))
        pieces = []
        for target, reply in zip(targets, self.replies, strict=True):
            until = min(target, reply.drawn + step)
            pieces.append(reply.arrived[reply.drawn : until])
            reply.drawn = until
        return pieces
