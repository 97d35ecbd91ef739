"""Quantization schemes: how each is made, how large it gets, and what can run it. Plain facts; no model library is needed to read them.

Compute capabilities are those that vLLM 0.32 asks for (``get_min_capability`` of its compressed-tensors schemes): FP8 arithmetic from 8.9
and weights alone (Marlin) from 7.5; INT8 and 4-bit weights from 7.5; NVFP4 arithmetic from 10.0 and weights alone from 7.5. What its CPU
build runs was tried with 0.32: FP8 per channel and INT8 answer, INT4 where the processor has AVX-512 (without it the server comes up and dies
at the first request: no ``cpu_gemm_wna16`` in ``_C_AVX2``); block FP8 "requires AMX tile support", NVFP4 finds no kernel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from studio.checkpoints.base import shapes
from studio.home import avx512

GENERATIONS: tuple[tuple[float, str], ...] = (
    (7.5, "RTX 20, T4"),
    (8.0, "A100"),
    (8.6, "RTX 30, A10, A40"),
    (8.9, "RTX 40, L4, L40"),
    (9.0, "H100, H200"),
    (10.0, "B200"),
    (12.0, "RTX 50, RTX PRO 6000"),
)
"""Compute capability and cards that have it (developer.nvidia.com/cuda-gpus)."""


class Scheme(NamedTuple):
    """One way to make weights smaller."""

    name: str
    preset: str
    """What compressed-tensors calls it."""
    method: str
    """``rtn`` rounds to the nearest and reads nothing; ``gptq smooth awq autoround scales`` look at conversations."""
    bits: int
    """Of a weight."""
    group: int
    """Weights that share a scale (a block is ``group`` by ``group``); 0: one scale for each output."""
    full_speed: float
    """Smallest compute capability that calculates in it."""
    least: float
    """Smallest that can read it at all, unpacking the weights as it goes: the memory is saved, the arithmetic is bf16."""
    on_cpu: bool
    """Whether vLLM's CPU build serves it, on a processor with AVX-512. The embedded engine runs every scheme."""
    words: str

    @property
    def calibrated(self) -> bool:
        """Whether it wants conversations."""
        return self.method != "rtn"

    @property
    def on_this_processor(self) -> bool:
        """Whether vLLM's CPU build serves it here."""
        return self.on_cpu and (self.bits == 8 or avx512())

    @property
    def cards(self) -> str:
        """Which NVIDIA cards serve it, in words."""
        names = dict(GENERATIONS)
        full = f"{names[self.full_speed]} and newer"
        return full if self.full_speed == self.least else f"{full}; {names[self.least]} and newer at bf16's speed"


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("fp8-dynamic", "FP8_DYNAMIC", "rtn", 8, 0, 8.9, 7.5, True, "half the size, nearly no loss, done in seconds"),
        Scheme("fp8-block", "FP8_BLOCK", "rtn", 8, 128, 8.9, 7.5, False, "half the size, nearly no loss; wants widths that 128 divides"),
        Scheme("int8", "W8A8", "gptq", 8, 0, 7.5, 7.5, True, "half the size, little loss, fastest without a GPU"),
        Scheme("int8-smooth", "W8A8", "smooth", 8, 0, 7.5, 7.5, True, "as int8, with the outliers of her activations evened out first"),
        Scheme("int4-gptq", "W4A16", "gptq", 4, 128, 7.5, 7.5, True, "a quarter of the size, some loss; the best of the 4-bit ones here"),
        Scheme("int4-awq", "W4A16", "awq", 4, 128, 7.5, 7.5, True, "a quarter of the size; keeps the channels that her dialogue uses most"),
        Scheme("int4-autoround", "W4A16", "autoround", 4, 128, 7.5, 7.5, True, "a quarter of the size; learns how to round, slow"),
        Scheme("int4-rtn", "W4A16", "rtn", 4, 128, 7.5, 7.5, True, "a quarter of the size, more loss, done in seconds"),
        Scheme("nvfp4", "NVFP4", "scales", 4, 16, 10.0, 7.5, False, "a quarter of the size, arithmetic in 4 bits on the newest cards"),
        Scheme("nvfp4a16", "NVFP4A16", "rtn", 4, 16, 7.5, 7.5, False, "a quarter of the size, 4-bit floats in small groups, done in seconds"),
    )
}

IGNORED: tuple[str, ...] = (
    "lm_head",
    "re:.*linear_attn.*",
    "re:.*visual.*",
    "re:.*vision_tower.*",
    "re:.*vision_model.*",
    "re:.*audio_tower.*",
    "re:.*multi_modal_projector.*",
    "re:.*mtp.*",
    "re:.*mlp[.]gate$",
    "re:.*shared_expert_gate$",
    "re:.*router.*",
)
"""Never quantized: the head, recurrent layers (their tiny projections fit no kernel), eyes and ears, draft heads, routers of experts."""


def capability_said(capability: float) -> str:
    """``8.6 (RTX 30, A10, A40)``."""
    names = [cards for least, cards in GENERATIONS if least == capability]
    return f"{capability:.1f}{f' ({names[0]})' if names else ''}"


def runs_here(scheme: Scheme, capability: float | None) -> str:
    """One sentence on whether vLLM on this machine could serve it. ``capability`` of the GPU, None without one."""
    if capability is None:
        if scheme.on_this_processor:
            return "This machine has no GPU; vLLM for CPU serves it."
        if scheme.on_cpu:
            return "This machine has no GPU, and its processor lacks AVX-512, with which vLLM for CPU could run it (the embedded engine can)."
        return "This machine has no GPU and vLLM for CPU cannot run it (the embedded engine can)."
    if capability >= scheme.full_speed:
        return f"This GPU ({capability_said(capability)}) runs it."
    if capability >= scheme.least:
        return f"This GPU ({capability_said(capability)}) runs it at the speed of bf16: the memory is saved, the arithmetic is not faster."
    return f"This GPU ({capability_said(capability)}) cannot run it."


def fits_here(scheme: Scheme, capability: float | None) -> bool:
    """Whether vLLM on this machine could serve it."""
    return scheme.on_this_processor if capability is None else capability >= scheme.least


def bytes_of(scheme: Scheme, linear: int, rest: int) -> int:
    """Size of a checkpoint with ``linear`` weights in the scheme and ``rest`` parameters left in bf16; scales included."""
    each = scheme.bits / 8
    if scheme.group:
        # NVFP4 keeps an FP8 scale for each group, the integer schemes a bf16 one, block FP8 a bf16 one for each square.
        each += (1 if scheme.preset.startswith("NVFP4") else 2) / (scheme.group**2 if scheme.name == "fp8-block" else scheme.group)
    return int(linear * each) + 2 * rest


KERNEL_WIDTH = 16
"""What both sides of an 8-bit layer must be divisible by (CUTLASS, vLLM 0.32)."""
SMALLEST_GROUP = 32
"""Smallest group of 4-bit integers that vLLM's kernels know (0.32), and what the outputs of a 4-bit layer must be divisible by."""

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that vLLM computes as one: they are quantized alike or not at all."""


class Layers(NamedTuple):
    """What a scheme makes of the linear layers of a model."""

    groups: dict[int, list[str]]
    """Layer name endings by group size; 0 means one scale for each output."""
    unfit: list[str]
    """Endings of layers that stay in bf16, as their widths (or those of a layer they are fused with) fit no kernel."""


def layers(scheme: Scheme, group_size: int, found: Iterable[tuple[str, int, int]]) -> Layers:
    """Sort ``(name, inputs, outputs)`` of every linear layer that is not ignored. ``group_size`` is for the 4-bit integer schemes."""
    sizes: dict[str, int | None] = {}
    for name, inputs, outputs in found:
        leaf = name.rpartition(".")[2]
        size = _group(scheme, group_size, inputs, outputs)
        before = sizes.get(leaf, size)
        sizes[leaf] = None if size is None or before is None else min(size, before)
    for together in FUSED:
        there = {leaf: sizes[leaf] for leaf in together if leaf in sizes}
        known = [size for size in there.values() if size is not None]
        sizes |= dict.fromkeys(there, min(known) if len(known) == len(there) and known else None)
    groups: dict[int, list[str]] = {}
    for leaf, size in sizes.items():
        if size is not None:
            groups.setdefault(size, []).append(leaf)
    return Layers(groups, [leaf for leaf, size in sizes.items() if size is None])


def _group(scheme: Scheme, group_size: int, inputs: int, outputs: int) -> int | None:
    """Group size for a layer; None if no kernel takes it. A 4-bit layer whose width the size does not divide gets a smaller one that does."""
    if scheme.name == "fp8-block":
        return None if inputs % scheme.group or outputs % scheme.group else scheme.group
    if scheme.bits == 8:
        return None if inputs % KERNEL_WIDTH or outputs % KERNEL_WIDTH else 0
    if scheme.preset.startswith("NVFP4"):
        return None if inputs % SMALLEST_GROUP or outputs % SMALLEST_GROUP else scheme.group
    size = group_size
    while size >= SMALLEST_GROUP and inputs % size:
        size //= 2
    return None if size < SMALLEST_GROUP or outputs % SMALLEST_GROUP else size


def is_ignored(name: str, more: Iterable[str] = ()) -> bool:
    """Whether a layer of that name is never quantized. ``more`` are patterns of a recipe."""
    for pattern in (*IGNORED, *more):
        plain = pattern.removeprefix("re:")
        if re.match(plain, name) if plain != pattern else name == pattern or name.endswith(f".{pattern}"):
            return True
    return False


def linear_layers(weights: Path, more: Iterable[str] = ()) -> list[tuple[str, int, int]]:
    """``(name, inputs, outputs)`` of the layers that are quantized, from the headers of a folder's safetensors files."""
    found = []
    ignored = list(more)
    for name, shape in shapes(weights):
        module = name.removesuffix(".weight")
        if module != name and len(shape) == 2 and "embed" not in module and not is_ignored(module, ignored):
            found.append((module, shape[1], shape[0]))
    return found


def gpu_capability() -> float | None:
    """Compute capability of the GPU that the studio uses; None without one (or where ``STUDIO_DEVICE`` stands in and says none)."""
    if file := os.environ.get("STUDIO_DEVICE"):
        try:
            stated = msgspec.json.decode(Path(file).read_bytes()).get("capability")
        except (OSError, msgspec.DecodeError, AttributeError):
            return None
        return float(stated) if stated else None
    from studio.jobs import lease

    if not (uuid := lease.gpu()):
        return None
    import pynvml

    try:
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(pynvml.nvmlDeviceGetHandleByUUID(uuid))
    except pynvml.NVMLError:
        return None
    return float(major) + float(minor) / 10


def left_out(found: Layers) -> str:
    """One sentence on the layers that stay in bf16."""
    return f"Left in bf16, as their widths (or those of a layer that is computed with them) fit no kernel: {', '.join(found.unfit)}."


def refusal(scheme: Scheme, found: Layers) -> str:
    """One sentence on why no layer can be quantized."""
    if not found.unfit:
        return f"There is no layer in this model that {scheme.name} could make smaller; all are ignored."
    if scheme.name == "fp8-block":
        return f"fp8-block wants layers whose widths 128 divides, and none of {', '.join(found.unfit)} is so here; take fp8-dynamic."
    return f"No layer of this model can be quantized to {scheme.name}: the widths of {', '.join(found.unfit)} fit no kernel."
