"""Which servers answer for a set of checkpoints: running ones first, the missing ones started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from studio.checkpoints.store import Checkpoint
from studio.engines import giving_way, hot, servers, starting
from studio.engines.servers import Engine, Server
from studio.errors import StudioError
from studio.persona.folder import Persona

Progress = Callable[[str], None]


def served_by(persona: Persona, names: Sequence[str], engine: str = "", filtered: bool = False) -> dict[str, Server]:
    """A ready server for each checkpoint that has one. One engine for all where one has them all: two engines round differently.

    Those that filter what they say only if that is asked for: what they say is not what the checkpoint said.
    """
    engines: dict[str, dict[str, Server]] = {}
    for server in servers.running(persona):
        if engine in ("", server.engine) and server.filtered == filtered:
            engines.setdefault(server.engine, {}).update({name: server for name in server.models if name in names})
    return max(engines.values(), key=len, default={})


def ensure_served(
    persona: Persona,
    wanted: Sequence[Checkpoint],
    engine: str = "",
    progress: Progress = lambda line: None,
    port: int | None = None,
    context: int = starting.CONTEXT,
    filtered: bool = False,
    host: str = "",
) -> tuple[dict[str, Server], list[Server]]:
    """A ready server for each checkpoint id, and those of them that were started here. Blocks until they answer.

    Without ``engine`` what runs is used, and the embedded engine started for the rest; ``host`` is where all are to listen. StudioError if one
    does not start, or runs and listens elsewhere; nothing that was started here runs then.
    """
    outside = {c.id: servers.external(c.path, {c.id: c.name}, name=c.id) for c in wanted if c.kind == "external"}
    found = served_by(persona, [c.id for c in wanted if c.id not in outside], engine, filtered)
    if host and (elsewhere := next((server for server in found.values() if server.host != host), None)):
        raise StudioError(f"{', '.join(elsewhere.models)} is served on {elsewhere.host} already; stop it first: studio serve stop {elsewhere.name}")
    missing = [c for c in wanted if c.id not in found and c.id not in outside]
    started: list[Server] = []
    if missing:
        running = next(iter(found.values())).engine if found else ""
        chosen: Engine = "vllm" if "vllm" in (engine, running) else "embedded"
        if chosen == "vllm" and port is None and not host:
            for checkpoint in list(missing):
                if checkpoint.kind == "adapter" and hot.room_for(persona, checkpoint, filtered):
                    progress(f"Loading {checkpoint.id} into the running server of its base")
                    found[checkpoint.id] = hot.add(persona, checkpoint, filtered)
                    missing.remove(checkpoint)
    if missing:
        progress(f"Starting the {chosen} engine")
        started = starting.start(persona, missing, chosen, port, context, filtered=filtered, host=host or servers.LOOPBACK)
    try:
        for server in started:
            servers.wait_ready(server, progress)
            found |= dict.fromkeys(server.models, server)
    except BaseException:
        for server in started:
            servers.stop(server)
        raise
    found |= outside
    return {c.id: found[c.id] for c in wanted}, started


@contextmanager
def served(persona: Persona, wanted: Sequence[Checkpoint], engine: str = "", progress: Progress = lambda line: None) -> Iterator[dict[str, Server]]:
    """As ``ensure_served``; what was started for it is stopped at the end."""
    found, started = ensure_served(persona, wanted, engine, progress)
    try:
        yield found
    finally:
        for server in started:
            giving_way.let_go(persona, server)
            servers.stop(server)
