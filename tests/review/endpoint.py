"""A small OpenAI-compatible endpoint: real HTTP on 127.0.0.1, answers as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint:
    """``reply`` gives the text of a chat request; scored texts cost ``nats`` for each character of the model."""

    def __init__(self, reply: Callable[[dict[str, Any]], str] = lambda asked: "TIE", nats: dict[str, float] | None = None) -> None:
        self.reply = reply
        self.nats = nats or {}
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()

    def __enter__(self) -> Endpoint:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(asked)
                outer.keys.add(self.headers.get("Authorization", ""))
                answer = outer.answer(self.path, asked)
                self.send_response(200 if answer else 503)
                self.end_headers()
                try:
                    self.wfile.write(answer or b'{"error":{"message":"out of order"}}')
                except ConnectionError:
                    pass  # whoever asked has hung up

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def answer(self, path: str, asked: dict[str, Any]) -> bytes:
        if path == "/tokenize":
            text = asked.get("prompt") or "".join(m["content"] for m in asked["messages"])
            return json.dumps({"tokens": [ord(c) for c in text], "count": len(text)}).encode()
        if path == "/v1/completions":
            values = [-self.nats[asked["model"]] * (1 + (token == ord("!"))) for token in asked["prompt"]]
            return json.dumps({"choices": [{"logprobs": {"token_logprobs": [None, *values[1:]]}}]}).encode()
        said = self.reply(asked)
        if not said:
            return b""
        chunks = [{"choices": [{"delta": {"content": said}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"
