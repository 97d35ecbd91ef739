"""What share of a card's arithmetic is used: told only where both the card and the cost of a token are known."""

from __future__ import annotations

import pytest

from studio.peak import flops_a_token, peak, utilisation


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA B200", 2250),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 503.8),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 5090", 209.5),
        # Another card than the one whose name it bears, or one without bf16: nothing is said.
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 0),
        ("NVIDIA GeForce RTX 4090 D", 0),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 0),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 0),
        ("Tesla T4", 0),
        ("AMD EPYC 9654 96-Core Processor", 0),
        ("", 0),
    ],
)
def test_cards_by_the_drivers_name(name: str, tera: float) -> None:
    assert peak(name) == tera * 1e12


def test_what_a_token_costs_and_the_share() -> None:
    assert flops_a_token(0, 1_000) == 6_000  # all weights
    assert flops_a_token(1_000, 10) == 4_060  # an adapter
    assert flops_a_token(1_000, 10, references=1) == 6_080  # DPO reads all of it once more
    # 4 B parameters, all of them: 24 GFLOPs a token; 16,490 tokens a second are 40 % of an H100.
    assert utilisation(16_490, flops_a_token(0, 4_000_000_000), "NVIDIA H100 80GB HBM3") == pytest.approx(0.4, abs=1e-3)
    assert utilisation(16_490, flops_a_token(0, 4_000_000_000), "NVIDIA H100 80GB HBM3", devices=2) == pytest.approx(0.2, abs=1e-3)
    assert utilisation(100, 24e9, "some card") is None and utilisation(100, 0.0, "NVIDIA H200") is None
