"""Bases that carry a state from token to token (Qwen3.5): packing would leak, so it is not done (``test_families`` says so)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from studio.checkpoints.templates import template_for
from studio.stages import pairs
from studio.stages.model import TOKENIZER_FILES, load_adapter, load_model, load_transformers_tokenizer

from .conftest import MakeRun, done, events, preference
from .test_preference import margins


@pytest.fixture
def hybrid(pocket: Path, tmp_path: Path) -> Path:
    """A random Qwen3.5 text model of two layers, one of each kind, with the pocket's tokenizer."""
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    torch.manual_seed(3)
    config = Qwen3_5TextConfig(
        vocab_size=4096,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"],
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    folder = tmp_path / "hybrid"
    Qwen3_5ForCausalLM(config).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (pocket / name).is_file():
            shutil.copyfile(pocket / name, folder / name)
    return folder


def test_a_hybrid_takes_an_adapter_on_all_its_layers(make_run: MakeRun, hybrid: Path) -> None:
    run = make_run("sft", rank=2, alpha=4, length=128)
    inputs = json.loads((run / "inputs.json").read_text()) | {"parent_path": str(hybrid), "weights_path": str(hybrid)}
    (run / "inputs.json").write_text(json.dumps(inputs))
    done(run)
    settings = json.loads((run.parent.parent / "checkpoints" / "sft-1-e1" / "adapter_config.json").read_text())
    reached = {name.rpartition(".")[2] for name in settings["target_modules"]}
    assert {"q_proj", "out_proj", "gate_proj"} <= reached and "lm_head" not in reached
    quantized = make_run("quantize", parent="sft-1-e1", weights=hybrid, kind="adapter", scheme="int4-rtn", group_size=32)
    done(quantized)
    config = json.loads((run.parent.parent / "checkpoints" / "sft-1-e1-int4-rtn" / "config.json").read_text())
    assert not any("linear_attn" in str(group["targets"]) for group in config["quantization_config"]["config_groups"].values())
    assert any("linear_attn" in name for name in config["quantization_config"]["ignore"])


def test_pairs_side_by_side_are_read_as_if_alone(make_run: MakeRun, hybrid: Path) -> None:
    """Replies of unequal length are padded to go through together: no state of a hybrid may come from the padding."""
    run = make_run("dpo", rank=2, alpha=4, length=128, batch=4, micro_batch=4, learning_rate=1e-2, train=preference(8), weights=hybrid)
    inputs = json.loads((run / "inputs.json").read_text()) | {"parent_path": str(hybrid)}
    (run / "inputs.json").write_text(json.dumps(inputs))
    done(run)
    rows = pairs.tokenized(preference(28)[24:], load_transformers_tokenizer(hybrid, trust=False), template_for(hybrid), 128).rows
    assert len({len(row.prompt + row.chosen) for row in rows}) > 1
    policy = load_adapter(load_model(hybrid, "float32", "sdpa", trust=False), str(run.parent.parent / "checkpoints" / "dpo-1-e1"), trainable=False)
    by_hand = margins(policy.eval(), load_model(hybrid, "float32", "sdpa", trust=False).eval(), rows, 0.1)
    before, *_, after = events(run, "eval")
    assert before["val_margin"] == pytest.approx(0, abs=1e-6) and abs(after["val_margin"]) > 1e-3
    assert sum(by_hand) / len(by_hand) == pytest.approx(after["val_margin"], rel=1e-2)
