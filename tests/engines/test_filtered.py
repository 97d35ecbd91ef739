"""A server that filters, asked over HTTP: a scripted one for every form of an answer, then the embedded engine as it is started."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from studio.checkpoints.store import get_checkpoint
from studio.cli.serving import described
from studio.engines import client, lines, servers
from studio.engines.client import Sampler
from studio.engines.filtered import RULES_FILE, Filtered, counts, said
from studio.engines.filtering import Rules
from studio.engines.servers import Server
from studio.engines.sharing import ensure_served, served_by
from studio.errors import StudioError
from studio.files import write_json
from studio.persona.folder import Persona
from tests.engines.engine_family import BY_HEART, QUESTION, chosen

TEXT = "Write to anna.kovacs@gmail.com, not to the lamp keeper; call +36 30 123 4567 or hush now"
CLEAN = "Write to [mail], not to the lamp keeper; call [phone] or […] now"
TOKENS = [TEXT[i : i + 3] for i in range(0, len(TEXT), 3)]


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "x", "model": "m", "token_ids": [1, 2], **fields}).encode() + b"\n\n"


async def chat(request: Request) -> Response:
    asked = await request.json()
    if not asked.get("stream"):
        message = {"role": "assistant", "content": TEXT, "reasoning": TEXT, "tool_calls": [{"function": {"arguments": TEXT}}]}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": TEXT}}
        return JSONResponse({"id": "x", "choices": [choice], "usage": {"completion_tokens": 9}, "prompt_text": TEXT})

    async def stream() -> Any:
        yield event(choices=[{"index": n, "delta": {"role": "assistant", "content": ""}} for n in (0, 1)])
        for token in TOKENS:
            yield event(choices=[{"index": 0, "delta": {"reasoning": token}}])
        yield b": ping\n\n"
        for token in TOKENS:
            both = event(choices=[{"index": 0, "delta": {"content": token}, "logprobs": {"content": [token]}}]) + event(
                choices=[{"index": 1, "delta": {"content": token}}]
            )
            yield both[:40]  # the network cuts where it likes
            yield both[40:]
        if asked.get("user") != "breaks off":
            yield event(choices=[{"index": n, "delta": {}, "finish_reason": "stop"} for n in (0, 1)])
            yield event(choices=[], usage={"completion_tokens": 9})
            yield b"data: [DONE]\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


async def completions(request: Request) -> Response:
    async def stream() -> Any:
        for number, token in enumerate(TOKENS):
            yield event(choices=[{"index": 0, "text": token, "finish_reason": "length" if number == len(TOKENS) - 1 else None}])
        yield b"data: [DONE]\n\n"

    if (await request.json()).get("stream"):
        return StreamingResponse(stream(), media_type="text/event-stream")
    return JSONResponse({"choices": [{"index": 0, "text": TEXT, "finish_reason": "length"}]})


async def anything(request: Request) -> Response:
    return JSONResponse({"output": TEXT})


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("filtered")
    write_json(folder / RULES_FILE, Rules(words=["hush"], regions=["HU"]))
    routes = [Route("/v1/chat/completions", chat, methods=["POST"]), Route("/v1/completions", completions, methods=["POST"])]
    routes += [Route(path, anything, methods=["GET", "POST"]) for path in ("/v1/responses", "/invocations", "/v1/models")]
    application: Any = Starlette(routes=routes)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(Filtered(application, folder), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", folder
        server.should_exit = True
        thread.join()


def events(url: str, path: str, **asked: Any) -> list[dict[str, Any]]:
    with httpx.stream("POST", url + path, json={"stream": True, **asked}, trust_env=False) as answer:
        assert answer.status_code == 200
        lines = [line[5:].strip() for line in answer.iter_lines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def together(found: list[dict[str, Any]], field: str, index: int = 0) -> str:
    picked = [choice for e in found for choice in e["choices"] if choice["index"] == index]
    return "".join((choice if field == "text" else choice.get("delta", {})).get(field) or "" for choice in picked)


def test_what_streams_is_filtered_field_by_field(scripted: tuple[str, Path]) -> None:
    url, folder = scripted
    found = events(url, "/v1/chat/completions")
    assert together(found, "content") == together(found, "content", 1) == together(found, "reasoning") == CLEAN
    assert len([e for e in found for c in e["choices"] if c.get("delta", {}).get("content")]) > 10, "it still streams"
    assert "kovacs" not in json.dumps(found) and "token_ids" not in json.dumps(found)
    ends = [choice["finish_reason"] for e in found for choice in e["choices"] if choice.get("finish_reason")]
    assert ends == ["stop", "stop"] and found[-1]["usage"] == {"completion_tokens": 9}
    thought = next(i for i, e in enumerate(found) for c in e["choices"] if c.get("delta", {}).get("content"))
    assert together(found[: thought + 1], "reasoning") == CLEAN, "no thought comes after she has begun to speak"
    assert counts(folder)["mail"] >= 3 and counts(folder)["replies"] >= 1
    assert TEXT[9:30] not in (folder / "filtered.json").read_text() and "× mail" in said(counts(folder))


def test_a_reply_that_breaks_off_gives_what_was_held_back(scripted: tuple[str, Path]) -> None:
    assert together(events(scripted[0], "/v1/chat/completions", user="breaks off"), "content") == CLEAN


def test_a_plain_text_and_whole_answers(scripted: tuple[str, Path]) -> None:
    url, _ = scripted
    assert together(events(url, "/v1/completions"), "text") == CLEAN
    assert httpx.post(url + "/v1/completions", json={}, trust_env=False).json()["choices"][0]["text"] == CLEAN
    whole = httpx.post(url + "/v1/chat/completions", json={"logprobs": False}, trust_env=False).json()
    assert whole == {
        "id": "x",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": CLEAN, "reasoning": CLEAN}}],
        "usage": {"completion_tokens": 9},
    }


@pytest.mark.parametrize("body", [b'{"logprobs": true}', b'{"logprobs": 0}', b'{"tools": [{}]}', b'{"prompt_logprobs": 1}', b"[]", b"{"])
def test_what_would_show_it_all_the_same_is_refused(scripted: tuple[str, Path], body: bytes) -> None:
    answer = httpx.post(scripted[0] + "/v1/chat/completions", content=body, trust_env=False)
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_addresses_that_are_not_known_are_closed(scripted: tuple[str, Path]) -> None:
    for path in ("/v1/responses", "/invocations", "/v1/chat/completions/"):
        assert httpx.post(scripted[0] + path, json={}, trust_env=False).status_code == 400
    assert httpx.get(scripted[0] + "/v1/models", trust_env=False).status_code == 200


@pytest.fixture(scope="module")
def filtering(family: Persona) -> Iterator[Server]:
    (family.root / "filter.toml").write_text('words = ["lamp is", "kettle"]\n')
    found, started = ensure_served(family, chosen(family, "cpt-1"), "embedded", filtered=True, host="0.0.0.0")
    yield found["cpt-1"]
    for server in started:
        servers.stop(server)
    (family.root / "filter.toml").unlink()


async def test_the_embedded_engine_filters_and_says_so(filtering: Server) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    deltas = [d async for d in client.stream_chat(filtering, "cpt-1", asked, Sampler(temperature=0, max_tokens=300))]
    assert "".join(d.text for d in deltas) == BY_HEART.replace("lamp is", "[…]") != BY_HEART
    assert deltas[-1].usage and len([d for d in deltas if d.text]) > 3
    shown = described(filtering)
    assert shown["filtered"] and shown["taken_out"] == {"word": 1, "replies": 1}
    with pytest.raises(StudioError, match="filters what it says and cannot score"):
        await client.score(filtering, "cpt-1", asked, "x")


def test_it_listens_where_it_was_asked_to_and_wants_its_key_there(filtering: Server, family: Persona) -> None:
    """127.0.0.2 is this machine too, and answers only where every address is listened on."""
    other = f"http://127.0.0.2:{filtering.port}/v1/models"
    assert httpx.get(other, trust_env=False).status_code == 401
    assert httpx.get(other, headers={"Authorization": f"Bearer {filtering.key}"}, trust_env=False).status_code == 200
    assert "unencrypted" in dict(lines.lines(filtering, "cpt-1"))["from another machine"]
    with pytest.raises(StudioError, match=r"cpt-1 is served on 0\.0\.0\.0 already; stop it first"):
        ensure_served(family, chosen(family, "cpt-1"), "embedded", filtered=True, host="127.0.0.1")
    with pytest.raises(StudioError, match="is no address of this machine"):
        ensure_served(family, chosen(family, "sft-1"), "embedded", filtered=True, host="192.0.2.1")


def test_reviews_and_probes_never_meet_it(filtering: Server, family: Persona) -> None:
    assert filtering.name in [s.name for s in servers.running(family)]
    assert filtering.name not in [s.name for s in served_by(family, ["cpt-1"]).values()]
    assert served_by(family, ["cpt-1"], filtered=True)["cpt-1"].name == filtering.name
    found, started = ensure_served(family, [get_checkpoint(family, "cpt-1")], "embedded")
    try:
        assert not found["cpt-1"].filtered
    finally:
        for server in started:
            servers.stop(server)
