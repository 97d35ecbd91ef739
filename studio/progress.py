"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Gets what is done, how much of it and of how much (0: not known). What it raises ends the work: that is how it is cancelled."""


def quiet(what: str, done: int, whole: int) -> None:
    """Progress nobody looks at."""
