"""What vLLM 0.32 really wrote when it failed to start on a processor (``logs/``, shortened), as one sentence with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.engines import vllm_log

LOGS = Path(__file__).parent / "logs"
SAID = {
    "port-taken": ("choose another one", "Address already in use"),
    "no-template": ("chat template could not be read", "doesn't exist"),
    "fp8-block": ("quantize with another scheme", "AMX tile support"),
    "nvfp4": ("quantize with another scheme", "NVFP4 linear layer"),
    "context-longer-than-the-models": ("longer than the model's own; choose a shorter one", "max_position_embeddings=2048"),
    "context-longer-than-the-memory": ("choose a shorter one", "larger than the available KV cache memory"),
    "lora-rank": ("start it again with this adapter", "LoRA rank 12 is greater than max_lora_rank 8"),
    "unknown-kind": ("use the embedded engine", "does not recognize this architecture"),
}


def test_every_log_is_read() -> None:
    assert {path.stem for path in LOGS.iterdir()} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_the_cause_and_the_way_out_are_one_sentence(name: str) -> None:
    sentence = vllm_log.failure((LOGS / f"{name}.txt").read_text())
    for words in SAID[name]:
        assert words in sentence
    assert "\n" not in sentence and len(sentence) < 500 and sentence.endswith(").")
