"""Starting engines: which processes a set of checkpoints needs, what each is given, and the lease it holds while it lives."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from studio.checkpoints.store import Checkpoint, all_checkpoints, weights_root
from studio.engines import servers
from studio.engines.servers import Engine, Server
from studio.errors import StudioError
from studio.files import lock, write_atomic, write_json
from studio.jobs import lease, processes
from studio.persona.folder import Persona

if TYPE_CHECKING:
    from studio.engines import vllm
    from studio.engines.filtering import Rules

CONTEXT = 8192
"""Longest conversation served, in tokens, unless asked otherwise; a model's own context may be shorter."""


def start(
    persona: Persona,
    checkpoints: list[Checkpoint],
    engine: Engine = "embedded",
    port: int | None = None,
    context: int = CONTEXT,
    key: str = "",
    filtered: bool = False,
    host: str = servers.LOOPBACK,
) -> list[Server]:
    """Start processes for the checkpoints and return at once; ``wait_ready`` waits for each.

    The embedded engine is one process for all; vLLM is one per set of full weights, its adapters with it. ``port`` is for the only (or
    first) process; ``key`` the one it wants, a new one without it; ``filtered`` has it filter what it says; ``host`` is the address
    it listens on.
    Raises StudioError if a checkpoint is not on disk, the port is taken, the GPU is leased or vLLM is not built.
    """
    if not checkpoints:
        raise StudioError("Name at least one checkpoint to serve.")
    for checkpoint in checkpoints:
        if checkpoint.kind == "external":
            raise StudioError(f"{checkpoint.id} is an outside endpoint and is not served from here; chat with it or review it as it is.")
    families = _families(persona, checkpoints)
    for needed in (c for root, members in families for c in (root, *members)):
        if not needed.path or not Path(needed.path).is_dir():
            raise StudioError(f"The checkpoint {needed.id} ({needed.name}) is not on this machine; fetch its base with: studio fetch {needed.base}")
    rules = _rules(persona) if filtered else None
    started: list[Server] = []
    try:
        if engine == "vllm":
            for root, members in families:
                started.append(_start_vllm(persona, root, members, port if not started else None, context, key, rules, host))
        else:
            started.append(_start_embedded(persona, families, port, context, key, rules, host))
    except BaseException:
        for server in started:
            servers.stop(server)
        raise
    return started


def _families(persona: Persona, checkpoints: list[Checkpoint]) -> list[tuple[Checkpoint, list[Checkpoint]]]:
    """``(full weights, those of the checkpoints that need them)``, each checkpoint once; outside endpoints left out."""
    found: dict[str, tuple[Checkpoint, list[Checkpoint]]] = {}
    for checkpoint in {c.id: c for c in checkpoints if c.kind != "external"}.values():
        root = weights_root(persona, checkpoint)
        found.setdefault(root.id, (root, []))[1].append(checkpoint)
    return list(found.values())


def _rules(persona: Persona) -> Rules:
    from studio.engines.filtering import load_rules

    return load_rules(persona)


def _start_embedded(
    persona: Persona, families: list[tuple[Checkpoint, list[Checkpoint]]], port: int | None, context: int, key: str, rules: Rules | None, host: str
) -> Server:
    models = [
        {
            "id": checkpoint.id,
            "root": root.path,
            "adapter": checkpoint.path if checkpoint.kind == "adapter" else "",
            "trust_remote_code": root.base in persona.manifest.trust.remote_code,
        }
        for root, members in families
        for checkpoint in members
    ]
    with _new_folder(persona, "embedded") as folder:
        number = choose_port(port, host)
        key = key or secrets.token_urlsafe(32)
        write_json(folder / "models.json", {"host": host, "port": number, "context": context, "models": models})
        # Half the cores: the other half is for the screen and for whoever trains.
        threads = max(1, min(8, len(os.sched_getaffinity(0)) // 2))
        environment = _environment() | {"STUDIO_API_KEY": key, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        argv = processes.python("studio.engines.embedded.server", str(folder))
        source = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH", ""))))
        ids = [str(model["id"]) for model in models]
        return _launch(folder, "embedded", argv, environment, key, number, ids, context, rules, host)


def _start_vllm(
    persona: Persona, root: Checkpoint, members: list[Checkpoint], port: int | None, context: int, key: str, rules: Rules | None, host: str
) -> Server:
    from studio.engines import environment, vllm

    serving = environment.require()
    adapters = [c for c in members if c.kind == "adapter"]
    planned = vllm.plan(serving.kind, root, adapters, context, others=_adapters_on(persona, root, adapters))
    with _new_folder(persona, "vllm") as folder:
        number = choose_port(port, host)
        key = key or secrets.token_urlsafe(32)
        argv = vllm.prepare(folder, serving, root, adapters, number, planned, filtered=rules is not None, host=host)
        ids = list(dict.fromkeys([*(c.id for c in members), root.id]))
        server = _launch(folder, "vllm", argv, vllm.variables(serving, folder, key), key, number, ids, planned.context, rules, host)
        server.root, server.lora_slots, server.lora_rank = root.id, planned.slots, planned.rank
        server.weights, server.budget = root.path, planned.budget
        write_json(folder / "server.json", server)
        return server


def _adapters_on(persona: Persona, root: Checkpoint, but: list[Checkpoint]) -> list[Checkpoint]:
    """The persona's other adapters that sit on these weights: they may be wanted later on."""
    taken = {c.id for c in but}
    found = []
    for c in all_checkpoints(persona):
        if c.kind == "adapter" and c.id not in taken:
            try:
                found += [c] if weights_root(persona, c).id == root.id else []
            except StudioError:
                continue  # its parent is gone
    return found


def plans(persona: Persona, checkpoints: list[Checkpoint], context: int = CONTEXT) -> dict[str, vllm.ServePlan]:
    """How vLLM would be started for these checkpoints, by the id of the weights of each process. StudioError if one would not fit."""
    from studio.engines import environment, vllm

    found = {}
    for root, members in _families(persona, checkpoints):
        adapters = [c for c in members if c.kind == "adapter"]
        if root.path:
            found[root.id] = vllm.plan(environment.machine_kind(), root, adapters, context, others=_adapters_on(persona, root, adapters))
    return found


def _environment() -> dict[str, str]:
    """Our environment for a child: offline, without keys that it has no use for."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "STUDIO_EXTERNAL_KEY")}
    return kept | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


@contextmanager
def _new_folder(persona: Persona, engine: str) -> Iterator[Path]:
    """A folder ``<engine>-N`` that no other server has; gone again if the start fails."""
    servers = persona.private / "servers"
    servers.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock(servers / ".lock"):
        taken = {path.name for path in servers.iterdir()}
        number = next(n for n in range(1, 10_000) if f"{engine}-{n}" not in taken)
        folder = servers / f"{engine}-{number}"
        folder.mkdir(mode=0o700)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _launch(
    folder: Path,
    engine: Engine,
    argv: list[str],
    environment: dict[str, str],
    key: str,
    port: int,
    ids: list[str],
    context: int,
    rules: Rules | None,
    host: str = servers.LOOPBACK,
) -> Server:
    """Start the process, holding the GPU's lease where there is a GPU: training waits while anything is served."""
    held = None
    if lease.gpu():
        held = lease.inherited() or lease.take(alone=False)
        if held is None:
            raise StudioError("The GPU is in use by a run; wait until it is done, pause or cancel it (studio jobs), or queue it: --then serve.")
    write_atomic(folder / "key", key)
    write_atomic(folder / "log.txt", "")
    if rules is not None:
        write_json(folder / "filter.json", rules)
        environment = environment | {"STUDIO_FILTER": str(folder)}
    try:
        child = processes.detach(argv, folder / "log.txt", environment | {processes.RUN_VARIABLE: str(folder)}, keep=() if held is None else (held,))
    except OSError as error:
        raise StudioError(f"{argv[0]} could not be started: {error.strerror}.") from error
    finally:
        if held is not None:
            os.close(held)
    servers.adopt(child)
    server = Server(
        name=folder.name,
        engine=engine,
        base_url=f"http://{servers.reached_at(host)}:{port}/v1",
        models={name: name for name in ids},
        port=port,
        pid=child.pid,
        born=processes.born(child.pid) or 0,
        boot=processes.boot_id(),
        started=time.time(),
        context=context,
        folder=str(folder),
        run=os.environ.get(processes.RUN_VARIABLE, ""),
        host=host,
        filtered=rules is not None,
    )
    write_json(folder / "server.json", server)
    return server


def choose_port(asked: int | None, host: str = servers.LOOPBACK) -> int:
    """A port that can be listened on: the one asked for, else a free one. StudioError if it is taken, or the address is none of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, asked or 0))
        except (OSError, OverflowError) as error:
            if isinstance(error, socket.gaierror) or getattr(error, "errno", 0) == errno.EADDRNOTAVAIL:
                raise StudioError(f"{host} is no address of this machine; ip -4 address lists them, 0.0.0.0 is all of them.") from error
            raise StudioError(f"Port {asked} cannot be used ({error}); choose another, or leave --port away to get a free one.") from error
        number: int = probe.getsockname()[1]
        return number
