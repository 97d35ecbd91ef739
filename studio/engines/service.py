"""A server that the machine starts by itself: a systemd user unit, and the process it runs.

The process starts the engine, waits until it answers, and stays until it dies or is told to stop. Address and key stay the same over
restarts: the port stands in the unit, the key in the persona's private folder.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from studio.checkpoints.store import Checkpoint
from studio.engines import servers, starting
from studio.engines.servers import Engine, Server
from studio.errors import StudioError
from studio.files import write_atomic
from studio.home import home
from studio.persona.folder import Persona

LOOK = 1.0
"""Seconds between two looks at whether the engine lives."""


def service_key(persona: Persona) -> str:
    """The key of the persona's service, made once."""
    file = persona.private / "service.key"
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        key = secrets.token_urlsafe(32)
        write_atomic(file, key)
        return key


def unit_name(persona: Persona) -> str:
    return f"studio-{re.sub(r'[^A-Za-z0-9_-]+', '-', persona.root.name).strip('-').lower() or 'persona'}.service"


def unit_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def unit_text(
    persona: Persona, checkpoints: list[Checkpoint], engine: Engine, port: int, filtered: bool = False, host: str = servers.LOOPBACK
) -> str:
    """The unit. Words are quoted as systemd reads them (systemd.syntax(7)): in double quotes, ``%`` doubled; ``$`` doubled where a command
    stands (systemd.service(5)), where alone it has a meaning."""
    command = [sys.executable, "-m", "studio.cli.main", "-p", str(persona.root), "serve", *(c.id for c in checkpoints)]
    command += ["--engine", engine, "--port", str(port), "--stay", *(["--filter"] if filtered else [])]
    command += [] if host == servers.LOOPBACK else ["--host", host]
    source = Path(__file__).parents[2]
    return f"""\
[Unit]
Description=persona studio: {_plain(persona.manifest.character.name)} ({", ".join(c.id for c in checkpoints)}) at {host}:{port}

[Service]
Type=exec
ExecStart={" ".join(_quoted(word).replace("$", "$$") for word in command)}
Environment={_quoted(f"STUDIO_HOME={home().absolute()}")}
Environment={_quoted(f"PYTHONPATH={source}")}
UMask=0077
Restart=on-failure
RestartSec=10
TimeoutStopSec=30
KillMode=control-group

[Install]
WantedBy=default.target
"""


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _plain(text: str) -> str:
    return re.sub(r"[\x00-\x1f\\%]+", " ", text)


def write_unit(
    persona: Persona, checkpoints: list[Checkpoint], engine: Engine, port: int | None, filtered: bool = False, host: str = servers.LOOPBACK
) -> tuple[Path, int]:
    """Write the unit for serving these checkpoints; its file and its port (a free one is chosen where none is asked for)."""
    if any(c.kind == "external" for c in checkpoints):
        raise StudioError("An outside endpoint is not served from here; name a checkpoint.")
    chosen = starting.choose_port(port, host)
    service_key(persona)
    path = unit_folder() / unit_name(persona)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, unit_text(persona, checkpoints, engine, chosen, filtered, host))
    return path, chosen


def stay(
    persona: Persona,
    checkpoints: list[Checkpoint],
    engine: Engine,
    port: int | None,
    context: int,
    tell: Callable[[str], None],
    filtered: bool = False,
    host: str = servers.LOOPBACK,
) -> None:
    """Serve until SIGTERM or Ctrl+C. StudioError with the cause if a server dies meanwhile; nothing is left of any then."""
    wanted = False

    def stop(number: int, frame: object) -> None:
        nonlocal wanted
        wanted = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # What an earlier one left behind (kill -9, power) would hold the port.
    for left in servers.running(persona):
        if port and left.port == port:
            servers.stop(left)
    started = starting.start(persona, checkpoints, engine, port, context, service_key(persona), filtered, host)
    try:
        for server in started:
            _ready(server, tell, lambda: wanted)
        while not wanted:
            for server in started:
                if not servers.is_alive(server):
                    raise StudioError(f"{server.name} died: {servers.cause(server)}")
            time.sleep(LOOK)
    finally:
        for server in started:
            servers.stop(server)


def _ready(server: Server, tell: Callable[[str], None], wanted: Callable[[], bool]) -> None:
    """Wait until the server answers, unless it is to stop before."""

    class Leave(Exception):
        pass

    def told(text: str) -> None:
        tell(text)
        if wanted():
            raise Leave

    try:
        servers.wait_ready(server, told)
        tell(f"{', '.join(server.models)} at {server.base_url}")
    except Leave:
        pass
