"""What part of a conversation the checkpoints that are asked can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from studio.review.rounds import Sampling

if TYPE_CHECKING:
    from studio.engines.servers import Server


async def fitting(
    served: dict[str, Server], sampling: Sampling, names: Sequence[str], messages: list[dict[str, str]]
) -> tuple[list[dict[str, str]], int]:
    """The conversation as it fits every one of these checkpoints, and how many of its oldest messages were left out.

    All sides read the same: the one with the least room decides.
    """
    from studio.engines.client import trim_history

    shortest, most = messages, 0
    if sum(m["role"] != "system" for m in messages) > 1:
        for name in names:
            server = served[name]
            if server.context:
                kept, dropped = await trim_history(server, server.models[name], messages, server.context - sampling.max_tokens)
                if dropped > most:
                    shortest, most = kept, dropped
    return shortest, most
