"""Engine processes: started, found again, watched and stopped. They outlive whoever started them.

Each lives in ``<persona>/.studio/servers/<name>/``: ``server.json`` (who and where), ``key`` (0600), ``log.txt``. Alive is what has
the same pid, start time and boot as written there; a survivor is known by the folder in its environment or by its open log.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from studio.checkpoints.store import Checkpoint, all_checkpoints, weights_root
from studio.engines import keys
from studio.errors import StudioError
from studio.files import lock, write_atomic, write_json
from studio.jobs import lease, processes, queue
from studio.persona.folder import Persona, load_manifest
from studio.text import one_line

if TYPE_CHECKING:
    from studio.engines import vllm
    from studio.engines.filtering import Rules

Engine = Literal["embedded", "vllm", "external"]

CONTEXT = 8192
"""Longest conversation served, in tokens, unless asked otherwise; a model's own context may be shorter."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_children: dict[int, object] = {}
"""Popen objects of servers that this process started: kept so that a dead child is reaped and does not stay a zombie."""

_external_keys: dict[str, str] = {}
"""Keys of outside endpoints, by base URL: for this process only, and in no object that is printed."""


class Server(msgspec.Struct):
    """One engine process (``server.json``), or an outside endpoint (``external``)."""

    name: str
    engine: Engine
    base_url: str
    """``http://127.0.0.1:PORT/v1`` style root, without a slash at the end."""
    models: dict[str, str]
    """The name to ask for, by checkpoint id."""
    port: int = 0
    pid: int = 0
    born: int = 0
    """Start time of the process in clock ticks since boot (``/proc/PID/stat``): with the boot id, a pid that is not taken over."""
    boot: str = ""
    state: Literal["starting", "ready"] = "starting"
    started: float = 0.0
    """Unix time."""
    context: int = 0
    """Longest conversation in tokens; 0 when unknown."""
    folder: str = ""
    """Where it lives; empty for an external one."""
    run: str = ""
    """Folder of the run that started it; empty if a person did. It goes with the run, unless that is done."""

    root: str = ""
    """vLLM: id of the checkpoint whose weights it holds; adapters come and go on it."""
    lora_slots: int = 0
    """Adapters it has room for."""
    lora_rank: int = 0
    """Highest rank of these."""
    cache_tokens: int = 0
    """Tokens of conversation it holds together, as it said when it was up; 0 if it did not."""
    filtered: bool = False
    """Whether it filters what it says (``filtering``). Its replies are not hers as she is: reviews and probes never use it."""

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def url(self) -> str:
        """The address without ``/v1``."""
        return self.base_url.rstrip("/").removesuffix("/v1")

    @property
    def key(self) -> str:
        """The key, read when it is needed so that it stands in no object that a crash screen could show."""
        if self.engine == "external":
            return _external_keys.get(self.base_url) or keys.key_of(self.base_url)
        try:
            return key_file(self).read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise StudioError(f"The server {self.name} is not running anymore; start it again.") from error
        except OSError as error:
            raise StudioError(f"The key of the server {self.name} cannot be read ({error.strerror}); stop the server and start it again.") from error

    def for_checkpoint(self, checkpoint_id: str) -> str:
        """The model name of a checkpoint here; StudioError if it is not served."""
        if name := self.models.get(checkpoint_id):
            return name
        raise StudioError(f"The server {self.name} does not serve {checkpoint_id}; it serves: {', '.join(self.models)}.")


def key_file(server: Server) -> Path:
    return server.path / "key"


def external(base_url: str, models: dict[str, str], key: str = "", name: str = "external") -> Server:
    """An OpenAI endpoint that somebody else runs (``base_url`` up to and with its ``/v1``). Its key is ``key``, else as in ``keys``."""
    if not base_url.startswith(("http://", "https://")):
        raise StudioError(f"{base_url!r} is no address of an endpoint; give one that begins with http:// or https://.")
    if key:
        _external_keys[base_url.rstrip("/")] = key
    return Server(name, "external", base_url.rstrip("/"), models, state="ready")


def start(
    persona: Persona,
    checkpoints: list[Checkpoint],
    engine: Engine = "embedded",
    port: int | None = None,
    context: int = CONTEXT,
    gpu_share: float = 0.9,
    key: str = "",
    filtered: bool = False,
) -> list[Server]:
    """Start processes for the checkpoints and return at once; ``wait_ready`` waits for each.

    The embedded engine is one process for all; vLLM is one per set of full weights, its adapters with it. ``port`` is for the only (or
    first) process; ``key`` the one it wants, a new one without it; ``filtered`` has it filter what it says.
    Raises StudioError if a checkpoint is not on disk, the port is taken, the GPU is leased or vLLM is not built.
    """
    if not checkpoints:
        raise StudioError("Name at least one checkpoint to serve.")
    families: dict[str, tuple[Checkpoint, list[Checkpoint]]] = {}
    for checkpoint in {c.id: c for c in checkpoints}.values():
        if checkpoint.kind == "external":
            raise StudioError(f"{checkpoint.id} is an outside endpoint and is not served from here; chat with it or review it as it is.")
        root = weights_root(persona, checkpoint)
        for needed in (checkpoint, root):
            if not needed.path or not Path(needed.path).is_dir():
                raise StudioError(
                    f"The checkpoint {needed.id} ({needed.name}) is not on this machine; fetch its base with: studio fetch {needed.base}"
                )
        families.setdefault(root.id, (root, []))[1].append(checkpoint)
    rules = _rules(persona) if filtered else None
    started: list[Server] = []
    try:
        if engine == "vllm":
            for root, members in families.values():
                started.append(_start_vllm(persona, root, members, port if not started else None, context, gpu_share, key, rules))
        else:
            started.append(_start_embedded(persona, list(families.values()), port, context, key, rules))
    except BaseException:
        for server in started:
            stop(server)
        raise
    return started


def _rules(persona: Persona) -> Rules:
    from studio.engines.filtering import load_rules

    return load_rules(persona)


def _start_embedded(
    persona: Persona, families: list[tuple[Checkpoint, list[Checkpoint]]], port: int | None, context: int, key: str, rules: Rules | None
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
        number = choose_port(port)
        key = key or secrets.token_urlsafe(32)
        write_json(folder / "models.json", {"port": number, "context": context, "models": models})
        # Half the cores: the other half is for the screen and for whoever trains.
        threads = max(1, min(8, len(os.sched_getaffinity(0)) // 2))
        environment = _environment() | {"STUDIO_API_KEY": key, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        argv = processes.python("studio.engines.embedded.server", str(folder))
        source = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH", ""))))
        ids = [str(model["id"]) for model in models]
        return _launch(folder, "embedded", argv, environment, key, number, ids, context, rules)


def _start_vllm(
    persona: Persona, root: Checkpoint, members: list[Checkpoint], port: int | None, context: int, share: float, key: str, rules: Rules | None
) -> Server:
    from studio.engines import environment, vllm

    serving = environment.require()
    adapters = [c for c in members if c.kind == "adapter"]
    planned = vllm.plan(serving.kind, root, adapters, context, share, adapters_on(persona, root, adapters))
    with _new_folder(persona, "vllm") as folder:
        number = choose_port(port)
        key = key or secrets.token_urlsafe(32)
        argv = vllm.prepare(folder, serving, root, adapters, number, planned, filtered=rules is not None)
        ids = list(dict.fromkeys([*(c.id for c in members), root.id]))
        server = _launch(folder, "vllm", argv, vllm.variables(serving, folder, key), key, number, ids, planned.context, rules)
        server.root, server.lora_slots, server.lora_rank = root.id, planned.slots, planned.rank
        write_json(folder / "server.json", server)
        return server


def adapters_on(persona: Persona, root: Checkpoint, but: list[Checkpoint]) -> list[Checkpoint]:
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


def plans(persona: Persona, checkpoints: list[Checkpoint], context: int = CONTEXT, share: float = 0.9) -> dict[str, vllm.ServePlan]:
    """How vLLM would be started for these checkpoints, by the id of the weights of each process. StudioError if one would not fit."""
    from studio.engines import environment, vllm

    families: dict[str, tuple[Checkpoint, list[Checkpoint]]] = {}
    for checkpoint in checkpoints:
        if checkpoint.kind != "external":
            root = weights_root(persona, checkpoint)
            families.setdefault(root.id, (root, []))[1].append(checkpoint)
    found = {}
    for root, members in families.values():
        adapters = [c for c in members if c.kind == "adapter"]
        if root.path:
            found[root.id] = vllm.plan(environment.machine_kind(), root, adapters, context, share, adapters_on(persona, root, adapters))
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
    _children[child.pid] = child
    server = Server(
        name=folder.name,
        engine=engine,
        base_url=f"http://127.0.0.1:{port}/v1",
        models={name: name for name in ids},
        port=port,
        pid=child.pid,
        born=processes.born(child.pid) or 0,
        boot=processes.boot_id(),
        started=time.time(),
        context=context,
        folder=str(folder),
        run=os.environ.get(processes.RUN_VARIABLE, ""),
        filtered=rules is not None,
    )
    write_json(folder / "server.json", server)
    return server


def choose_port(asked: int | None) -> int:
    """A port that can be listened on: the one asked for, else a free one. StudioError if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", asked or 0))
        except (OSError, OverflowError) as error:
            raise StudioError(f"Port {asked} cannot be used ({error}); choose another, or leave --port away to get a free one.") from error
        number: int = probe.getsockname()[1]
        return number


def is_alive(server: Server) -> bool:
    """Whether the server's own process lives (an external one always counts as alive)."""
    if server.engine == "external":
        return True
    _reap(server.pid)
    return processes.Identity(server.pid, server.born, server.boot).lives()


def has_died(server: Server, patience: float = 0.5) -> bool:
    """Whether the server is dead or dies within ``patience`` seconds: a killed process closes its connections before it is gone."""
    deadline = time.monotonic() + patience
    while is_alive(server):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:  # type: ignore[attr-defined]
        del _children[pid]


def running(persona: Persona) -> list[Server]:
    """Living servers of the persona, the oldest first. What is left of dead ones is cleared away: survivors, port and folder.

    A dead one whose start nobody has seen fail yet keeps its folder for ten minutes; the log of the last to die is ``last-log.txt``.
    """
    found = []
    folder = persona.private / "servers"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir():
            continue
        server = _read(path)
        if server is None:
            # A start under way has no server.json yet; a clock that was set on must not clear it away, so a living process counts too.
            if time.time() - path.stat().st_mtime > 60 and not processes.members(path):
                shutil.rmtree(path, ignore_errors=True)
        elif is_alive(server):
            found.append(server)
        else:
            if server.boot == processes.boot_id():
                processes.end(processes.members(path), grace=1.0)
            if server.state == "ready" or time.time() - server.started > 600 or server.boot != processes.boot_id():
                _clear(server)
    return sorted(found, key=lambda server: (server.started, server.name))


def _clear(server: Server) -> None:
    """Remove a dead server's folder; its log stays, until the next one's."""
    try:
        os.replace(server.log, server.path.parent / "last-log.txt")
    except OSError:
        pass
    shutil.rmtree(server.path, ignore_errors=True)


def _read(folder: Path) -> Server | None:
    try:
        server = msgspec.json.decode((folder / "server.json").read_bytes(), type=Server)
    except (OSError, msgspec.DecodeError):
        return None
    server.folder = str(folder)  # the persona folder may have been moved
    return server


def _health(server: Server) -> int:
    """HTTP status of ``/health``; 0 when nothing answers. A plain socket: the HTTP library takes 0.15 s to import."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def wait_ready(server: Server, progress: Callable[[str], None] = lambda line: None, timeout: float = 1800.0) -> Server:
    """Wait until the server answers; tells ``progress`` what it is doing. StudioError with the cause if it dies; it is cleared away then."""
    if server.engine == "external":
        return server
    deadline, told = time.monotonic() + timeout, ""
    while True:
        health = _health(server)
        alive = is_alive(server)
        if health == 200 and alive:
            server.state = "ready"
            if server.engine == "vllm":
                from studio.engines import vllm

                server.cache_tokens = vllm.cache_tokens(tail(server))
            write_json(server.path / "server.json", server)
            return server
        # vLLM says 503 when its engine has died; the embedded engine while it is loading.
        if not alive or (health == 503 and server.engine == "vllm"):
            sentence = cause(server)
            stop(server)
            raise StudioError(f"{server.name} did not start: {sentence}")
        if time.monotonic() > deadline:
            stop(server)
            raise StudioError(f"{server.name} was not ready after {timeout / 60:.0f} minutes and was stopped; its last words: {_last_line(server)}.")
        doing = _doing(server)
        if doing and doing != told:
            progress(doing)
            told = doing
        time.sleep(0.2)


def tail(server: Server, amount: int = 200_000) -> str:
    """The last bytes of the server's log as text; of the last dead server's if this one is cleared away."""
    for log in (server.log, server.path.parent / "last-log.txt"):
        try:
            with log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - amount))
                return file.read().decode("utf-8", "replace")
        except OSError:
            continue
    return ""


def _last_line(server: Server) -> str:
    lines = [line for line in tail(server, 20_000).splitlines() if line.strip()]
    return one_line(lines[-1])[:240] if lines else "none"


def _doing(server: Server) -> str:
    """What a starting server is about, by its log."""
    from studio.engines import vllm

    if server.engine == "vllm":
        return vllm.progress(tail(server))
    said = [line for line in tail(server).splitlines() if line.startswith(("Loading the adapter ", "Loading /", "Ready"))]
    return one_line(said[-1]) if said else "Starting the embedded engine"


def cause(server: Server) -> str:
    """Why a server died, as one sentence read from its log."""
    from studio.engines import vllm

    log = tail(server)
    if server.engine == "vllm":
        return vllm.failure(log)
    ours = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    if ours:
        return ours[-1]
    if not log.strip():
        return "it was killed before it said anything (the kernel kills what takes too much memory); try fewer or smaller checkpoints."
    return f"the process ended; its last words: {_last_line(server)}."


def stop(server: Server) -> None:
    """End the server and everything it started; its folder goes too. Nothing is left of it, process or port, when this returns.

    SIGTERM, five seconds, SIGKILL. Also works when the server itself is dead and its workers live. StudioError if something stays.
    """
    if server.engine == "external":
        return
    folder = server.path
    own = [server.pid] if is_alive(server) else []
    deadline = time.monotonic() + 4 * GRACE
    # The head first: it asks its workers to leave in good order. Then whatever is still there.
    known = {*own, *processes.members(folder)}
    processes.end(own, GRACE)
    # A killed process that is still giving back its memory shows no environment and no files: those seen before are waited for by pid.
    while left := [pid for pid in known | set(processes.members(folder)) if processes.is_running(pid)]:
        known.update(left)
        processes.end(left, grace=0.5)
        _reap(server.pid)
        if time.monotonic() > deadline:
            raise StudioError(f"{server.name} could not be stopped: the processes {', '.join(map(str, left))} do not end; look at them with ps.")
        time.sleep(0.02)
    _reap(server.pid)
    while own and not _is_free(server.port):
        if time.monotonic() > deadline:
            raise StudioError(f"{server.name} is stopped, but its port {server.port} is still taken by another program.")
        time.sleep(0.05)
    _clear(server)
    if lease.gpu():
        queue.go_on()  # a run may have waited for the device


def stop_started_by(run: Path) -> None:
    """Stop the servers a run has started and not lived to stop. Nothing is raised: this is clearing away."""
    root = run.parent.parent
    if not (root / ".studio" / "servers").is_dir():
        return
    try:
        for server in running(Persona(root, load_manifest(root))):
            if server.run == str(run):
                stop(server)
    except (StudioError, OSError):
        pass


def _is_free(port: int) -> bool:
    """Whether nothing listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def stop_all(persona: Persona) -> list[Server]:
    """Stop every server of the persona; returns those that were running."""
    found = running(persona)
    for server in found:
        stop(server)
    return found
