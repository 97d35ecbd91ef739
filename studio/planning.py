"""Before a training: what of the memory goes where, the nearest change that makes it fit, and recipes for cards of a given size.

Everything is computed from the headers of the weights and the recipe; nothing is loaded. What each part is made of stands beside it,
in bytes a parameter or a token.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from studio.checkpoints.base import model_config, shapes
from studio.recipes.schema import Cpt, Preference, Sft

Trainable = Cpt | Sft | Preference

CARDS = (12, 16, 24, 32, 48, 96, 141)
"""Sizes of cards that presets are made for, in GB as they are sold."""

SPARE = 0.06
"""Share of a card's memory left for pieces too small to use (PyTorch's allocator) and whatever else holds some."""
SPARE_CPU = 0.02
"""The same in main memory."""
CONTEXT = 600_000_000
"""Bytes that CUDA and the libraries' kernels take once loaded."""
LIBRARIES = 510_000_000
"""Bytes of a process without a GPU once torch, transformers, TRL and PEFT are loaded (measured: 509 MB)."""
WORD = 2000
"""Bytes that an entry of the vocabulary takes in a tokenizer and the copy the rows are read with (measured on Gemma's 262,144: 1,950)."""
NF4 = 0.516
"""Bytes a weight of 4 bits takes, its scales (quantized themselves) included: 0.5 + 0.127 / 8 (Dettmers et al. 2023, QLoRA)."""
HEAD_TOKENS, HEAD_WORDS = 4096, 8192
"""The head is computed in tiles of so many tokens and entries of the vocabulary (TRL 1.16)."""
STASHED = 5
"""Tensors on their way to main memory that are still on the card, where activations are kept there (TRL 1.16)."""
WORKED = 11
"""Without a GPU: times of what a layer remembers that passing through it has besides, glibc keeping what is freed (measured)."""
TILES, TILES_KEPT, KEPT = 9, 16, 32 << 20
"""Without a GPU: so many of these tiles at a time, in float32 (measured). Of blocks below 32 MB glibc keeps what is freed: then so many."""

OPTIMIZER_BYTES = {"adamw": 8.0, "adamw-8bit": 2.03, "paged-adamw": 8.0, "paged-adamw-8bit": 2.03, "adafactor": 0.02, "lion-8bit": 1.02}
"""Bytes a trained parameter takes in the optimizer, beside float32 weights."""


class Shape(msgspec.Struct, frozen=True):
    """What planning must know of a model."""

    parameters: int
    linear: int
    """Of them in linear layers an adapter sits on."""
    widths: int
    """Sum over these layers of inputs and outputs: an adapter of rank r has r times as many parameters."""
    layers: int
    hidden: int
    inner: int
    attended: int
    """Width of queries, keys and values of a layer together."""
    vocabulary: int
    tied: bool = True
    """Whether the head is the embedding itself."""
    beside: int = 0
    """Parameters for images and sound: held, never learning."""


BESIDE = ("visual", "vision", "audio", "multi_modal")
"""In the names of weights that no text passes."""


def shape_of(weights: Path) -> Shape:
    """From ``config.json`` and the headers of the safetensors files of a folder."""
    config = model_config(weights)

    def number(key: str, default: int = 0) -> int:
        value = config.get(key)
        return value if isinstance(value, int) else default

    parameters = linear = widths = beside = 0
    tied = True
    for name, shape in shapes(weights):
        parameters += prod(shape)
        if any(part in name for part in BESIDE):
            beside += prod(shape)
            continue
        tied = tied and not name.endswith("lm_head.weight")
        apart = any(part in name for part in ("embed", "lm_head", "mtp."))
        if len(shape) == 2 and not apart and name.endswith(".weight"):
            linear += prod(shape)
            widths += sum(shape)
    heads = number("num_attention_heads", 1)
    head = number("head_dim", number("hidden_size") // max(heads, 1))
    return Shape(
        parameters=parameters,
        linear=linear,
        widths=widths,
        layers=number("num_hidden_layers"),
        hidden=number("hidden_size"),
        inner=number("intermediate_size"),
        attended=(heads + 2 * number("num_key_value_heads", heads)) * head,
        vocabulary=number("vocab_size"),
        tied=tied,
        beside=beside,
    )


def trained(recipe: Trainable, shape: Shape) -> int:
    """Parameters that learn."""
    return shape.parameters - shape.beside if recipe.method == "full" else recipe.rank * shape.widths


def in_float32(recipe: Trainable, shape: Shape, there: int, gpu: bool) -> bool:
    """Whether the weights are float32 while all of them learn, or lie under an adapter; as the stage decides it."""
    if recipe.precision != "auto" or recipe.method == "qlora":
        return recipe.precision == "fp32"
    if recipe.method == "lora":
        return not gpu
    return not gpu or recipe.optimizer != "auto" or not there or shape.parameters * 16 <= there * 0.85


def memory(recipe: Trainable, shape: Shape, there: int, gpu: bool) -> dict[str, int]:
    """Bytes at the highest point of a step, by part. ``there``: bytes of the card (0: not known), by which ``auto`` decides."""
    learned, whole = trained(recipe, shape), in_float32(recipe, shape, there, gpu)
    kept = 4 if whole else 2
    if recipe.method == "full":
        weights, gradients = shape.parameters * kept, learned * kept
        stochastic, kahan = recipe.precision == "bf16-stochastic", not whole and recipe.precision in ("auto", "bf16-kahan")
        each = 6.0 if kahan else 2.0 if stochastic else OPTIMIZER_BYTES.get(recipe.optimizer, 8.0) * (0.5 if not whole else 1)
    else:
        rest = shape.parameters - shape.linear
        under = shape.linear * NF4 + rest * kept if recipe.method == "qlora" else shape.parameters * kept
        weights, gradients, each = int(under) + learned * 4, learned * 4, OPTIMIZER_BYTES.get(recipe.optimizer, 8.0)
    copies = 2 if isinstance(recipe, Preference) else 1
    tokens = recipe.micro_batch * recipe.length * copies
    bytes_each = 2 if gpu else 4
    # What a layer remembers for its gradient: its two norms and their inputs, queries, keys and values before and after their norm and
    # rotation, and the gate, its activation, the values and their product (as Korthikanti et al. 2022 count, for gated layers).
    layer = tokens * (10 * shape.hidden + 4 * shape.attended + 4 * shape.inner) * bytes_each
    between = tokens * shape.hidden * shape.layers * bytes_each
    kept_back = between if recipe.gradient_checkpointing else layer * (shape.layers - 1)
    if recipe.activation_offloading and gpu:
        kept_back = min(kept_back, STASHED * tokens * (shape.hidden if recipe.gradient_checkpointing else shape.inner) * bytes_each)
    activations = layer + kept_back
    activations += 0 if gpu else WORKED * layer
    if recipe.method == "qlora" or (recipe.method == "lora" and kept != bytes_each):
        activations += 3 * shape.hidden * max(shape.inner, shape.hidden) * bytes_each  # one layer's weights as they are multiplied
    tile = min(tokens - 1, HEAD_TOKENS) * min(shape.vocabulary, HEAD_WORDS)
    head = tile * bytes_each if gpu else _head_without_gpu(4 * tile, varied=not getattr(recipe, "packing", False))
    head += tokens * shape.hidden * 8
    if recipe.method == "full":
        # The head's gradient is made in float32 (TRL 1.16) while all is remembered. Where the head is the embedding it then waits for the
        # embedding's own, which comes last, when nothing is remembered any more; both beside the sum of the micro-batches before.
        table = shape.vocabulary * shape.hidden
        steps = recipe.batch // (recipe.micro_batch * recipe.devices)
        at_its_end = table * kept * (1 + shape.tied - (steps == 1))
        head = max(head + table * (4 if whole else 6), at_its_end - activations)
    parts = {"weights": weights, "gradients": gradients, "optimizer": int(learned * each), "activations": activations, "logits": head}
    reserve = CONTEXT if gpu else LIBRARIES + shape.vocabulary * WORD
    return parts | {"reserve": reserve + int(sum(parts.values()) * (SPARE if gpu else SPARE_CPU))}


def _head_without_gpu(tile: int, varied: bool) -> int:
    """Bytes of the head's tiles of so many bytes; ``varied``: rows of all lengths up to that, whose smaller tiles are kept beside."""
    if tile < KEPT:
        return TILES_KEPT * tile
    return TILES * tile + (TILES_KEPT * KEPT if varied else 0)


def total(parts: dict[str, int]) -> int:
    return sum(size for name, size in parts.items() if name != "total")


def packed(sizes: Sequence[int], length: int) -> int:
    """Sequences that whole rows of so many tokens fill, each put where it leaves least room (as TRL's ``bfd`` packs)."""
    room: list[int] = []
    """What is left in each sequence, the least first."""
    for size in sorted((min(size, length) for size in sizes), reverse=True):
        at = bisect_left(room, size)
        insort(room, (room.pop(at) if at < len(room) else length) - size)
    return len(room)


class Change(msgspec.Struct, frozen=True):
    """Another recipe that fits."""

    settings: dict[str, Any]
    bytes: int

    @property
    def said(self) -> str:
        return ", ".join(f"{key} = {str(value).lower() if isinstance(value, bool) else value}" for key, value in self.settings.items())


def gentler(recipe: Trainable, gpu: bool) -> Iterator[dict[str, Any]]:
    """Single changes that save memory, the least harmful first."""
    micro = recipe.micro_batch
    while micro > 1:
        micro = max(number for number in range(1, micro) if recipe.batch % number == 0)
        yield {"micro_batch": micro}
    if not recipe.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    if gpu and not recipe.activation_offloading:
        yield {"activation_offloading": True}
    if recipe.optimizer in ("auto", "adamw", "paged-adamw") and recipe.precision in ("auto", "fp32"):
        yield {"optimizer": "paged-adamw-8bit"}
    if recipe.method == "full" and recipe.precision in ("auto", "fp32"):
        yield {"precision": "bf16-kahan"}
    if recipe.method == "lora":
        yield {"method": "qlora"}
    length = recipe.length
    while length > 512:
        length //= 2
        yield {"length": length}
    if recipe.method == "full":
        yield {"method": "lora"}
        yield {"method": "qlora"}
    if recipe.method != "full" and recipe.rank > 8:
        yield {"rank": 8, "alpha": 16}


def nearest_fit(recipe: Trainable, shape: Shape, there: int, gpu: bool) -> Change | None:
    """The least harmful change with which the recipe fits into ``there`` bytes; None if none of those known does."""
    single = list(gentler(recipe, gpu))
    for number in (1, 2, 3, 4):
        for chosen in combinations(single, number):
            keys = [key for change in chosen for key in change]
            if len(keys) != len(set(keys)):
                continue
            settings = {key: value for change in chosen for key, value in change.items()}
            if settings.get("precision") == "bf16-kahan" and "optimizer" in settings:
                continue
            other = msgspec.structs.replace(recipe, **settings)
            needs = total(memory(other, shape, there, gpu))
            if needs <= there:
                return Change(settings, needs)
    return None


def next_best(recipe: Trainable, shape: Shape, there: int, gpu: bool) -> Change | None:
    """After memory ran out although the plan fitted: the least harmful change that saves a tenth."""
    now = total(memory(recipe, shape, there, gpu))
    for settings in gentler(recipe, gpu):
        needs = total(memory(msgspec.structs.replace(recipe, **settings), shape, there, gpu))
        if needs <= 0.9 * now:
            return Change(settings, needs)
    return None


class Preset(msgspec.Struct, frozen=True):
    """A recipe's settings for a card."""

    card: int
    """GB."""
    settings: dict[str, Any]
    """What differs from the recipe; empty: it fits as it is."""
    bytes: int
    fits: bool


def preset(recipe: Trainable, shape: Shape, card: int) -> Preset:
    """The truest and then the fastest way of this recipe on a card of ``card`` GB: full weights before Kahan before an adapter before
    4 bits, the whole length before half of it; then as many sequences at once, and as little computed twice, as there is room for."""
    there = int(card * 1e9)
    ways: list[dict[str, Any]] = [{}]
    if recipe.method == "full":
        ways = [{"precision": "fp32"}, {"precision": "bf16-kahan"}, {"method": "lora"}, {"method": "qlora"}]
        if recipe.precision == "auto":  # what it comes to is said by auto itself
            ways[:2] = [{}]
    elif recipe.method == "lora":
        ways = [{}, {"method": "qlora"}]
    lengths = [recipe.length, *(length for length in (1024, 512) if length < recipe.length)]
    micros = [number for number in (16, 12, 8, 6, 4, 3, 2, 1) if recipe.batch % number == 0]
    last: tuple[dict[str, Any], int] = ({}, 0)
    for length in lengths:
        for way in ways:
            for again, aside in ((False, False), (True, False), (True, True)):
                for micro in micros:
                    settings = {**way, "length": length, "gradient_checkpointing": again, "activation_offloading": aside, "micro_batch": micro}
                    needs = total(memory(msgspec.structs.replace(recipe, **settings), shape, there, True))
                    last = (settings, needs)
                    if needs <= there * 0.95:
                        return Preset(card, {k: v for k, v in settings.items() if getattr(recipe, k) != v}, needs, True)
    return Preset(card, {k: v for k, v in last[0].items() if getattr(recipe, k) != v}, last[1], False)
