"""A scripted engine: real HTTP on 127.0.0.1, the OpenAI chat stream, replies as told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from studio.engines.servers import Server
from studio.files import write_json
from studio.persona.folder import Persona

KEY = "a-key-of-the-test"


@dataclass
class Script:
    """What one model answers."""

    pieces: list[str]
    rate: float = 0.0
    """Pieces a second; 0: all at once."""
    finish: str = "stop"
    dies_after: int | None = None
    """Breaks the connection after that many pieces."""
    gate: threading.Event | None = None
    """Waits for it before the last piece."""


@dataclass
class FakeEngine:
    scripts: dict[str, Script] = field(default_factory=dict)
    default: Callable[[str], Script] = lambda model: Script(["Sit", " down", ". The kettle", " is on."])
    requests: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def register(self, persona: Persona, names: Sequence[str] = ("base", "cpt-1-e1", "sft-1-e2")) -> None:
        """Put it where the studio looks for running servers, as an outside endpoint: there is no process to find or to end."""
        models = {name: f"m-{name}" for name in names}
        folder = persona.private / "servers" / "fake-1"
        server = Server("fake-1", "external", self.base_url, models, port=self.port, state="ready", started=1.0, context=8192, folder=str(folder))
        write_json(folder / "server.json", server)

    def __enter__(self) -> FakeEngine:
        app = Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"]), Route("/v1/models", self._models)])
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=0))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        for script in self.scripts.values():
            if script.gate:
                script.gate.set()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(5)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.scripts]})

    async def _chat(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": "wrong key"}}, 401)
        asked = await request.json()
        self.requests.append(asked)
        script = self.scripts.get(asked["model"]) or self.default(asked["model"])
        return StreamingResponse(self._stream(asked["model"], script), media_type="text/event-stream")

    async def _stream(self, model: str, script: Script) -> AsyncIterator[str]:
        began = time.monotonic()
        for number, piece in enumerate(script.pieces):
            if script.dies_after == number:
                raise ConnectionResetError("told to die")
            if script.gate and number == len(script.pieces) - 1:
                while not script.gate.is_set():
                    await asyncio.sleep(0.01)
            if script.rate:
                await asyncio.sleep(max(0.0, began + number / script.rate - time.monotonic()))
            yield self._event(model, {"content": piece}, None)
        yield self._event(model, {}, script.finish)
        yield "data: [DONE]\n\n"

    @staticmethod
    def _event(model: str, delta: dict[str, str], finish: str | None) -> str:
        body = {"id": "x", "object": "chat.completion.chunk", "model": model, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        return f"data: {json.dumps(body)}\n\n"
