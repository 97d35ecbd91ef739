"""Adapters that come to a running server and leave it again, without a restart (vLLM's ``/v1/load_lora_adapter``, 0.32).

The key guards these addresses as all others. A server tells at its start how many adapters it has room for and of which rank.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from studio.checkpoints.store import Checkpoint, weights_root
from studio.engines import servers, vllm
from studio.engines.servers import Server
from studio.errors import StudioError
from studio.files import lock, write_json
from studio.persona.folder import Persona
from studio.text import one_line


def why_not(persona: Persona, server: Server, checkpoint: Checkpoint) -> str:
    """Why a running server cannot take an adapter in; empty if it can."""
    if server.engine != "vllm":
        return f"{server.name} is the embedded engine, which reads its checkpoints when it starts; start one more: studio serve {checkpoint.id}"
    if checkpoint.kind != "adapter":
        return f"{checkpoint.id} has all its weights; only adapters join a running server. Start it with: studio serve {checkpoint.id}"
    root = weights_root(persona, checkpoint)
    if root.id not in server.models:
        return f"{checkpoint.id} sits on {root.id} and {server.name} serves {', '.join(server.models)}; start it with: studio serve {checkpoint.id}"
    if not server.lora_slots:
        return f"{server.name} was started without room for adapters; stop it and start it with {checkpoint.id}."
    if (rank := vllm.lora_rank([checkpoint])) > server.lora_rank:
        return f"{checkpoint.id} has rank {rank} and {server.name} has room up to {server.lora_rank}; stop it and start it with {checkpoint.id}."
    if len(server.models) - 1 >= server.lora_slots:
        return f"{server.name} has room for {server.lora_slots} adapters and all are taken; take one out with: studio serve remove CKPT"
    return ""


def room_for(persona: Persona, checkpoint: Checkpoint, filtered: bool = False) -> Server | None:
    """A ready server that could take the adapter in; ``filtered``: one that filters what it says, else one that does not."""
    ready = (server for server in servers.running(persona) if server.state == "ready" and server.filtered == filtered)
    return next((server for server in ready if not why_not(persona, server, checkpoint)), None)


def add(persona: Persona, checkpoint: Checkpoint, filtered: bool | None = None) -> Server:
    """Load an adapter into the running server of its base, whether it filters or not unless said. StudioError with what keeps it out."""
    found = [server for server in servers.running(persona) if server.state == "ready" and filtered in (None, server.filtered)]
    if any(checkpoint.id in server.models for server in found if server.engine == "vllm"):
        raise StudioError(f"{checkpoint.id} is served already.")
    if not found:
        raise StudioError(f"Nothing is served yet; start with: studio serve {checkpoint.id} --engine vllm")
    reasons = [(why_not(persona, server, checkpoint), server) for server in found]
    server = next((server for why, server in reasons if not why), None)
    if server is None:
        # The server of its own base says best what is missing.
        raise StudioError(min(reasons, key=lambda pair: weights_root(persona, checkpoint).id not in pair[1].models)[0])
    root = weights_root(persona, checkpoint)
    with lock(server.path / ".models"):
        path = vllm.fitting(Path(checkpoint.path), Path(root.path), server.path / "adapters" / checkpoint.id)
        _ask(server, "/v1/load_lora_adapter", {"lora_name": checkpoint.id, "lora_path": str(path)})
        return _rewrite(server, {**server.models, checkpoint.id: checkpoint.id})


def remove(persona: Persona, checkpoint_id: str) -> Server:
    """Take an adapter out of the server that has it. StudioError if none has, or if it is the server's own weights."""
    having = [server for server in servers.running(persona) if checkpoint_id in server.models]
    server = next((server for server in having if server.engine == "vllm" and checkpoint_id != server.root), None)
    if server is None and having:
        name = having[0].name
        raise StudioError(f"{checkpoint_id} is what {name} was started with; stop the whole server: studio serve stop {name}")
    if server is None:
        raise StudioError(f"No running server has {checkpoint_id}; see: studio serve status")
    with lock(server.path / ".models"):
        _ask(server, "/v1/unload_lora_adapter", {"lora_name": checkpoint_id})
        return _rewrite(server, {name: model for name, model in server.models.items() if name != checkpoint_id})


def _rewrite(server: Server, models: dict[str, str]) -> Server:
    server.models = models
    write_json(server.path / "server.json", server)
    return server


def _ask(server: Server, path: str, body: dict[str, str]) -> None:
    try:
        status, answer = servers.ask(server, path, body, timeout=120)
    except OSError as error:
        raise StudioError(f"{server.name} does not answer ({error}); look at its log, or stop it and start it again.") from error
    if status != 200:
        said = answer.decode("utf-8", "replace")
        try:
            decoded = msgspec.json.decode(said)
            said = decoded.get("error", decoded).get("message", said)
        except (msgspec.DecodeError, AttributeError):
            pass
        raise StudioError(f"{server.name} did not take it ({one_line(said)[:300].removesuffix('.')}).")
