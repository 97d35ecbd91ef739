"""The verdict on a checkpoint, by the measures alone; and the facts about schemes that are told before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.checkpoints import herself, schemes
from studio.checkpoints.schemes import SCHEMES

GOOD = {"kl": 0.03, "kl_p99": 0.4, "top1": 0.92, "ppl": 6.4, "parent_ppl": 6.23, "checked_tokens": 1000.0}


@pytest.mark.parametrize(
    ("changes", "word", "why"),
    [
        ({}, "herself", "0.030 nats"),
        ({"kl": 0.45, "ppl": 9.75}, "changed", "0.45 nats a token"),  # llama.cpp's q2_K of LLaMA 3 8B
        ({"kl": 2.25, "ppl": 60.7}, "broken", "2.2 nats a token"),  # its iq1_S
        ({"kl": 23.0, "ppl": 2e11}, "broken", "23.0 nats"),  # a wrongly smoothed Gemma 3
        ({"ppl": 40.0}, "broken", "6.4 times the perplexity"),
        ({"ppl": 7.0}, "changed", "perplexity is +12%"),
        ({"top1": 0.8}, "changed", "80% of the likeliest tokens"),
        ({"kl_p99": 3.0}, "changed", "one token in a hundred"),
        ({"kl": float("nan")}, "broken", "not numbers"),
        ({"finite": 0.0}, "broken", "not numbers"),
        ({"cloze_lost": 6.0, "cloze_gained": 0.0}, "changed", "lost 6 lore questions"),
        ({"cloze_lost": 3.0, "cloze_gained": 1.0}, "herself", ""),
    ],
)
def test_the_worst_measure_decides(changes: dict[str, float], word: str, why: str) -> None:
    said = herself.verdict(GOOD | changes)
    assert said is not None and said.word == word and why in said.why


def test_nothing_measured_is_no_verdict() -> None:
    assert herself.verdict({"bytes": 3.0, "kl": 0.1}) is None and herself.rows({}) == []
    assert herself.sign_test(5, 0) == 1 / 32 and herself.sign_test(1, 1) == 0.75


def test_a_comparison_is_kept_beside_the_weights(tmp_path: Path) -> None:
    assert herself.read_comparison(tmp_path) is None
    kept = herself.Comparison("base", "her turns", GOOD, [herself.Reply("Hi", "Yes.", "No.", 1, False)])
    herself.write_comparison(tmp_path, kept)
    assert herself.read_comparison(tmp_path) == kept
    (tmp_path / herself.FILE).write_text("{")
    assert herself.read_comparison(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "capability", "fits", "said"),
    [
        ("fp8-dynamic", 8.9, True, "This GPU (8.9 (RTX 40, L4, L40)) runs it."),
        ("fp8-dynamic", 8.6, True, "at the speed of bf16"),
        ("fp8-dynamic", 7.0, False, "(7.0) cannot run it."),
        ("int4-gptq", 7.5, True, "runs it."),
        ("nvfp4", 9.0, True, "at the speed of bf16"),
        ("nvfp4", 12.0, True, "runs it."),
        ("fp8-block", None, False, "vLLM for CPU cannot run it"),
        ("int8", None, True, "vLLM for CPU serves it"),
    ],
)
def test_which_card_runs_what(name: str, capability: float | None, fits: bool, said: str) -> None:
    assert schemes.fits_here(SCHEMES[name], capability) is fits
    assert said in schemes.runs_here(SCHEMES[name], capability)


def test_sizes_are_weights_and_their_scales() -> None:
    assert schemes.bytes_of(SCHEMES["fp8-dynamic"], 1000, 10) == 1020
    assert schemes.bytes_of(SCHEMES["int4-gptq"], 128_000, 0) == 64_000 + 2 * 1000
    assert schemes.bytes_of(SCHEMES["nvfp4"], 16_000, 0) == 8_000 + 1000
    assert schemes.bytes_of(SCHEMES["fp8-block"], 128 * 128, 0) == 128 * 128 + 2


def test_every_scheme_of_the_recipe_has_its_facts() -> None:
    from typing import get_args, get_type_hints

    from studio.recipes.schema import Quantize

    assert set(get_args(get_type_hints(Quantize)["scheme"])) == set(SCHEMES)


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("lm_head", True),
        ("model.layers.3.mlp.gate_proj", False),
        ("model.layers.3.mlp.gate", True),
        ("model.layers.1.linear_attn.in_proj_ba", True),
        ("model.visual.blocks.0.attn.qkv", True),
        ("vision_tower.vision_model.encoder.layers.0.mlp.fc1", True),
        ("mtp.layers.0.mlp.up_proj", True),
        ("model.layers.0.self_attn.q_proj", False),
    ],
)
def test_heads_eyes_and_recurrent_layers_are_never_quantized(name: str, ignored: bool) -> None:
    assert schemes.is_ignored(name) is ignored
    assert schemes.is_ignored(name, ["q_proj", "gate_proj"]) is (ignored or name.endswith(("q_proj", "gate_proj")))
