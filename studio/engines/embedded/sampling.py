"""From logits to a token: penalties, temperature, min-p, top-k, top-p, and a draw from the request's own generator.

The order is vLLM's. The draw is one uniform number against the cumulated probabilities, on the CPU: it depends on the seed, the
logits and nothing else.
"""

from __future__ import annotations

import torch

from studio.engines.embedded.protocol import Sampling

GREEDY = 1e-5
"""Below this temperature the likeliest token is taken."""
FIRST_LOOK = 1024
"""Tokens that are sorted at first for top-p; they nearly always hold its mass, and sorting 250,000 takes 10 ms."""


class Draw:
    """The sampler of one reply: its settings, its generator, and which tokens have been said."""

    def __init__(self, asked: Sampling, prompt: list[int], seed: int) -> None:
        self.asked = asked
        self.generator = torch.Generator(device="cpu").manual_seed(seed % 2**63)
        self.seen = set(prompt)
        self.said: dict[int, int] = {}

    def __call__(self, logits: torch.Tensor, forbidden: frozenset[int] = frozenset()) -> int:
        """The next token for a row of raw logits (float32, CPU, changed in place)."""
        self._penalize(logits)
        if forbidden:
            logits[list(forbidden)] = float("-inf")
        token = self._pick(logits)
        self.seen.add(token)
        self.said[token] = self.said.get(token, 0) + 1
        return token

    def _penalize(self, logits: torch.Tensor) -> None:
        asked = self.asked
        if asked.repetition_penalty != 1.0 and self.seen:
            seen = torch.tensor(sorted(self.seen))
            values = logits[seen]
            logits[seen] = torch.where(values > 0, values / asked.repetition_penalty, values * asked.repetition_penalty)
        if self.said and (asked.presence_penalty or asked.frequency_penalty):
            said = torch.tensor(list(self.said))
            times = torch.tensor(list(self.said.values()), dtype=logits.dtype)
            logits[said] -= asked.presence_penalty + asked.frequency_penalty * times

    def _pick(self, logits: torch.Tensor) -> int:
        asked = self.asked
        if asked.temperature < GREEDY:
            return int(logits.argmax())
        probabilities = torch.softmax(logits.double() / asked.temperature, dim=-1)
        if asked.min_p:
            probabilities[probabilities < asked.min_p * probabilities.max()] = 0.0
        limit = asked.top_k if 0 < asked.top_k < len(probabilities) else len(probabilities)
        if asked.top_p >= 1.0 and limit == len(probabilities):
            return self._at(probabilities.cumsum(0), None)
        ranked, order = probabilities.topk(min(limit, FIRST_LOOK))
        if len(ranked) < limit and float(ranked.sum() / probabilities.sum()) < asked.top_p:
            ranked, order = probabilities.topk(limit)
            mass = ranked.sum()
        else:
            mass = ranked.sum() if len(ranked) == limit else probabilities.sum()
        if asked.top_p < 1.0:
            # A token stays if those before it do not yet hold the share: the first always does.
            before = ranked.cumsum(0) - ranked
            kept = max(1, int((before < asked.top_p * mass).sum()))
            ranked = ranked[:kept]
        return self._at(ranked.cumsum(0), order)

    def _at(self, cumulated: torch.Tensor, order: torch.Tensor | None) -> int:
        """The token under a uniform draw; ``order`` maps ranks to tokens."""
        uniform = torch.rand((), generator=self.generator, dtype=torch.float64) * cumulated[-1]
        place = min(int(torch.searchsorted(cumulated, uniform, right=True)), len(cumulated) - 1)
        return int(order[place]) if order is not None else place


def log_probability(logits: torch.Tensor, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """Log-probability of a token under raw logits, and the ``top`` likeliest tokens with theirs."""
    logs = torch.log_softmax(logits.float(), dim=-1)
    best = logs.topk(min(top, len(logs))) if top else None
    likeliest = list(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else []
    return float(logs[token]), likeliest
