"""A stage's process without its imports: one that has the model libraries in memory already is forked for every attempt.

``python -m tests.jobs.warm`` takes run folders from its standard input, one a line, and does each as ``python -m studio.stages`` would, in a
session of its own and with its own log; it answers with the pid, and with how it ended. It must have no threads that a fork would miss: it
loads no model, tokenizes nothing and computes nothing itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from studio.jobs import processes
from tests.jobs.machine import ROOT


class Warm:
    """The process, from the test's side."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            processes.python("tests.jobs.warm"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        self._said("warm")

    def attempt(self, run: Path) -> int:
        """Start an attempt at a run; its pid."""
        assert self.process.stdin
        self.process.stdin.write(f"{run}\n")
        self.process.stdin.flush()
        return int(self._said())

    @staticmethod
    def kill(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has just ended by itself

    def ended(self) -> int:
        """Wait for the attempt's end; its exit code, negative for a signal."""
        return int(self._said())

    def stop(self) -> None:
        self.process.communicate()

    def _said(self, expected: str = "") -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        assert line and expected in line, f"the warm process ended, or said {line!r}"
        return line


def spent(pid: int) -> float:
    """Processor seconds of a process so far; infinity once it is gone. (Its clock by its pid, as ``clock_getcpuclockid`` of the C library.)"""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return float("inf")


def do(run: Path) -> NoReturn:
    from studio.stages.__main__ import main

    os.setsid()
    log = os.open(run / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
        os.dup2(descriptor, number)
    os.chdir(run)
    code = main([str(run)], alone=True)
    sys.stdout.flush()
    os._exit(code)


def serve() -> None:
    from studio.imports import without_bitsandbytes
    from studio.stages.__main__ import prepare_process

    prepare_process()
    without_bitsandbytes()
    import transformers.models.qwen3.modeling_qwen3

    import studio.stages.cpt

    assert transformers.models.qwen3.modeling_qwen3 and studio.stages.cpt
    print("warm", flush=True)
    while run := sys.stdin.readline().strip():
        pid = os.fork()
        if not pid:
            do(Path(run))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
