"""Families by their config: a tiny random model of each goes through CPT, SFT, merge (and quantize); what comes out speaks as it was taught.

The pocket base, which all other tests of the stages train, is a Qwen3.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.checkpoints.templates import template_for
from studio.persona.folder import create
from studio.stages import data
from studio.stages.model import TOKENIZER_FILES, is_hybrid, load_adapter, load_model, load_transformers_tokenizer

from .conftest import MakeRun, dialogue, done, events, lore

SMALL: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}

FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3.5": (
        "Qwen3_5ForCausalLM",
        "Qwen3_5TextConfig",
        {
            "head_dim": 32,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
        },
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"tie_word_embeddings": False}),
    "mistral": ("MistralForCausalLM", "MistralConfig", {"sliding_window": 64}),
    "gemma3": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        {"head_dim": 32, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", {"no_rope_layers": [1, 0]}),
}


MERGED = ("qwen3.5", "llama", "gemma3")
"""Mistral's and SmolLM's layers are folded as Llama's are."""
QUANTIZED = ("gemma3",)
"""The one that differs most is quantized here; Qwen3.5 is in ``test_hybrid``, Qwen3 (the pocket base) in ``test_quantize``."""


def family(name: str, pocket: Path, folder: Path) -> Path:
    """A random model of two small layers with the pocket's tokenizer."""
    import transformers

    model, config, more = FAMILIES[name]
    torch.manual_seed(5)
    made = getattr(transformers, model)(getattr(transformers, config)(**{**SMALL, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, **more}))
    made.save_pretrained(folder)
    for file in TOKENIZER_FILES:
        if (pocket / file).is_file():
            shutil.copyfile(pocket / file, folder / file)
    return folder


def log_probabilities(model: Any, row: data.Row) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model.eval()(input_ids=torch.tensor([row.input_ids])).logits[0].float(), -1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_all_the_way(make_run: MakeRun, pocket: Path, tmp_path: Path, name: str) -> None:
    base = family(name, pocket, tmp_path / "base")
    create("Persona", str(base), parent=tmp_path)
    # A rate at which so small a model learns.
    quick = {"learning_rate": 5e-3, "length": 96, "train": lore(4), "val": lore(6)[4:]}
    cpt = make_run("cpt", weights=base, **quick)
    inputs = json.loads((cpt / "inputs.json").read_text())
    (cpt / "inputs.json").write_text(json.dumps(inputs | {"parent_path": str(base)}))
    done(cpt)
    assert events(cpt, "eval")[-1]["val_loss"] < events(cpt, "eval")[0]["val_loss"]
    checkpoints = cpt.parent.parent / "checkpoints"
    learned = checkpoints / "cpt-1-e1"
    if name == "qwen3.5":
        assert is_hybrid(base) and events(cpt, "warning")[0]["text"].startswith("Packing is off")
        assert json.loads((learned / "config.json").read_text())["layer_types"][0] == "linear_attention"
    assert events(cpt, "plan")[0]["packed"] is (name != "qwen3.5")

    talk = {"train": dialogue(4), "val": dialogue(6)[4:], "length": 96, "learning_rate": 1e-3, "rank": 4, "alpha": 8}
    sft = make_run("sft", "sft-2", parent="cpt-1-e1", **talk)
    done(sft)
    tuned = checkpoints / "sft-2-e1"
    row = data.conversations(dialogue(1), load_transformers_tokenizer(tuned, trust=False), template_for(tuned), 96).rows[0]
    before = log_probabilities(load_model(learned, "float32", "sdpa", trust=False), row)
    adapted = log_probabilities(load_adapter(load_model(learned, "float32", "sdpa", trust=False), str(tuned), trainable=False), row)
    assert (adapted - before).abs().max() > 1e-3

    if name not in MERGED:
        return
    merged = make_run("merge", "merge-3", parent="sft-2-e1", weights=learned, kind="adapter", checkpoints=["sft-2-e1"])
    (made,) = done(merged)["checkpoints"]
    folded = log_probabilities(load_model(checkpoints / made, "float32", "sdpa", trust=False), row)
    # Written in bf16: eight bits of every weight.
    assert (folded - adapted).abs().max() < 0.15 * max(1.0, float((adapted - before).abs().max()))
    assert (folded - adapted).abs().mean() < 0.02
    assert (checkpoints / made / "chat_template.jinja").read_bytes() == (tuned / "chat_template.jinja").read_bytes()
    stops = [json.loads((checkpoints / each / "generation_config.json").read_text())["eos_token_id"] for each in ("sft-2-e1", made)]
    assert stops[0] == stops[1] and len(stops[0]) == 2

    if name not in QUANTIZED:
        return
    quantized = make_run("quantize", "quantize-4", parent="sft-2-e1", weights=learned, kind="adapter", scheme="int4-rtn", group_size=32)
    (small,) = done(quantized)["checkpoints"]
    config = json.loads((checkpoints / small / "config.json").read_text())
    assert config["quantization_config"] and "lm_head" in str(config["quantization_config"]["ignore"])
    rough = log_probabilities(load_model(checkpoints / small, "float32", "sdpa", trust=False), row)
    assert (rough - adapted).abs().mean() < 0.5
