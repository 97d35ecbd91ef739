"""Servers that step aside for a run and come back after it, with the same checkpoints, the same port and the same key.

Stopped and started again rather than put to sleep: only the end of its process gives back everything an engine holds on the GPU. vLLM's sleep
keeps the CUDA context (1 to 2 GB of a card), needs its development mode, whose addresses call anything inside the server, and has woken with
adapters silently out of effect (vllm-project/vllm#53888), or not at all with them (#39934): a review would then compare the base with itself.
What is to come back stands in the studio's home before anything is stopped, so that a kill at any moment loses no server.

``python -m studio.engines.giving_way`` brings them back and waits until they answer; the dispatcher starts it when the device is free.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import msgspec

from studio.checkpoints.store import get_checkpoint
from studio.engines import servers, starting
from studio.errors import StudioError
from studio.files import lock, write_json
from studio.home import home, known_personas
from studio.jobs import lease, processes
from studio.jobs.runs import Run, append_event
from studio.persona.folder import Persona, load_manifest


class Returning(msgspec.Struct):
    """A server that comes back."""

    id: str
    persona: str
    name: str
    engine: servers.Engine
    checkpoints: list[str]
    port: int
    context: int
    key: str
    run: str
    """Folder of the run it gave way to."""
    filtered: bool = False
    """Whether it filters what it says."""
    host: str = servers.LOOPBACK


def _file() -> Path:
    return home() / "returning.json"


def returning() -> list[Returning]:
    """Servers that are to come back."""
    try:
        return msgspec.json.decode(_file().read_bytes(), type=list[Returning])
    except (OSError, msgspec.DecodeError):
        return []


def holding() -> list[tuple[Persona, servers.Server]]:
    """Servers of all personas that hold the device."""
    pids = set(processes.holders(lease.lease_file()))
    found = []
    for root in known_personas():
        try:
            persona = Persona(root, load_manifest(root))
            found += [(persona, server) for server in servers.running(persona) if pids & {server.pid, *processes.members(server.path)}]
        except (StudioError, OSError):
            continue
    return found


def stop_for(run: Run) -> list[str]:
    """Stop every server that holds the device, noted so that it comes back. Their names."""
    stopped = []
    for persona, server in holding():
        note = Returning(
            id=uuid.uuid4().hex,
            persona=str(persona.root),
            name=server.name,
            engine=server.engine,
            checkpoints=list(server.models),
            port=server.port,
            context=server.context or starting.CONTEXT,
            key=server.key,
            run=str(run.path),
            filtered=server.filtered,
            host=server.host,
        )
        with lock(home() / "locks" / "returning"):
            write_json(_file(), [*returning(), note])
        append_event(run.path, "gave_way", server=server.name, checkpoints=note.checkpoints)
        servers.stop(server)
        stopped.append(server.name)
    return stopped


def bring_back() -> None:
    """Start what gave way and see it answer. What cannot be started is told in the run it gave way to, and not tried again."""
    for note in returning():
        run = Path(note.run)
        try:
            root = Path(note.persona)
            persona = Persona(root, load_manifest(root))
            if any(set(note.checkpoints) <= set(server.models) and server.filtered == note.filtered for server in servers.running(persona)):
                _forget(note)  # it was never stopped, or somebody has started it by hand
                continue
            wanted = [get_checkpoint(persona, name) for name in note.checkpoints]
            started = starting.start(persona, wanted, note.engine, note.port, note.context, note.key, note.filtered, note.host)
            if note not in returning():  # whoever it was for has left meanwhile
                for server in started:
                    servers.stop(server)
                continue
            _forget(note)
            for server in started:
                servers.wait_ready(server)
            _tell(run, "came_back", server=", ".join(server.name for server in started))
        except (StudioError, OSError) as error:
            if lease.gpu() and processes.holders(lease.lease_file()) and note in returning():
                return  # a run was faster: it comes back after that one
            _forget(note)
            _tell(run, "warning", text=f"{note.name}, which gave way to this run, could not be started again: {error}")


def let_go(persona: Persona, server: servers.Server) -> None:
    """A server that was started for a while is not wanted any more: it does not come back, or goes again if it has."""
    with lock(home() / "locks" / "returning"):
        kept = [note for note in returning() if (note.persona, note.port) != (str(persona.root), server.port)]
        if len(kept) < len(returning()):
            write_json(_file(), kept)
    for other in servers.running(persona):
        if other.port == server.port and other.engine == server.engine:
            servers.stop(other)


def _forget(note: Returning) -> None:
    with lock(home() / "locks" / "returning"):
        write_json(_file(), [other for other in returning() if other.id != note.id])


def _tell(run: Path, kind: str, **payload: str) -> None:
    try:
        append_event(run, kind, **payload)
    except StudioError:
        pass


def main() -> None:
    os.umask(0o077)
    try:
        with lock(home() / "locks" / "bringing-back", wait=False):
            bring_back()
    except BlockingIOError:
        pass
    except (StudioError, OSError) as error:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
