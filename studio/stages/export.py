"""Writing a checkpoint for other programs, as a job: whatever loads it to try it has the device to itself."""

from __future__ import annotations

import os
from pathlib import Path

from studio.checkpoints.leaving import leave, left_by, said
from studio.checkpoints.store import get_checkpoint
from studio.jobs.runs import Run
from studio.persona.folder import open_persona
from studio.recipes.schema import Export
from studio.stages.story import Story
from studio.text import one_line


def export(run: Run, recipe: Export, story: Story) -> str:
    """Write it; returns where it is and what it answered, in one line. StudioError with what keeps it here."""
    left = left_by(run.path)
    # Killed after it was written and before its result: nothing is left to do, if it is still there.
    if left is None or not all(file.exists() for file in left.files):
        if recipe.llama_cpp:
            os.environ["LLAMA_CPP"] = recipe.llama_cpp
        persona = open_persona(Path(run.inputs.persona))
        left = leave(persona, get_checkpoint(persona, run.inputs.parent), recipe.form, Path(recipe.to), recipe.untried, story.phase)
        story.event("exported", files=[str(file) for file in left.files], tried=left.tried, lines=left.lines)
    return one_line(" · ".join(said(left)))
