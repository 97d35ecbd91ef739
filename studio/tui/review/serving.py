"""Which servers answer for a review's checkpoints: running ones first, the missing ones started."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from studio.checkpoints.store import get_checkpoint
from studio.persona.folder import Persona
from studio.review.rounds import Review

if TYPE_CHECKING:
    from studio.engines.servers import Engine, Server


def served_by(persona: Persona, checkpoint_ids: list[str], engine: str = "") -> dict[str, Server]:
    """A ready server for each checkpoint that has one. One engine for all where one has them all: two engines round differently."""
    from studio.engines import servers

    engines: dict[str, dict[str, Server]] = {}
    for server in servers.running(persona):
        if engine in ("", server.engine):
            engines.setdefault(server.engine, {}).update({name: server for name in server.models if name in checkpoint_ids})
    return max(engines.values(), key=len, default={})


def serve(persona: Persona, checkpoint_ids: list[str], engine: str, progress: Callable[[str], None]) -> dict[str, Server]:
    """A ready server for each checkpoint; starts the engine for those that have none. Blocks until it answers or fails (StudioError)."""
    from studio.engines import servers

    found = served_by(persona, checkpoint_ids, engine)
    missing = [get_checkpoint(persona, name) for name in checkpoint_ids if name not in found]
    if missing:
        running = next(iter(found.values())).engine if found else ""
        chosen: Engine = "vllm" if "vllm" in (engine, running) else "embedded"
        progress(f"Starting the {chosen} engine")
        for server in servers.start(persona, missing, chosen):
            servers.wait_ready(server, progress)
            found |= {name: server for name in server.models if name in checkpoint_ids}
    return found


async def fitting(served: dict[str, Server], review: Review, messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], int]:
    """The conversation as it fits every checkpoint of the review, and how many of its oldest messages were left out.

    All sides read the same: the one with the least room decides.
    """
    from studio.engines.client import trim_history

    shortest, most = messages, 0
    if sum(m["role"] != "system" for m in messages) > 1:
        for name in review.checkpoints:
            server = served[name]
            if server.context:
                kept, dropped = await trim_history(server, server.models[name], messages, server.context - review.sampling.max_tokens)
                if dropped > most:
                    shortest, most = kept, dropped
    return shortest, most
