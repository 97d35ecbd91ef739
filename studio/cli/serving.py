"""``studio serve``: start, look, stop; adapters in and out; lines to paste; a unit for systemd."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from studio.checkpoints.store import get_checkpoint
from studio.cli import output
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona

if TYPE_CHECKING:
    from studio.checkpoints.store import Checkpoint
    from studio.engines.servers import Server

BETWEEN = 1.0
"""Seconds between the two readings that a speed is told from."""


def serve(arguments: Namespace, persona: Persona) -> None:
    words = arguments.checkpoints
    match words[0] if words else "status":
        case "status":
            _status(arguments, persona)
        case "stop":
            _stop(words[1:], persona)
        case "add" | "remove" if len(words) < 2:
            raise UsageError(f"Name what to {words[0]}: studio serve {words[0]} CKPT")
        case "add":
            _add(words[1:], persona)
        case "remove":
            from studio.engines import hot

            for word in words[1:]:
                server = hot.remove(persona, word)
                output.say(f"{word} is out of {server.name}; it still serves {', '.join(server.models)}.")
        case _:
            _start(arguments, persona, [get_checkpoint(persona, word) for word in words])


def _status(arguments: Namespace, persona: Persona) -> None:
    from studio.engines import filtered, giving_way, lines, metrics, servers

    running = servers.running(persona)
    if arguments.lines:
        if not running:
            raise StudioError("Nothing is served; start with: studio serve CKPT")
        if arguments.json:
            output.json(
                [{"server": s.name, "program": program, "line": line} for s in running for program, line in lines.lines(s, next(iter(s.models)))]
            )
        else:
            for server in running:
                print(lines.text(server))
        return
    readings = {server.name: [found] for server in running if (found := metrics.read(server))}
    if readings:
        time.sleep(BETWEEN)
        for server in running:
            if server.name in readings and (found := metrics.read(server)):
                readings[server.name].append(found)
    if arguments.json:
        output.json(
            [described(server) | ({"metrics": metrics.as_json(readings[server.name])} if server.name in readings else {}) for server in running]
        )
        return
    if running:
        output.table(("server", "engine", "address", "models"), [(s.name, s.engine, s.base_url, ", ".join(s.models)) for s in running])
        for server in running:
            if server.name in readings:
                output.say(f"{server.name}: {metrics.said(readings[server.name])}")
            if server.filtered:
                output.say(f"{server.name} {filtered.said(filtered.counts(server.path))}.")
        output.say(f"Key: the content of {servers.key_file(running[0])}")
        output.say("Lines to paste into other programs: studio serve status --lines")
    else:
        output.say("Nothing is served; start with: studio serve CKPT")
    for note in giving_way.returning():
        output.say(f"{note.name} ({', '.join(note.checkpoints)}) gave way to {note.run.rpartition('/')[2]} and comes back after it.")


def _stop(names: list[str], persona: Persona) -> None:
    from studio.engines import servers

    stopped = [server for server in servers.running(persona) if not names or server.name in names or set(names) & set(server.models)]
    if not stopped and names:
        raise StudioError(f"No running server is or has {', '.join(names)}; see: studio serve status")
    for server in stopped:
        servers.stop(server)
    output.say(f"Stopped: {', '.join(server.name for server in stopped)}." if stopped else "Nothing was running.")


def _add(words: list[str], persona: Persona) -> None:
    from studio.engines import hot

    for word in words:
        checkpoint = get_checkpoint(persona, word)
        began = time.monotonic()
        server = hot.add(persona, checkpoint)
        output.say(f"{checkpoint.id} is served by {server.name} too ({time.monotonic() - began:.1f} s, no restart): {server.base_url}")


def _start(arguments: Namespace, persona: Persona, wanted: list[Checkpoint]) -> None:
    from studio.engines import servers, starting
    from studio.engines.sharing import ensure_served

    context, host = arguments.context or starting.CONTEXT, arguments.host or servers.LOOPBACK
    if arguments.engine == "vllm" or arguments.plan:
        plans = starting.plans(persona, wanted, context)
        if arguments.plan and arguments.json:
            output.json(plans)
            return
        for name, planned in plans.items():
            for line in planned.said():
                (output.say if arguments.plan else output.progress)(f"{name}: {line}")
        if arguments.plan:
            return
    if arguments.systemd:
        from studio.engines import service

        path, port = service.write_unit(persona, wanted, arguments.engine, arguments.port, arguments.filter, host)
        output.say(f"Written: {path} ({host}:{port}; its key is in {persona.private / 'service.key'})")
        output.say(f"Start it now and at each login:  systemctl --user daemon-reload && systemctl --user enable --now {path.name}")
        output.say("Without a login, from the boot on:  loginctl enable-linger")
        output.say(f"What it says:  journalctl --user -u {path.name}")
        return
    if arguments.stay:
        from studio.engines import service

        service.stay(persona, wanted, arguments.engine, arguments.port, context, output.progress, arguments.filter, host)
        return
    served, _ = ensure_served(persona, wanted, arguments.engine, output.progress, arguments.port, context, arguments.filter, arguments.host)
    unique = list({server.name: server for server in served.values()}.values())
    if arguments.json:
        output.json([described(server) for server in unique])
        return
    for server in unique:
        if server.host != servers.LOOPBACK:
            output.say(f"It listens on {server.host}: whoever reaches it and has the key may talk to her, and nothing on the way is encrypted.")
        output.say(f"{', '.join(server.models)} at {server.base_url} (OpenAI API, key in {servers.key_file(server)})")
        if server.filtered:
            output.say("It filters what it says, by filter.toml and checks.toml as they are now; reviews and probes start a server of their own.")
    output.say("Lines to paste into other programs: studio serve status --lines. Stop with: studio serve stop")


def described(server: Server) -> dict[str, Any]:
    shown = ("name", "engine", "base_url", "host", "models", "pid", "context", "cache_tokens", "lora_slots", "filtered")
    found = {name: getattr(server, name) for name in shown}
    if server.filtered:
        from studio.engines.filtered import counts

        found["taken_out"] = counts(server.path)
    return found
