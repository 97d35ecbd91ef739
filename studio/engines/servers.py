"""Engine processes: found again, watched and stopped. They outlive whoever started them (``starting``).

Each lives in ``<persona>/.studio/servers/<name>/``: ``server.json`` (who and where), ``key`` (0600), ``log.txt``. Alive is what has
the same pid, start time and boot as written there; a survivor is known by the folder in its environment or by its open log.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from studio.engines import keys, starts, vllm_log
from studio.errors import StudioError
from studio.files import write_json
from studio.jobs import lease, processes, queue
from studio.persona.folder import Persona, load_manifest
from studio.text import one_line

Engine = Literal["embedded", "vllm", "external"]

LOOPBACK = "127.0.0.1"
"""Where servers listen unless asked otherwise: this machine alone."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this process started: kept so that a dead one is reaped and does not stay a zombie."""

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
    weights: str = ""
    """vLLM: the folder it holds."""
    budget: int = 0
    """vLLM: bytes of the GPU that weights and adapters were reckoned to leave over; 0 on a processor."""
    host: str = LOOPBACK
    """Where it listens; ``0.0.0.0`` is every address of this machine."""
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


def reached_at(host: str) -> str:
    """Where this machine itself reaches what listens on ``host``."""
    return LOOPBACK if host == "0.0.0.0" else host


def key_file(server: Server) -> Path:
    return server.path / "key"


def external(base_url: str, models: dict[str, str], key: str = "", name: str = "external") -> Server:
    """An OpenAI endpoint that somebody else runs (``base_url`` up to and with its ``/v1``). Its key is ``key``, else as in ``keys``."""
    if not base_url.startswith(("http://", "https://")):
        raise StudioError(f"{base_url!r} is no address of an endpoint; give one that begins with http:// or https://.")
    if key:
        _external_keys[base_url.rstrip("/")] = key
    return Server(name, "external", base_url.rstrip("/"), models, state="ready")


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


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Take note of a server that this process has started."""
    _children[child.pid] = child


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
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


def ask(server: Server, path: str, body: Any = None, timeout: float = 5.0) -> tuple[int, bytes]:
    """Status and body of one of the server's own addresses; a POST where there is a ``body``. OSError where nothing answers.

    By the standard library: httpx, which speaks to the models, takes 0.15 s to import, and even this 20 ms, which the app's first paint has not.
    """
    import http.client

    connection = http.client.HTTPConnection(reached_at(server.host), server.port, timeout=timeout)
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else msgspec.json.encode(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def _health(server: Server) -> int:
    """HTTP status of ``/health``; 0 when nothing answers."""
    try:
        return ask(server, "/health")[0]
    except OSError:
        return 0


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
                log = tail(server)
                server.cache_tokens = vllm_log.cache_tokens(log)
                kind = "cuda" if server.budget else "cpu"
                starts.learn(server.weights, kind, vllm_log.cache_bytes(log), server.cache_tokens, server.budget)
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
    if server.engine == "vllm":
        return vllm_log.progress(tail(server))
    said = [line for line in tail(server).splitlines() if line.startswith(("Loading the adapter ", "Loading /", "Ready"))]
    if not said:
        return "Starting the embedded engine"
    what, slash, path = one_line(said[-1]).partition("/")
    return f"{what}{path.rpartition('/')[2]}" if slash else what


def cause(server: Server) -> str:
    """Why a server died, as one sentence read from its log."""
    log = tail(server)
    if server.engine == "vllm":
        return vllm_log.failure(log)
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
    while own and not _is_free(server):
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


def _is_free(server: Server) -> bool:
    """Whether nothing listens on its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((reached_at(server.host), server.port)) != 0
