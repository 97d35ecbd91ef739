"""The embedded engine's process: ``python -m studio.engines.embedded.server FOLDER`` (``models.json`` there says what to serve).

The key comes in the environment (``STUDIO_API_KEY``). The port is bound before anything is loaded; ``/health`` answers 503 until the
models are there. A load that fails ends the process, its sentence is the last line of the log.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from studio.engines.embedded import protocol
from studio.engines.embedded.protocol import ChatRequest, CompletionRequest, RefusedError, TokenizeRequest
from studio.engines.filtered import VARIABLE, Filtered
from studio.errors import StudioError
from studio.imports import importing, without_bitsandbytes

if TYPE_CHECKING:
    from studio.engines.embedded.models import Library, Weights
    from studio.engines.embedded.worker import Event, Generation, Job, TokenInfo, Worker


class Engine:
    """The models and their worker, once loaded, and the answers to requests."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.library: Library | None = None
        self.worker: Worker | None = None
        self.started = int(time.time())

    def load(self, plan: Path) -> None:
        """Import the model libraries, load everything, start the worker. In a thread: health is answered meanwhile."""
        with importing():
            import torch

            from studio.engines.embedded.models import Library, Plan
            from studio.engines.embedded.worker import Worker

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
        library = Library(msgspec.json.decode(plan.read_bytes(), type=Plan), lambda line: print(line, flush=True))
        self.worker = Worker()
        self.worker.start()
        self.library = library
        print("Ready", flush=True)

    def _get(self, name: str) -> Weights:
        if self.library is None:
            raise RefusedError("The models are still being loaded; ask again in a moment.", 503)
        return self.library.get(name)

    def _submit(self, job: Job) -> None:
        assert self.worker is not None
        self.worker.submit(job)

    def _check_length(self, weights: Weights, prompt: int, wanted: int) -> None:
        if prompt + wanted > weights.context:
            raise RefusedError(
                f"This model's context is {weights.context} tokens, but the prompt has {prompt} and {wanted} more were asked for "
                f"({prompt + wanted} in all): shorten the conversation or ask for fewer."
            )

    async def health(self, request: Request) -> Response:
        if self.library is None:
            return JSONResponse({"status": "loading"}, 503)
        assert self.worker is not None
        return JSONResponse({"status": "ready", "active": self.worker.active, "steps": self.worker.steps})

    async def models(self, request: Request) -> Response:
        names = self.library.by_name if self.library else {}
        listed = [
            {"id": name, "object": "model", "created": self.started, "owned_by": "persona-studio", "max_model_len": weights.context}
            for name, weights in names.items()
        ]
        return JSONResponse({"object": "list", "data": listed})

    async def tokenize(self, request: Request) -> Response:
        asked = protocol.parse(await request.body(), TokenizeRequest)
        weights = self._get(asked.model)
        if not isinstance(asked.messages, msgspec.UnsetType):
            ids = await asyncio.to_thread(weights.encode_chat, asked.messages, asked.add_generation_prompt)
        elif not isinstance(asked.prompt, msgspec.UnsetType):
            ids = await asyncio.to_thread(weights.encode, asked.prompt, asked.add_special_tokens)
        else:
            raise RefusedError("Give messages or a prompt to tokenize.")
        strings = {"token_strs": [weights.tokenizer.id_to_token(number) for number in ids]} if asked.return_token_strs else {}
        return JSONResponse({"count": len(ids), "max_model_len": weights.context, "tokens": ids} | strings)

    async def chat(self, request: Request) -> Response:
        asked = protocol.parse(await request.body(), ChatRequest)
        if asked.top_logprobs and not asked.logprobs:
            raise RefusedError("top_logprobs needs logprobs: true.")
        if asked.stream_options and not asked.stream:
            raise RefusedError("stream_options needs stream: true.")
        weights = self._get(asked.model)
        ids = await asyncio.to_thread(weights.encode_chat, asked.messages, asked.add_generation_prompt, asked.continue_final_message)
        if not ids:
            raise RefusedError("The conversation renders to nothing: there is no token to begin from.")
        wanted = asked.max_completion_tokens or asked.max_tokens
        self._check_length(weights, len(ids), wanted or 1)
        job, events = self._generation(weights, asked, ids, wanted or weights.context - len(ids), asked.top_logprobs if asked.logprobs else None)
        head = {"id": f"chatcmpl-{secrets.token_hex(8)}", "created": int(time.time()), "model": asked.model}
        if asked.stream:
            usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return StreamingResponse(_chat_stream(head, weights, job, events, usage), media_type="text/event-stream")
        text, infos, finish, drawn = await _gather(request, job, events)
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        if asked.logprobs:
            choice["logprobs"] = _chat_logprobs(weights, infos)
        return JSONResponse(head | {"object": "chat.completion", "choices": [choice], "usage": _usage(len(ids), drawn)})

    def _generation(
        self, weights: Weights, asked: protocol.Sampling, ids: list[int], limit: int, logprobs: int | None
    ) -> tuple[Generation, asyncio.Queue[Event]]:
        from studio.engines.embedded.worker import Generation

        events, tell = _mailbox()
        job = Generation(weights, asked.model, ids, tell, asked, limit, logprobs)
        self._submit(job)
        return job, events

    async def completions(self, request: Request) -> Response:
        """Completion of a plain text; with ``echo``, ``logprobs`` and ``max_tokens: 0`` it scores the text."""
        from studio.engines.embedded.worker import Scoring

        asked = protocol.parse(await request.body(), CompletionRequest)
        if not asked.max_tokens and not asked.echo:
            raise RefusedError("max_tokens: 0 makes sense with echo: true only.")
        weights = self._get(asked.model)
        ids = weights.encode(asked.prompt, asked.add_special_tokens) if isinstance(asked.prompt, str) else asked.prompt
        if not ids or not all(0 <= number < weights.tokenizer.get_vocab_size(with_added_tokens=True) for number in ids):
            raise RefusedError("The prompt is empty or has token ids outside the vocabulary.")
        self._check_length(weights, len(ids), asked.max_tokens)
        top = asked.logprobs or 0
        text, finish, drawn = "", "length", 0
        infos: list[TokenInfo] = []
        if asked.echo:
            text = weights.tokenizer.decode(ids, skip_special_tokens=False)
            if asked.logprobs is not None:
                events, tell = _mailbox()
                scoring = Scoring(weights, asked.model, ids, tell, top)
                self._submit(scoring)
                _, infos, _, _ = await _gather(request, scoring, events)
        if asked.max_tokens:
            job, events = self._generation(weights, asked, ids, asked.max_tokens, asked.logprobs)
            new, more, finish, drawn = await _gather(request, job, events)
            text, infos = text + new, infos + more
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        if asked.logprobs is not None:
            choice["logprobs"] = _completion_logprobs(weights, infos, ids[:1] if asked.echo else [])
        head = {"id": f"cmpl-{secrets.token_hex(8)}", "object": "text_completion", "created": int(time.time()), "model": asked.model}
        return JSONResponse(head | {"choices": [choice], "usage": _usage(len(ids), drawn)})


def _mailbox() -> tuple[asyncio.Queue[Event], Callable[[Event], None]]:
    """A queue in this event loop and what the worker's thread calls to put into it."""
    events: asyncio.Queue[Event] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(event: Event) -> None:
        try:
            loop.call_soon_threadsafe(events.put_nowait, event)
        except RuntimeError:  # the loop is closed: the server is going down
            pass

    return events, tell


async def _gather(request: Request, job: Job, events: asyncio.Queue[Event]) -> tuple[str, list[TokenInfo], str, int]:
    """Text, token infos, finish reason and number of tokens of a whole job. A client that leaves ends it."""
    text = ""
    infos: list[TokenInfo] = []
    try:
        while True:
            try:
                event = await asyncio.wait_for(events.get(), 1.0)
            except TimeoutError:
                if await request.is_disconnected():
                    raise RefusedError("The client has gone.") from None
                continue
            text += event.text
            infos.extend(event.infos)
            if event.error:
                raise RefusedError(event.error, 500)
            if event.finish:
                return text, infos, event.finish, event.tokens
    finally:
        job.cancelled = True


async def _chat_stream(
    head: dict[str, Any], weights: Weights, job: Generation, events: asyncio.Queue[Event], include_usage: bool
) -> AsyncIterator[bytes]:
    """Server-sent events of a reply. Ending early (the client has gone) ends the job."""

    def line(delta: dict[str, Any], finish: str | None = None, infos: tuple[TokenInfo, ...] = ()) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
        if job.logprobs is not None:
            choice["logprobs"] = _chat_logprobs(weights, list(infos)) if infos else None
        return b"data: " + msgspec.json.encode(head | {"object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"

    try:
        yield line({"role": "assistant", "content": ""})
        while True:
            event = await events.get()
            if event.error:
                yield b"data: " + msgspec.json.encode(protocol.error_body(event.error, 500)) + b"\n\n"
                break
            yield line({"content": event.text}, event.finish or None, event.infos)
            if event.finish:
                if include_usage:
                    last = head | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(len(job.prompt), event.tokens)}
                    yield b"data: " + msgspec.json.encode(last) + b"\n\n"
                break
        yield b"data: [DONE]\n\n"
    finally:
        job.cancelled = True


def _usage(prompt: int, drawn: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}


def _chat_logprobs(weights: Weights, infos: list[TokenInfo]) -> dict[str, Any]:
    def entry(token: int, logprob: float) -> dict[str, Any]:
        text = weights.tokenizer.decode([token], skip_special_tokens=False)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    content = [entry(info.token, info.logprob) | {"top_logprobs": [entry(*pair) for pair in info.top]} for info in infos]
    return {"content": content}


def _completion_logprobs(weights: Weights, infos: list[TokenInfo], first: list[int]) -> dict[str, Any]:
    """Parallel lists; ``first`` is the first token of an echoed prompt, which nothing predicts."""

    def text(token: int) -> str:
        decoded: str = weights.tokenizer.decode([token], skip_special_tokens=False)
        return decoded

    tokens = [text(token) for token in first] + [text(info.token) for info in infos]
    offsets, place = [], 0
    for token in tokens:
        offsets.append(place)
        place += len(token)
    nothing: list[None] = [None] * len(first)
    return {
        "tokens": tokens,
        "token_logprobs": [*nothing, *(info.logprob for info in infos)],
        "top_logprobs": [*nothing, *({text(token): value for token, value in info.top} for info in infos)],
        "text_offset": offsets,
    }


def _guarded(engine: Engine, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The same handler behind the key, its refusals turned into OpenAI's errors."""

    async def handler(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {engine.key}".encode()):
            return JSONResponse(protocol.error_body("The key is missing or wrong (Authorization: Bearer KEY).", 401), 401)
        try:
            return await answer(request)
        except RefusedError as refused:
            return JSONResponse(protocol.error_body(refused.message, refused.status), refused.status)

    return handler


def build_app(engine: Engine, plan: Path, failed: Callable[[str], None]) -> Starlette:
    """The application; loading begins when it starts. ``failed`` is called with one sentence if that goes wrong."""

    def load() -> None:
        try:
            engine.load(plan)
        except StudioError as error:
            failed(str(error))
        except Exception as error:
            failed(f"The embedded engine failed while loading ({type(error).__name__}: {' '.join(str(error).split())[:200]}).")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        threading.Thread(target=load, daemon=True, name="load").start()
        yield

    routes = [
        Route("/health", engine.health),
        Route("/v1/models", _guarded(engine, engine.models)),
        Route("/v1/chat/completions", _guarded(engine, engine.chat), methods=["POST"]),
        Route("/v1/completions", _guarded(engine, engine.completions), methods=["POST"]),
        Route("/tokenize", _guarded(engine, engine.tokenize), methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main(folder: Path) -> None:
    os.umask(0o077)
    without_bitsandbytes()
    key = os.environ.pop("STUDIO_API_KEY", "")
    if not key:
        sys.exit("ERROR: STUDIO_API_KEY is not set: the engine does not serve without a key.")
    plan = folder / "models.json"
    asked = msgspec.json.decode(plan.read_bytes())
    host, port = asked["host"], asked["port"]
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        sys.exit(f"ERROR: Port {port} cannot be used: {error.strerror}.")

    def failed(sentence: str) -> None:
        print(f"ERROR: {sentence}", file=sys.stderr, flush=True)
        os._exit(1)

    app: Any = build_app(Engine(key), plan, failed)
    if VARIABLE in os.environ:
        app = Filtered(app)
    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, lifespan="on")
    uvicorn.Server(settings).run(sockets=[listener])
    os._exit(0)  # daemon threads may be inside torch, whose exit handlers wait for them


if __name__ == "__main__":
    main(Path(sys.argv[1]))
