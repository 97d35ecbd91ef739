"""Lines to paste: how other programs talk to a running server. The key stays in its file and out of every command line."""

from __future__ import annotations

import getpass
import os
import shlex
import socket

from studio.engines import servers
from studio.engines.servers import Server


def lines(server: Server, model: str, key: str = "") -> list[tuple[str, str]]:
    """``(program, what to paste or type)``. ``key`` is shown where a program has a field for it; without it, where it lies."""
    file = shlex.quote(str(servers.key_file(server)))
    url = server.base_url
    shown = key or f"(the content of {servers.key_file(server)})"
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello."}}]}}'
    found = [
        (
            "curl",
            f"curl -s {url}/chat/completions -H @<(printf 'Authorization: Bearer %s' \"$(<{file})\") \\\n"
            f"  -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        ),
        (
            "OpenAI client (Python)",
            "from pathlib import Path\nfrom openai import OpenAI\n"
            f"client = OpenAI(base_url={url!r}, api_key=Path({str(servers.key_file(server))!r}).read_text().strip())\n"
            f"print(client.chat.completions.create(model={model!r}, messages=[{{'role': 'user', 'content': 'Hello.'}}]).choices[0].message.content)",
        ),
    ]
    if server.engine == "vllm":
        found.append(("SillyTavern", f"API: Text Completion · API Type: vLLM · API URL: {server.url} · vLLM API key: {shown} · Model: {model}"))
    else:
        found.append(
            (
                "SillyTavern",
                f"API: Chat Completion · Source: Custom (OpenAI-compatible) · Custom Endpoint: {url} · Custom API Key: {shown} · Model ID: {model}",
            )
        )
    found += [
        ("Open WebUI", f"Admin Panel > Settings > Connections > OpenAI API > +: URL {url} · Key {shown}"),
        ("Open WebUI (new)", f'OPENAI_API_BASE_URL={url} OPENAI_API_KEY="$(<{file})" open-webui serve'),
        ("from another machine", _elsewhere(server)),
    ]
    return found


def _elsewhere(server: Server) -> str:
    """How another machine reaches it."""
    if server.host == servers.LOOPBACK:
        return f"ssh -N -L {server.port}:127.0.0.1:{server.port} {_user()}@{socket.gethostname()}   # then the same lines there"
    host = socket.gethostname() if server.host == "0.0.0.0" else server.host
    return f"the same lines with http://{host}:{server.port}; what is said goes over the network unencrypted"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return os.environ.get("USER", "user")


def text(server: Server, key: str = "") -> str:
    """All lines for the first model of a server, program by program."""
    model = next(iter(server.models.values()))
    others = f"# models: {', '.join(server.models.values())}\n\n" if len(server.models) > 1 else ""
    return others + "\n\n".join(f"# {program}\n{line}" for program, line in lines(server, model, key)) + "\n"
