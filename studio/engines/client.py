"""The chat client: asks any engine over the OpenAI API and turns whatever goes wrong into one sentence.

httpx is imported when the first request is made (0.15 s).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from studio.engines import servers
from studio.engines.servers import Server
from studio.errors import StudioError
from studio.text import one_line

if TYPE_CHECKING:
    import httpx

Message = dict[str, str]


class Sampler(msgspec.Struct, frozen=True, omit_defaults=False):
    """How replies are drawn: only what every engine obeys (vLLM ignores unknown keys in silence)."""

    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 300
    seed: int | None = None
    top_k: int = 0
    """0: no limit."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """The keys of a request. Left out: what is at rest, so that an outside endpoint that knows OpenAI's keys alone accepts it."""
        rest = Sampler()
        plain = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        for name in ("seed", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"):
            if getattr(self, name) != getattr(rest, name):
                plain[name] = getattr(self, name)
        return plain | ({"stop": list(self.stop)} if self.stop else {})


class Usage(msgspec.Struct, frozen=True):
    """Counted by the engine and timed here."""

    prompt_tokens: int
    completion_tokens: int
    first_token: float
    """Seconds from asking to the first text."""
    tokens_per_second: float
    """After the first token; 0 when there was one only."""


class Delta(msgspec.Struct, frozen=True):
    """One step of a reply. The last one has the finish reason or the usage."""

    text: str = ""
    finish_reason: str = ""
    """``stop`` or ``length``."""
    usage: Usage | None = None


def _client(server: Server, read: float = 600.0) -> httpx.AsyncClient:
    import httpx

    # trust_env off: a proxy in the environment must not see what goes to this machine's own servers.
    return httpx.AsyncClient(
        base_url=server.url,
        headers={"Authorization": f"Bearer {server.key}"} if server.key else {},
        timeout=httpx.Timeout(read, connect=10.0),
        trust_env=server.engine == "external",
        # Reading the machine's certificates holds the app for 55 ms a request; without TLS nothing is verified.
        verify=server.url.startswith("https:"),
    )


@asynccontextmanager
async def _sentences(server: Server) -> AsyncIterator[None]:
    """Network errors as one sentence each."""
    import httpx

    try:
        yield
    except httpx.ConnectError as error:
        if server.engine == "external":
            raise StudioError(f"Nothing answers at {server.base_url}; check the address and that the endpoint is up.") from error
        raise StudioError(f"The server {server.name} is not running anymore; start it again.") from error
    except httpx.TimeoutException as error:
        raise StudioError(f"The server {server.name} did not answer in time; it may be busy with long prompts, or look at its log.") from error
    except httpx.HTTPError as error:
        if server.engine != "external" and servers.has_died(server):
            raise StudioError(f"The server {server.name} died in the middle of the reply; what had come is kept. {_why(server)}") from error
        raise StudioError(f"The connection to {server.name} broke off in the middle of the reply; what had come is kept.") from error


def _why(server: Server) -> str:
    log = servers.tail(server)
    if "rror" not in log:
        return "It was killed from outside, or by the kernel for its memory; start it again."
    return f"Cause: {servers.cause(server)}"


def _refusal(server: Server, status: int, body: bytes) -> StudioError:
    """An error answer as one sentence. The engines' own words are kept: they hold the numbers."""
    try:
        decoded = msgspec.json.decode(body)
        error = decoded.get("error", decoded)
        said = error.get("message", "") if isinstance(error, dict) else str(error)
    except (msgspec.DecodeError, AttributeError):
        said = body[:300].decode("utf-8", "replace")
    said = one_line(str(said))[:400]
    if status in (401, 403):
        return StudioError(f"{server.name} refuses the key; for an outside endpoint set it with: studio external key NAME")
    if status == 404:
        return StudioError(f"{server.name} does not have this model ({said}).")
    if "context" in said and ("maximum" in said or "context is" in said):
        return StudioError(f"The conversation is too long for {server.name}: {said.removesuffix('.')}; shorten it or drop old turns.")
    return StudioError(f"{server.name} refused the request ({status}): {said.removesuffix('.')}.")


async def _fitted(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    """The request in the words of an outside endpoint that has others than vLLM; asked of it only where they differ."""
    if server.engine != "external":
        return body
    from studio.engines import outside

    if not {"top_k", "min_p", "repetition_penalty"} & body.keys():
        return body
    async with _client(server) as client:
        return outside.fitted(body, await outside.kind_of(client, _v1(server)))


async def left_aside(server: Server, sampler: Sampler | None = None) -> list[str]:
    """Settings that an outside endpoint leaves aside without a word; of a ``sampler`` only those that it sets. Empty if it does not answer."""
    if server.engine != "external":
        return []
    from studio.engines import outside

    async with _client(server) as client:
        ignored = outside.IGNORED.get(await outside.kind_of(client, _v1(server)), ())
    return [name.replace("_", " ") for name in ignored if sampler is None or name in sampler.body()]


async def _post(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with _sentences(server), _client(server) as client:
        answer = await client.post(path, json=body)
        if answer.status_code != 200:
            raise _refusal(server, answer.status_code, answer.content)
        return _decoded(server, answer.content)


def _decoded(server: Server, data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StudioError(f"{server.name} answered with something that is no JSON object ({error}); check what listens there.") from error


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The lines of an answer as they come, ended by a line feed alone: httpx's own end at U+0085 and U+2028 too, which a model may say."""
    rest = b""
    async for piece in answer.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


async def stream_chat(server: Server, model: str, messages: Sequence[Message], sampler: Sampler | None = None) -> AsyncIterator[Delta]:
    """A reply as it comes: deltas with text, one with the finish reason, at last one with the usage.

    Raises StudioError if the engine refuses or dies; the text that came before stays with the caller. Leaving the iteration early
    ends the generation.
    """
    chosen = sampler or Sampler()
    body = {"model": model, "messages": list(messages), "stream": True, "stream_options": {"include_usage": True}} | chosen.body()
    asked, first, finished = time.monotonic(), 0.0, False
    body = await _fitted(server, body)
    async with _sentences(server), _client(server) as client, client.stream("POST", f"{_v1(server)}/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            raise _refusal(server, answer.status_code, await answer.aread())
        async for line in _lines(answer):
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                finished = True
                break
            chunk = _decoded(server, data)
            if "error" in chunk:
                if b"EngineCore encountered" in data and server.folder:  # vLLM's words for: the cause is in my log
                    raise StudioError(f"The server {server.name} died in the middle of the reply; what had come is kept. {_why(server)}")
                raise _refusal(server, 500, data)
            for choice in chunk.get("choices") or ():
                text = (choice.get("delta") or {}).get("content") or ""
                first = first or (time.monotonic() - asked if text else 0.0)
                finish = choice.get("finish_reason") or ""
                finished = finished or bool(finish)
                if text or finish:
                    yield Delta(text, finish)
            if counted := chunk.get("usage"):
                yield Delta(usage=_timed(counted, first, time.monotonic() - asked))
    if not finished:
        raise StudioError(f"{server.name} ended the reply without a word; what had come is kept. {_why(server) if server.folder else ''}".strip())


def _timed(counted: dict[str, Any], first: float, whole: float) -> Usage:
    drawn = int(counted.get("completion_tokens") or 0)
    rate = (drawn - 1) / (whole - first) if drawn > 1 and whole > first else 0.0
    return Usage(int(counted.get("prompt_tokens") or 0), drawn, round(first, 4), round(rate, 2))


def _v1(server: Server) -> str:
    """The API's root as it stands in ``base_url``: an outside endpoint may have another path than ``/v1``."""
    return server.base_url.rstrip("/")


class Whole(msgspec.Struct, frozen=True):
    """A reply that was waited for."""

    text: str
    finish_reason: str


async def ask_json(server: Server, model: str, messages: Sequence[Message], schema: dict[str, Any], sampler: Sampler) -> Whole:
    """One reply in the form of a JSON schema, as far as the endpoint can hold a model to one; where it refuses to, a plain reply.

    What comes must be checked all the same: some endpoints take ``response_format`` and do nothing with it.
    """
    body = {"model": model, "messages": list(messages), "stream": False} | sampler.body()
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}}
    body = await _fitted(server, body)
    path = f"{_v1(server)}/chat/completions"
    try:
        answer = await _post(server, path, body | wanted)
    except StudioError as refused:
        if "(400)" not in str(refused) and "(422)" not in str(refused):
            raise
        answer = await _post(server, path, body)
    try:
        choice = answer["choices"][0]
        return Whole(str(choice["message"].get("content") or ""), str(choice.get("finish_reason") or ""))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise StudioError(f"{server.name} answered in a form that is not the OpenAI API's; check the address.") from error


async def count_tokens(server: Server, model: str, messages: Sequence[Message]) -> int:
    """Tokens of the conversation as the model reads it, the beginning of the reply included."""
    counted = await _post(server, f"{server.url}/tokenize", {"model": model, "messages": list(messages), "add_generation_prompt": True})
    return int(counted["count"])


async def prompt_tokens(server: Server, model: str, messages: Sequence[Message]) -> list[str]:
    """The conversation as the model reads it, token by token in the tokenizer's own spelling, the beginning of the reply included.

    StudioError on an outside endpoint, which cannot be asked.
    """
    if server.engine == "external":
        raise StudioError("An outside endpoint does not say how it cuts the prompt into tokens.")
    asked = {"model": model, "messages": list(messages), "add_generation_prompt": True, "return_token_strs": True}
    answer = await _post(server, f"{server.url}/tokenize", asked)
    return [str(token) for token in answer.get("token_strs") or answer["tokens"]]


async def trim_history(server: Server, model: str, messages: Sequence[Message], budget: int) -> tuple[list[Message], int]:
    """The conversation with its oldest turns left out until it fits ``budget`` tokens, and how many messages were left out.

    The system prompt and the last message stay. What is left begins with a user's message. StudioError if even that is too long.
    For an outside endpoint, which cannot be asked, four characters count as a token.
    """
    system = [m for m in messages[:1] if m["role"] == "system"]
    turns = list(messages[len(system) :])

    async def fits(dropped: int) -> bool:
        kept = system + turns[dropped:]
        if server.engine == "external":
            return sum(len(m["content"]) + 16 for m in kept) / 4 <= budget
        return await count_tokens(server, model, kept) <= budget

    cuts = [0, *(i for i in range(1, len(turns)) if turns[i]["role"] == "user")]
    if turns and turns[-1]["role"] != "user":
        cuts = cuts or [0]
    low, high = 0, len(cuts)  # the first cut that fits; each further one is shorter
    while low < high:
        middle = (low + high) // 2
        if await fits(cuts[middle]):
            high = middle
        else:
            low = middle + 1
    if low == len(cuts):
        raise StudioError(f"The last message alone is longer than the {budget} tokens there are; shorten it, or ask for a shorter reply.")
    return system + turns[cuts[low] :], cuts[low]


async def score(server: Server, model: str, messages: Sequence[Message], continuation: str) -> float:
    """Log-probability (natural, summed over its tokens) of ``continuation`` as the assistant's reply, or its beginning, to ``messages``.

    Works on the embedded engine and on vLLM; StudioError on an outside endpoint, which cannot tokenize for us.
    """
    return (await score_tokens(server, model, messages, continuation))[0]


async def score_tokens(server: Server, model: str, messages: Sequence[Message], continuation: str) -> tuple[float, int]:
    """As ``score``, with the number of tokens that were scored."""
    if server.filtered:
        raise StudioError(f"{server.name} filters what it says and cannot score a text; start one that does not: studio serve {model}")
    if server.engine == "external":
        raise StudioError("An outside endpoint cannot score a fixed text; serve the checkpoint with the embedded engine or vLLM.")
    before = await _post(server, f"{server.url}/tokenize", {"model": model, "messages": list(messages), "add_generation_prompt": True})
    after = await _post(server, f"{server.url}/tokenize", {"model": model, "prompt": continuation, "add_special_tokens": False})
    if not after["tokens"]:
        raise StudioError("There is nothing to score: the continuation is empty.")
    values = await score_ids(server, model, [*before["tokens"], *after["tokens"]])
    return float(sum(value or 0.0 for value in values[len(before["tokens"]) :])), len(after["tokens"])


async def score_ids(server: Server, model: str, ids: Sequence[int]) -> list[float | None]:
    """Log-probability (natural) of each token after those before it; None for the first, which nothing predicts."""
    body = {"model": model, "prompt": list(ids), "echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0.0}
    answer = await _post(server, f"{_v1(server)}/completions", body)
    values: list[float | None] = answer["choices"][0]["logprobs"]["token_logprobs"][: len(ids)]
    return values
