"""Replies for a dealt round: both sides asked at once, each from its own seed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.rounds import Review, Round

if TYPE_CHECKING:
    from studio.engines.servers import Server


async def play(
    persona: Persona,
    review: Review,
    dealt: Round,
    served: dict[str, Server],
    on_text: Callable[[int, str], None] = lambda side, text: None,
    on_end: Callable[[int, str], None] = lambda side, error: None,
) -> Round:
    """The round with its replies. ``on_text`` is called with ``(side, piece)`` as they come, ``on_end`` with ``(side, error)`` when
    a side has ended: the error is empty, or the engine's one sentence.

    A side whose engine fails keeps what it had and ends with ``finish == "error"``.
    """
    from studio.engines.client import Sampler, stream_chat

    async def one(index: int) -> None:
        side = dealt.sides[index]
        server = served[side.checkpoint]
        sampler = Sampler(**msgspec.to_builtins(review.sampling), seed=dealt.seed + index)
        began = time.monotonic()
        error = ""
        try:
            async for delta in stream_chat(server, server.models[side.checkpoint], dealt.messages, sampler):
                side.reply += delta.text
                if delta.text:
                    side.tokens += 1
                    on_text(index, delta.text)
                side.finish = delta.finish_reason or side.finish
        except StudioError as failure:
            side.finish, error = "error", str(failure)
        side.seconds = round(time.monotonic() - began, 3)
        on_end(index, error)

    await asyncio.gather(*(one(i) for i in range(len(dealt.sides))))
    return dealt
