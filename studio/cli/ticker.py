"""How far a long command is, on stderr: one line that is written over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from studio.text import clean


class Ticker:
    """A context and a progress function: call it with what is done, how much of it and of how much. Quiet for the first second."""

    def __init__(self, silent: bool = False) -> None:
        self.silent = silent
        self.on_terminal = sys.stderr.isatty()
        self.began = self.told = time.monotonic()
        self.width = 0

    def __enter__(self) -> Ticker:
        return self

    def __exit__(self, *error: object) -> None:
        if self.width:
            print("\r" + " " * self.width + "\r", end="", file=sys.stderr, flush=True)

    def __call__(self, what: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if self.silent or now - self.began < 1 or now - self.told < (0.1 if self.on_terminal else 10):
            return
        self.told = now
        line = clean(f"{what}: {100 * done // max(1, whole)} %")
        if self.on_terminal:
            print("\r" + line.ljust(self.width), end="", file=sys.stderr, flush=True)
            self.width = max(self.width, len(line))
        else:
            print(line, file=sys.stderr, flush=True)
