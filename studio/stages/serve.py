"""Serving as a link of a chain: the server is started with the run's lease in hand, keeps it, and outlives the run."""

from __future__ import annotations

from pathlib import Path

from studio.checkpoints.store import get_checkpoint
from studio.engines import servers, starting
from studio.jobs import lease
from studio.jobs.runs import Run
from studio.persona.folder import open_persona
from studio.recipes.schema import Serve
from studio.stages.story import Story


def serve(run: Run, recipe: Serve, story: Story) -> None:
    """Start a server for the run's parent checkpoint and see it answer. StudioError with the cause if it does not."""
    persona = open_persona(Path(run.inputs.persona))
    checkpoint = get_checkpoint(persona, run.inputs.parent)
    for server in starting.start(persona, [checkpoint], recipe.engine, recipe.port or None, recipe.context):
        servers.wait_ready(server, story.phase)
        story.event("served", server=server.name, checkpoint=checkpoint.id, url=server.base_url)
    # What it holds alone as a run it holds as a server from here on: together with other servers.
    lease.share()
