"""Replies of checkpoints: the sides of a dealt round, all asked at once, each from its own seed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from studio.errors import StudioError
from studio.review.rounds import Round, Sampling, Side

if TYPE_CHECKING:
    from studio.engines.client import Sampler
    from studio.engines.servers import Server


def sampler_of(sampling: Sampling, seed: int | None = None) -> Sampler:
    """A review's sampling as an engine is asked for it."""
    from studio.engines.client import Sampler

    return Sampler(**msgspec.to_builtins(sampling), seed=seed)


async def write_reply(
    side: Side,
    server: Server,
    messages: list[dict[str, str]],
    sampling: Sampling,
    on_text: Callable[[str], None] = lambda text: None,
) -> str:
    """Have the side's checkpoint answer ``messages`` from the side's seed. The engine's sentence if it failed, else empty.

    The side keeps what it had and ends with ``finish == "error"`` when the engine fails.
    """
    from studio.engines.client import stream_chat

    sampler = sampler_of(sampling, side.seed)
    side.reply, side.finish, side.tokens, side.engine = "", "", 0, server.engine
    began = time.monotonic()
    error = ""
    try:
        async for delta in stream_chat(server, server.models[side.checkpoint], messages, sampler):
            if delta.text:
                side.reply += delta.text
                side.tokens += 1
                side.first = side.first or round(time.monotonic() - began, 4)
                on_text(delta.text)
            side.finish = delta.finish_reason or side.finish
            if delta.usage:
                side.tokens = delta.usage.completion_tokens
    except StudioError as failure:
        side.finish, error = "error", str(failure)
    side.seconds = round(time.monotonic() - began, 3)
    return error


async def play(
    dealt: Round,
    sampling: Sampling,
    served: dict[str, Server],
    on_text: Callable[[int, str], None] = lambda side, text: None,
    on_end: Callable[[int, str], None] = lambda side, error: None,
) -> Round:
    """The round with its replies. ``on_text`` is called with ``(side, piece)`` as they come, ``on_end`` with ``(side, error)`` when
    a side has ended: the error is empty, or the engine's one sentence.
    """

    async def one(index: int) -> None:
        side = dealt.sides[index]
        on_end(index, await write_reply(side, served[side.checkpoint], side.sent(dealt.messages), sampling, lambda text: on_text(index, text)))

    await asyncio.gather(*(one(i) for i in range(len(dealt.sides))))
    return dealt
