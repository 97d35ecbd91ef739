"""Room on the disk: looked for before something large is written, waited for where it is missing, and again where it ran out on the way.

A training that waits keeps all it has learned in memory and the device in hand; it goes on by itself, or saves nothing and stops when asked.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any, TypeVar

from studio.stages.sentences import is_no_room
from studio.stages.stopping import Stopped
from studio.stages.story import Story
from studio.text import size

MARGIN = 16_000_000
"""Bytes that stay free beside what is written: for tokenizer files, events, votes."""

LOOK = 1.0
"""Seconds between two looks at a disk that is too full."""

T = TypeVar("T")


def with_room(story: Story, needed: int, what: str, write: Callable[[], T]) -> T:
    """Wait until ``needed`` bytes are free beside the margin, then ``write()``. If the disk fills up on the way: wait, once more.

    Raises ``Stopped`` when the stage is asked to stop while it waits.
    """
    while True:
        wait(story, needed, what)
        try:
            return write()
        except Exception as error:
            if not is_no_room(error):
                raise
            # It needed more than was thought: half as much again as is free now must be there before the next try.
            free = shutil.disk_usage(story.run).free
            needed = max(needed, free) + max(needed, free) // 2


def insist(story: Story, what: str, write: Callable[[], T]) -> T:
    """``write()`` something small that must not be lost: at once if it can be, else when there is room again."""
    while True:
        try:
            return write()
        except Exception as error:
            if not is_no_room(error):
                raise
            wait(story, 0, what)


def wait(story: Story, needed: int, what: str) -> None:
    """Return when there is room; say once that it is waited for."""
    told = False
    while (free := shutil.disk_usage(story.run).free) < needed + MARGIN:
        if not told:
            told = True
            story.warning(f"Paused before {what}: it needs {size(needed + MARGIN)} and {size(free)} are free. Make room; it goes on by itself.")
            story.status(now=True, message=f"Paused before {what}: the disk has only {size(free)} left. Make room; it goes on by itself.")
        if story.wish is not None and story.wish.wanted:
            raise Stopped
        time.sleep(LOOK)
    if told:
        story.event("room", bytes=free)
        story.status(now=True, message="")


def state_bytes(model: Any) -> int:
    """Bytes of a trainer state: the trained weights and two moments of four bytes for each."""
    return sum(p.numel() * (p.element_size() + 8) for p in model.parameters() if p.requires_grad)
