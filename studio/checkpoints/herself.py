"""Is she still herself? What is measured of a checkpoint against another, and the verdict on it.

Measured on the character's own turns in held-out dialogue (``stages.herself`` does it): perplexity of both, the Kullback-Leibler
divergence of what the child expects from what the parent expected, how often both expect the same token first, the lore questions
each gets right, and where replies without any chance in them part.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb, isfinite
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from studio.files import write_json

HERSELF_KL = 0.10
"""Mean divergence in nats a token up to which she counts as herself. llama.cpp's scoreboard for LLaMA 3 8B (tools/perplexity/README.md) has
0.001 for q8_0, 0.03 for q4_K_M, which people use without a second thought, 0.10 for q3_K_M, where they begin to hear it, 0.45 for q2_K."""
HERSELF_P99 = 2.0
"""The same for the hundredth token she is least sure of. Our own choice: a divergence of 2 nats is a token that she took for seven times
likelier; once in a hundred tokens is once in a long reply."""
HERSELF_TOP = 0.85
"""Share of tokens of which both find the same one likeliest. Same source: 97.7 % for q8_0, 91.9 % for q4_K_M; 85.6 % where LLaMA 2 7B has a
divergence of 0.11, 71 % for q2_K."""
HERSELF_PPL = 1.10
"""Perplexity against the parent's. Same source: 1.0004 for q8_0, 1.03 for q4_K_M, 1.11 for q3_K_M, 1.56 for q2_K."""
BROKEN_KL = 2.0
"""Mean divergence above which a model is no longer the same one. Same source: 2.2 for iq1_S, whose perplexity is ten times the parent's.
Measured here on Gemma 3 270M: sound 4-bit 0.2 to 0.6, a wrongly smoothed one 23."""
BROKEN_PPL = 5.0
"""Perplexity against the parent's above which it is broken: between iq1_M (4.1) and iq1_S (9.3) of the same source."""
LOST = 0.05
"""Chance (one-sided sign test on the questions that only one of both got right) below which lost lore questions count as lost."""

KEPT_VALUES = 2**28
"""Log-probabilities kept of the first model (512 MB): 2,048 tokens at a vocabulary of 131,072."""
LENGTH = 512
"""Tokens of a conversation that are read."""

Word = Literal["herself", "changed", "broken"]


class Verdict(NamedTuple):
    word: Word
    why: str
    """The measure that decided, in words."""


class Reply(msgspec.Struct):
    """What both said to the same prompt without any chance in it."""

    prompt: str
    before: str
    after: str
    parts_at: int
    """Number of the first token that differs; that of the last and one more if none does."""
    same: bool


class Comparison(msgspec.Struct):
    """``herself.json`` beside a checkpoint's weights."""

    against: str
    """Id of the checkpoint it was held against."""
    material: str
    """What it was measured on, in words."""
    metrics: dict[str, float]
    replies: list[Reply] = []


def listened_to(tokens: int, vocabulary: int) -> int:
    """On how many tokens both are compared, of so many that are wanted."""
    return min(tokens, max(64, KEPT_VALUES // max(1, vocabulary)))


def verdict(metrics: Mapping[str, float]) -> Verdict | None:
    """The verdict on what was measured; None where nothing was. The worst measure decides."""
    if "kl" not in metrics or "ppl" not in metrics:
        return None
    kl, ratio = metrics["kl"], metrics["ppl"] / max(metrics["parent_ppl"], 1e-12)
    if not (isfinite(kl) and isfinite(ratio)) or metrics.get("finite", 1.0) < 1.0:
        return Verdict("broken", "its probabilities are not numbers")
    if kl > BROKEN_KL:
        return Verdict("broken", f"it differs by {kl:.1f} nats a token (sound: under {HERSELF_KL})")
    if ratio > BROKEN_PPL:
        return Verdict("broken", f"her own words surprise it: {ratio:.1f} times the perplexity")
    if kl > HERSELF_KL:
        return Verdict("changed", f"it differs by {kl:.2f} nats a token (herself: up to {HERSELF_KL})")
    if ratio > HERSELF_PPL:
        return Verdict("changed", f"its perplexity is {ratio - 1:+.0%} (herself: up to {HERSELF_PPL - 1:+.0%})")
    if metrics.get("top1", 1.0) < HERSELF_TOP:
        return Verdict("changed", f"only {metrics['top1']:.0%} of the likeliest tokens are the same (herself: from {HERSELF_TOP:.0%})")
    if metrics.get("kl_p99", 0.0) > HERSELF_P99:
        return Verdict("changed", f"one token in a hundred differs by {metrics['kl_p99']:.1f} nats (herself: up to {HERSELF_P99})")
    lost, gained = int(metrics.get("cloze_lost", 0)), int(metrics.get("cloze_gained", 0))
    if lost > gained and sign_test(lost, gained) < LOST:
        return Verdict("changed", f"it lost {lost} lore questions and gained {gained}")
    return Verdict("herself", f"it differs by {kl:.3f} nats a token")


def sign_test(lost: int, gained: int) -> float:
    """Chance of at least ``lost`` heads in ``lost + gained`` throws of a fair coin."""
    n = lost + gained
    return sum(comb(n, k) for k in range(lost, n + 1)) / 2**n


SIGNS: dict[Word, str] = {"herself": "✓", "changed": "~", "broken": "✗"}


def rows(metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """``(what, value, what is good)`` for tables; empty where nothing was measured."""
    if verdict(metrics) is None:
        return []
    ratio = metrics["ppl"] / max(metrics["parent_ppl"], 1e-12) - 1
    found = [
        ("perplexity", f"{metrics['ppl']:.2f} after {metrics['parent_ppl']:.2f} ({ratio:+.1%})", f"up to {HERSELF_PPL - 1:+.0%}"),
        ("divergence, mean", f"{metrics['kl']:.3f} nats a token", f"up to {HERSELF_KL}"),
        ("divergence, p99", f"{metrics['kl_p99']:.2f} nats", f"up to {HERSELF_P99}"),
        ("same likeliest token", f"{metrics['top1']:.1%}", f"from {HERSELF_TOP:.0%}"),
    ]
    if asked := int(metrics.get("cloze_asked", 0)):
        right, before = int(metrics["cloze_right"]), int(metrics["parent_cloze_right"])
        lost, gained = int(metrics["cloze_lost"]), int(metrics["cloze_gained"])
        found.append(("lore questions right", f"{right} of {asked} after {before}", f"lost {lost}, gained {gained}"))
    if asked := int(metrics.get("replies", 0)):
        found.append(("greedy replies the same", f"{int(metrics['same_replies'])} of {asked}", f"part at token {metrics['parts_at']:.0f} (median)"))
    return [*found, ("measured on", f"{int(metrics['checked_tokens']):,} tokens of her turns", "")]


FILE = "herself.json"


def write_comparison(folder: Path, comparison: Comparison) -> None:
    write_json(folder / FILE, comparison)


def read_comparison(folder: Path) -> Comparison | None:
    """What was measured of the checkpoint in a folder; None if nothing was."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Comparison)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
