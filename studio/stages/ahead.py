"""Writing a review's replies ahead, as a job: it has the device to itself and gives each set of weights its turn."""

from __future__ import annotations

import os
from pathlib import Path

from studio.errors import StudioError
from studio.jobs.runs import Run
from studio.persona.folder import open_persona
from studio.recipes.schema import Ahead
from studio.review.ahead import write_ahead
from studio.review.rounds import get_review
from studio.stages.story import Story


def write_replies(run: Run, recipe: Ahead, story: Story) -> int:
    """Write the review's missing replies; returns how many there are. StudioError if a checkpoint could not answer all."""
    # The few threads of a stage are for its own arithmetic; the engine it starts chooses for itself.
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        os.environ.pop(name, None)
    persona = open_persona(Path(run.inputs.persona))
    told = ""
    written = -1

    def progress(doing: str, done: int, total: int) -> None:
        nonlocal told, written
        if doing != told:
            story.phase(doing)
            told = doing
        if done != written:
            story.event("replies", done=done, total=total)
        written = done
        story.status(step=done, steps=total)

    failures = write_ahead(persona, get_review(persona, recipe.review), recipe.engine, progress)
    if failures:
        raise StudioError(f"Not every reply was written. {' '.join(failure.rstrip('.') + '.' for failure in failures)}")
    return max(written, 0)
