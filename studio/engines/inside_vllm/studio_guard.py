"""Runs inside vLLM's server (``--middleware``): nothing but ``/health`` is answered without the key.

vLLM 0.32's own check covers ``/v1`` and three more prefixes; ``/invocations`` answered a chat and ``/tokenize`` a tokenization without it.
"""

import hmac
import os


class Guard:
    """ASGI middleware that asks every request for ``Authorization: Bearer $VLLM_API_KEY``."""

    def __init__(self, app):  # type: ignore[no-untyped-def]
        self.app = app
        self.wanted = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] == "http" and scope["path"] != "/health":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self.wanted):
                body = b'{"error":{"message":"The key is missing or wrong.","type":"authentication_error","code":401}}'
                await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"application/json")]})
                await send({"type": "http.response.body", "body": body})
                return
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)
