"""A run has ended: the person's own command is told."""

from __future__ import annotations

import os

from studio.errors import StudioError
from studio.home import home
from studio.jobs import processes
from studio.jobs.runs import Run
from studio.settings import settings


def facts(run: Run) -> dict[str, str]:
    """What the command finds in its environment."""
    return {
        "STUDIO_RUN_ID": run.id,
        "STUDIO_STAGE": run.inputs.stage,
        "STUDIO_STATE": run.status.state,
        "STUDIO_MESSAGE": run.status.message,
        "STUDIO_PERSONA": run.inputs.persona,
        "STUDIO_RUN_FOLDER": str(run.path),
        "STUDIO_CHECKPOINTS": " ".join(run.status.checkpoints),
        "STUDIO_STEP": str(run.status.step),
    }


def tell(run: Run) -> None:
    """Start the command of ``[notify] command``, if there is one, and do not wait for it. What it says is in ``notify.log``.

    It is started by its arguments, never by a shell: nothing in a run's name or message can become a command.
    """
    try:
        command = settings().notify.command
        if command:
            processes.detach(command, home() / "notify.log", clean_environment() | facts(run))
    except (StudioError, OSError, ValueError) as error:
        try:
            with (home() / "notify.log").open("a", encoding="utf-8") as log:
                log.write(f"{run.id}: {error}\n")
        except OSError:
            pass


def clean_environment() -> dict[str, str]:
    """Our environment without what marks a process as part of a run, or as holding its lease: for children that belong to no run."""
    from studio.jobs.lease import HELD

    return {name: value for name, value in os.environ.items() if name not in (processes.RUN_VARIABLE, HELD)}
