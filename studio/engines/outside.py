"""Outside endpoints that are no vLLM: what they call a sampling setting, and what they leave aside without a word.

Read in the engines' own sources (llama.cpp ``tools/server/server-schema.cpp``, Ollama ``openai/openai.go``, autumn 2026).
"""

from __future__ import annotations

from typing import Any, Literal

import httpx

Kind = Literal["vllm", "llama.cpp", "ollama", ""]
"""Empty: not known, everything is sent as vLLM calls it."""

_OWNERS: dict[str, Kind] = {"vllm": "vllm", "llamacpp": "llama.cpp", "library": "ollama"}
"""What stands as the owner in an engine's list of models."""

RENAMED: dict[str, dict[str, str]] = {"llama.cpp": {"repetition_penalty": "repeat_penalty"}}
IGNORED: dict[str, tuple[str, ...]] = {"ollama": ("top_k", "min_p", "repetition_penalty")}
"""Ollama's own API knows them, its OpenAI one does not: they can be set in the Modelfile (PARAMETER) alone."""

_known: dict[str, Kind] = {}


async def kind_of(client: httpx.AsyncClient, root: str) -> Kind:
    """Which engine answers below ``root`` (up to and with its ``/v1``), by its list of models; asked once a process."""
    if root not in _known:
        try:
            answer = await client.get(f"{root}/models", timeout=5.0)
            owner = str(answer.json()["data"][0].get("owned_by", "")) if answer.status_code == 200 else ""
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError, AttributeError):
            return ""
        _known[root] = _OWNERS.get(owner, "")
    return _known[root]


def fitted(body: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """A request in the engine's own words, without what it would leave aside."""
    names = RENAMED.get(kind, {})
    return {names.get(name, name): value for name, value in body.items() if name not in IGNORED.get(kind, ())}
