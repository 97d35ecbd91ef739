"""An engine in a process of its own that says when the first piece of a reply left: ``python tests/bench/stamping_engine.py``.

Speaks the OpenAI chat stream over HTTP on 127.0.0.1. The first line on stdout is its port; each line after that ``time.monotonic_ns``
taken just before the first piece of a reply was given to the socket: one clock for all processes of a machine. A line on stdin, JSON with
``first`` and ``then`` (pieces of text), ``count``, ``rate`` (pieces a second) and ``prefill`` (seconds from the answer's head to its first
piece), changes what the coming replies are like.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any

manner: dict[str, Any] = {"first": "Sit.", "then": " kettle", "count": 20, "rate": 100.0, "prefill": 0.0}


def event(piece: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": piece} if piece else {}, "finish_reason": finish}
    return chunk(f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n".encode())


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
        like = dict(manner)
        first, then = event(like["first"]), event(like["then"])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b": reading\n\n"))
        await writer.drain()
        await asyncio.sleep(like["prefill"])
        began = time.monotonic()
        stamp = time.monotonic_ns()
        writer.write(first)
        os.write(1, f"{stamp}\n".encode())
        for number in range(1, like["count"]):
            await asyncio.sleep(max(0.0, began + number / like["rate"] - time.monotonic()))
            writer.write(then)
            await writer.drain()
        writer.write(event("", "stop") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def obey() -> None:
    for line in sys.stdin:
        manner.update(json.loads(line))
    os._exit(0)


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    os.write(1, f"{server.sockets[0].getsockname()[1]}\n".encode())
    threading.Thread(target=obey, daemon=True).start()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
