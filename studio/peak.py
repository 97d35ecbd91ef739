"""How much of a card's arithmetic a training uses: model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B).

Counted is what the model needs and not what is computed twice (gradient checkpointing) or for padding; attention's own products are
left out as well, so that the share is told too low rather than too high with long sequences.
"""

from __future__ import annotations

import re

TERA = 1e12

PEAKS: tuple[tuple[str, float], ...] = (
    (r"B200", 2250),
    (r"GH200 \d+GB( HBM3e?)?|H200", 989.4),
    (r"H200 NVL", 835.5),
    (r"H100 (80GB HBM3|SXM\d?( 80GB)?)", 989.4),
    (r"H100 PCIe", 756.5),
    (r"H100 NVL", 835.5),
    (r"A100([- ](SXM4|PCIE|\d+GB))*", 312),
    (r"A30", 165),
    (r"A10", 125),
    (r"A40", 149.7),
    (r"RTX A6000", 154.8),
    (r"L4", 121),
    (r"L40", 181.05),
    (r"L40S", 362.05),
    (r"RTX 6000 Ada", 364.2),
    (r"RTX PRO 6000 Blackwell( Workstation| Server)?", 503.8),
    (r"RTX 3060", 25.5),
    (r"RTX 3070", 40.6),
    (r"RTX 3080", 59.5),
    (r"RTX 3090", 71),
    (r"RTX 3090 Ti", 80),
    (r"RTX 4080", 97.5),
    (r"RTX 4090", 165.2),
    (r"RTX 5070", 61.7),
    (r"RTX 5070 Ti", 87.9),
    (r"RTX 5080", 112.6),
    (r"RTX 5090", 209.5),
)
"""Dense bf16 products with sums in float32, in TFLOP/s at the boost clock, by what the driver calls the card.

From NVIDIA's data sheets (where they state it with sparsity, half of it: B200, GH200, H200, H100, A100, A30, A10, A40, L4, L40, L40S) and
the tables of its architecture papers (Ampere GA102 v2, Ada, Ada for professional graphics, RTX Blackwell and RTX PRO Blackwell: "Peak BF16
Tensor TFLOPS with FP32 Accumulate"). A name must match as a whole: a laptop's card, a part of a card (MIG) or a trimmed edition ("D",
"Max-Q") is another one, and of it nothing is said.
"""

_AROUND = re.compile(r"^(NVIDIA )?(Tesla |GeForce )?| (Generation|Edition)$", re.IGNORECASE)


def peak(device: str) -> float:
    """FLOP/s of a card by the driver's name for it; 0 where it is not known."""
    name = _AROUND.sub("", device.strip()).strip()
    return next((tera * TERA for pattern, tera in PEAKS if re.fullmatch(pattern, name, re.IGNORECASE)), 0.0)


def flops_a_token(frozen: int, learned: int, references: int = 0) -> float:
    """What a token costs: 2 a weight forward; backward 2 for what is handed on and, of a weight that learns, 2 for its own gradient.

    So 6 a weight where all learn (Kaplan et al. 2020), and 4 for the weights under an adapter with 6 for its own. ``references``: times
    the whole is read without learning besides (1 in DPO).
    """
    return 4.0 * frozen + 6.0 * learned + 2.0 * references * (frozen + learned)


def utilisation(tokens_per_s: float, flops: float, device: str, devices: int = 1) -> float | None:
    """Share of what ``devices`` such cards could compute; None where the card is not known or the model's cost is not (0)."""
    there = peak(device) * devices
    return tokens_per_s * flops / there if there and flops else None
