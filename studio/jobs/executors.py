"""Where a run is executed. Its folder is all an executor is given and all that comes back; the runner in it is everywhere the same.

``here`` starts the runner on this machine, which starts the stage (for several cards under torchrun). ``slurm`` hands the runner to a
Slurm cluster that sees the same files.
"""

from __future__ import annotations

from typing import Protocol

from studio.errors import StudioError
from studio.jobs.runs import Run
from studio.settings import settings

HERE, SLURM = "here", "slurm"

AWAY = frozenset(("cpt", "sft", "dpo", "orpo", "merge", "quantize"))
"""Stages that may be executed elsewhere. The others serve this machine, or ask its servers."""


CANCELLED_THERE = "was cancelled in Slurm (scancel)"
"""The one end that somebody wanted: such a run does not go on by itself."""


class Executor(Protocol):
    """A place where runs are executed."""

    def submit(self, run: Run, busy: list[Run]) -> str:
        """See that a queued run is started, as far as that is possible now; ``busy`` are those that run here. Asked again and again while
        it is queued. Why it waits, in one sentence; empty when it has been started."""
        ...

    def lives(self, run: Run) -> bool:
        """Whether a running run is still there, also where its locks cannot be seen. True where nobody can say."""
        ...

    def cancel(self, run: Run) -> None:
        """Take back what was handed on and has not begun; ask what runs and does not look at the wishes in its folder. Never raises."""
        ...

    def end_of(self, run: Run) -> str:
        """What the place itself knows of how a run that is gone ended: ``memory``, or words that follow "The run", or nothing."""
        ...


def of(run: Run) -> Executor:
    """The executor of a run."""
    if run.inputs.on == SLURM:
        from studio.jobs.slurm import Slurm

        return Slurm()
    from studio.jobs.here import Here

    return Here()


def choose(stage: str, wanted: str = "") -> str:
    """Where a run of that stage goes; ``wanted`` as the person said, else as ``config.toml`` says. StudioError where it cannot go."""
    if wanted not in ("", HERE, SLURM):
        raise StudioError(f"--on {wanted}: a run is executed here or by slurm.")
    if stage not in AWAY or wanted == HERE or not (wanted or settings().slurm.use):
        return HERE
    from studio.jobs import slurm

    slurm.require()
    return SLURM
