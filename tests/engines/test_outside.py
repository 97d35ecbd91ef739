"""Scripted endpoints that name themselves as llama.cpp, Ollama and vLLM do: what of the sampler reaches each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from studio.engines import client, servers
from studio.engines.client import Sampler
from studio.errors import StudioError

SAMPLER = Sampler(top_k=40, min_p=0.05, repetition_penalty=1.1, presence_penalty=0.5, seed=3)


class Endpoint(BaseHTTPRequestHandler):
    owner = ""
    said = "Hi"
    got: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._answer(json.dumps({"data": [{"id": "m", "owned_by": self.owner}]} if self.owner else []).encode())

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        chunk = {"choices": [{"index": 0, "delta": {"content": self.said}, "finish_reason": "stop"}]}
        self._answer(f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\ndata: [DONE]\r\n\r\n".encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []
    handler = type("Handler", (Endpoint,), {"owner": request.param, "got": got})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", got
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("endpoint", "sent"),
    [
        ("llamacpp", {"top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1}),
        ("library", {}),
        ("vllm", {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}),
        ("", {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}),
    ],
    indirect=["endpoint"],
)
async def test_each_gets_what_it_obeys(endpoint: tuple[str, list[dict[str, Any]]], sent: dict[str, float]) -> None:
    url, got = endpoint
    there = servers.external(url, {"m": "m"})
    text = "".join([d.text async for d in client.stream_chat(there, "m", [{"role": "user", "content": "x"}], SAMPLER)])
    assert text == "Hi"
    special = {name: got[0][name] for name in ("top_k", "min_p", "repetition_penalty", "repeat_penalty") if name in got[0]}
    assert special == sent and got[0]["presence_penalty"] == 0.5 and got[0]["seed"] == 3


@pytest.mark.parametrize("endpoint", ["vllm"], indirect=True)
async def test_what_other_readers_take_for_the_end_of_a_line_is_text(
    endpoint: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "One\u2028two\u0085three\u2029\x7ffour"
    monkeypatch.setattr(Endpoint, "said", said)
    there = servers.external(endpoint[0], {"m": "m"})
    assert "".join([d.text async for d in client.stream_chat(there, "m", [{"role": "user", "content": "x"}])]) == said


@pytest.mark.parametrize("endpoint", ["vllm"], indirect=True)
async def test_a_last_line_without_its_end_is_read(endpoint: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    last = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}'
    monkeypatch.setattr(Endpoint, "do_POST", lambda self: self._answer(last))
    there = servers.external(endpoint[0], {"m": "m"})
    assert [d.text async for d in client.stream_chat(there, "m", [{"role": "user", "content": "x"}])] == ["Hi"]


@pytest.mark.parametrize(("endpoint", "aside"), [("library", ["min p"]), ("llamacpp", []), ("vllm", []), ("", [])], indirect=["endpoint"])
async def test_what_an_endpoint_leaves_aside_is_known_before_it_is_asked(endpoint: tuple[str, list[dict[str, Any]]], aside: list[str]) -> None:
    there = servers.external(endpoint[0], {"m": "m"})
    assert await client.left_aside(there, Sampler(min_p=0.1, temperature=2.0)) == aside and not endpoint[1]
    assert await client.left_aside(there) == (["top k", "min p", "repetition penalty"] if aside else [])


@pytest.mark.parametrize("endpoint", ["vllm"], indirect=True)
async def test_an_answer_that_is_no_json_is_one_sentence(endpoint: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "do_POST", lambda self: self._answer(b"data: [1, 2\n\n"))
    there = servers.external(endpoint[0], {"m": "m"})
    with pytest.raises(StudioError, match="no JSON object"):
        _ = [d async for d in client.stream_chat(there, "m", [{"role": "user", "content": "x"}])]
