"""The arithmetic of a training, fixed before it starts: how rows go through the model, how many steps they make, what falls on which."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from studio.checkpoints.base import context_length
from studio.recipes.schema import Cpt, Sft, Training
from studio.stages.model import attention, hybrid_kernels, is_hybrid
from studio.stages.story import Story


class Layout(NamedTuple):
    """How rows go through the model."""

    length: int
    packed: bool
    micro_batch: int
    devices: int = 1


class Plan(NamedTuple):
    """The arithmetic of a training, fixed before it starts."""

    rows: int
    """Sequences an epoch, after packing."""
    tokens: int
    """Tokens an epoch."""
    batch: int
    micro_batch: int
    epochs: float
    packed: bool
    evals_per_epoch: int
    saves_per_epoch: int
    devices: int = 1

    @property
    def accumulation(self) -> int:
        return self.batch // (self.micro_batch * self.devices)

    @property
    def steps_per_epoch(self) -> int:
        return max(1, ceil(ceil(ceil(self.rows / self.micro_batch) / self.devices) / self.accumulation))

    @property
    def steps(self) -> int:
        return max(1, ceil(self.epochs * self.steps_per_epoch))

    def facts(self) -> dict[str, Any]:
        """For the ``plan`` event."""
        return {
            "steps": self.steps,
            "epochs": self.epochs,
            "batch": self.batch,
            "micro_batch": self.micro_batch,
            "sequences": self.rows,
            "packed": self.packed,
            "tokens_per_epoch": self.tokens,
            **({"devices": self.devices} if self.devices > 1 else {}),
        }

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a trainer state to fit."""
        known = self._asdict()
        if self.devices == 1:
            del known["devices"]
        return known | {"steps": self.steps}

    def epoch_ends(self) -> dict[int, int]:
        """Number of the epoch by its last step; a last, fractional epoch counts as one."""
        return {min(number * self.steps_per_epoch, self.steps): number for number in range(1, ceil(self.epochs) + 1)}

    def points(self, per_epoch: int) -> set[int]:
        """Steps that fall ``per_epoch`` times into each epoch, its end always among them."""
        inner = {round((epoch + part / per_epoch) * self.steps_per_epoch) for epoch in range(ceil(self.epochs)) for part in range(1, per_epoch + 1)}
        return {step for step in inner if 0 < step <= self.steps} | set(self.epoch_ends())


def make_plan(recipe: Training, layout: Layout, rows: int, tokens: int) -> Plan:
    return Plan(
        rows, tokens, recipe.batch, layout.micro_batch, recipe.epochs, layout.packed, recipe.evals_per_epoch, recipe.saves_per_epoch, layout.devices
    )


def readable_length(recipe: Training, weights: Path, story: Story) -> int:
    """The recipe's length, or what the base can read at once if that is less; says so then."""
    length = min(recipe.length, context_length(weights))
    if length < recipe.length:
        story.warning(f"length is {length}, as many tokens as this base can read at once, not {recipe.length}.")
    return length


def choose_layout(recipe: Cpt | Sft, weights: Path, story: Story) -> Layout:
    """How the rows go through this model on this machine. Says aloud where the recipe is not followed."""
    length = readable_length(recipe, weights, story)
    packed = recipe.packing
    if packed and is_hybrid(weights) and not hybrid_kernels():
        packed = False
        story.warning(
            "Packing is off: this base carries state from token to token, and without flash-linear-attention and causal-conv1d on a GPU "
            "packed texts would leak into each other. Training goes on unpacked, several times slower."
        )
    micro = even_micro_batch(recipe.batch // recipe.devices, recipe.micro_batch)
    if packed and micro > 1 and attention(recipe.precision != "fp32") == "sdpa":
        # The packed micro-batch is one long row; without a kernel for it attention costs its whole square (16 x 512: 5 times slower).
        micro = 1
        story.warning("micro_batch is 1: flash-attn is not installed, and packed sequences side by side would only cost time and memory.")
    return Layout(length, packed, micro, recipe.devices)


def warmup_steps(recipe: Training, plan: Plan) -> int:
    return int(recipe.warmup * plan.steps)


def even_micro_batch(batch: int, wanted: int) -> int:
    """The largest number up to ``wanted`` that divides ``batch``: every step then has exactly ``batch`` sequences."""
    return max(number for number in range(1, min(batch, wanted) + 1) if batch % number == 0)
