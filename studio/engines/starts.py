"""What vLLM said of its memory when it was last up with the same weights: better than what can be reckoned from a config.

In ``starts.json`` of the studio's home, by the folder of the weights. Rebuilt by the next start if it is lost.
"""

from __future__ import annotations

import msgspec

from studio.files import lock, write_json
from studio.home import home


class Said(msgspec.Struct, frozen=True):
    """One start's own report."""

    each: float
    """Bytes that a token of a conversation takes."""
    working: int = 0
    """Bytes on the GPU beside weights, adapters and conversations; 0 where it was no GPU."""


def _all() -> dict[str, Said]:
    try:
        return msgspec.json.decode((home() / "starts.json").read_bytes(), type=dict[str, Said])
    except (OSError, msgspec.DecodeError):
        return {}


def last(weights: str, kind: str) -> Said | None:
    """The newest report for the weights in a folder on this kind of machine."""
    return _all().get(f"{kind} {weights}")


def learn(weights: str, kind: str, available: int, tokens: int, budget: int) -> None:
    """Keep a report: ``available`` bytes for conversations were enough for ``tokens``; ``budget`` is what weights and adapters left over."""
    if available <= 0 or tokens <= 0:
        return
    with lock(home() / "locks" / "starts"):
        said = Said(available / tokens, max(0, budget - available) if kind == "cuda" else 0)
        write_json(home() / "starts.json", _all() | {f"{kind} {weights}": said})
