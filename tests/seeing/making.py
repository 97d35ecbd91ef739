"""Events as a training writes them, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp
from typing import Any

Event = dict[str, Any]


def falling(step: int) -> float:
    """A loss as a good training has it: from 4 towards 2, with a little noise."""
    return 2 + 2 * exp(-step / 40) + 0.05 * ((step * 37) % 11 - 5) / 5


def story(
    steps: int = 100,
    loss: Callable[[int], float] = falling,
    val: Sequence[tuple[int, float, float | None]] = ((0, 4.1, None), (50, 2.7, 2.65), (100, 2.3, 2.25)),
    norm: Callable[[int], float] = lambda step: 0.8,
    data: Event | None = None,
    plan: Event | None = None,
    more: Sequence[Event] = (),
) -> list[Event]:
    counts = {"train_rows": 500, "val_rows": 50, "tokens": 50_000, "kept_tokens": 50_000, "loss_tokens": 20_000, "truncated": 0, "dropped": {}}
    found: list[Event] = [
        {"kind": "start", "t": 0.0},
        {"kind": "data", "t": 1.0, **counts, **(data or {})},
        {"kind": "plan", "t": 1.0, "steps": steps, "warmup_steps": 3, "max_grad_norm": 1.0, "vocabulary": 4096, **(plan or {})},
    ]
    evals = {step: (v, t) for step, v, t in val}
    for step in range(steps + 1):
        if step:
            found.append({"kind": "step", "t": 1.0 + step, "step": step, "loss": loss(step), "grad_norm": norm(step), "tokens_per_s": 100.0})
        if step in evals:
            v, t = evals[step]
            gap = (v - t) / t if t else None
            found.append({"kind": "eval", "t": 1.0 + step, "step": step, "val_loss": v, "train_loss": t, "gap": gap})
    return [*found, *more]
