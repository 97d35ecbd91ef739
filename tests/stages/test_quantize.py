"""Quantized folders load, speak like their parent, and are refused or warned about where they cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.checkpoints import herself, schemes
from studio.checkpoints.herself import read_comparison
from studio.checkpoints.store import read_checkpoint
from studio.errors import StudioError
from studio.recipes.schema import Quantize
from studio.stages.__main__ import main
from studio.stages.compress import layers_of, linear_modules, smoothed
from studio.stages.herself import log_probabilities
from studio.stages.model import load_model, save_speech

from .conftest import MakeRun, dialogue, done, events, result

FEW = {"calibration_rows": 8, "calibration_length": 64, "check_tokens": 128}


def test_an_adapter_is_merged_quantized_and_checked(make_run: MakeRun, pocket: Path) -> None:
    done(make_run("sft", rank=4, alpha=8))
    run = make_run("quantize", parent="sft-1-e1", weights=pocket, kind="adapter", scheme="int4-gptq", **FEW)
    assert done(run)["checkpoints"] == ["sft-1-e1-int4-gptq"]
    folder = run.parent.parent / "checkpoints" / "sft-1-e1-int4-gptq"
    card = read_checkpoint(folder)
    assert (card.stage, card.kind, card.scheme, card.parent) == ("quantize", "full", "int4-gptq", "sft-1-e1")
    assert 0 < card.metrics["kl"] < 0.5 and card.metrics["bytes"] < card.metrics["parent_bytes"]
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2, 0]
    assert (folder / "chat_template.jinja").is_file() and (folder / "tokenizer.json").is_file()
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert "lm_head" in config["ignore"]
    assert log_probabilities(load_model(folder, "bfloat16", "sdpa", trust=False), [5, 6, 7]).isfinite().all()
    told = [(event["done"], event["total"]) for event in events(run, "layers")]
    assert told == sorted(told) and told[-1][0] == told[-1][1], "every layer was told, and no more than were promised"

    # What was measured of her held-out turns stands beside the weights.
    comparison = read_comparison(folder)
    assert comparison is not None and comparison.against == "sft-1-e1" and "held-out" in comparison.material
    assert comparison.metrics.items() <= card.metrics.items() and len(comparison.replies) == 4
    assert card.metrics["checked_tokens"] > 20 and card.metrics["top1"] > 0.5 and card.metrics["kl_p99"] >= card.metrics["kl"]
    (said,) = events(run, "herself")
    verdict = herself.verdict(card.metrics)
    assert verdict is not None and said["verdict"] == verdict.word

    # Once is enough, and what is quantized is no start for a training.
    again = make_run("quantize", "quantize-2", parent="sft-1-e1", weights=pocket, kind="adapter", scheme="int4-gptq")
    assert main([str(again)]) == 1
    assert result(again)["error"].startswith("sft-1-e1-int4-gptq exists already")
    onward = make_run("cpt", parent="sft-1-e1-int4-gptq")
    assert main([str(onward)]) == 1
    assert "is quantized and cannot be trained on" in result(onward)["error"]


def test_fp8_needs_no_data_and_a_broken_one_is_called_broken(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herself, "BROKEN_KL", 0.0)
    run = make_run("quantize", scheme="fp8-dynamic", train=[], val=[])
    settings = json.loads((run / "inputs.json").read_text()) | {"data": ""}
    (run / "inputs.json").write_text(json.dumps(settings))
    done(run)
    assert read_checkpoint(run.parent.parent / "checkpoints" / "base-fp8-dynamic").metrics["kl"] < 0.1
    assert "base-fp8-dynamic is broken" in events(run, "warning")[0]["text"]


ON_DEMAND = pytest.mark.skipif("STUDIO_SCHEMES" not in os.environ, reason="six to twenty seconds each; set STUDIO_SCHEMES=1")


@pytest.mark.parametrize(
    "scheme", ["fp8-block", "nvfp4a16", "int8-smooth", *(pytest.param(name, marks=ON_DEMAND) for name in ("int4-awq", "int4-autoround", "nvfp4"))]
)
def test_each_scheme_makes_a_folder_that_still_speaks(make_run: MakeRun, tiny: Path, scheme: str) -> None:
    """On a base whose widths every scheme takes, with the layout of a Gemma 3: four norms a layer, norms on queries and keys."""
    run = make_run("quantize", scheme=scheme, weights=tiny, rounds=2, **FEW)
    (name,) = done(run)["checkpoints"]
    card = read_checkpoint(run.parent.parent / "checkpoints" / name)
    assert card.metrics["kl"] < 0.1, "noise of rounding; a wrong smoothing has nats"
    assert card.metrics["bytes"] < card.metrics["parent_bytes"]
    config = json.loads((Path(card.path) / "config.json").read_text())["quantization_config"]
    weights = [group["weights"]["num_bits"] for group in config["config_groups"].values()]
    assert weights == [schemes.SCHEMES[scheme].bits] * len(weights) and "lm_head" in config["ignore"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, pocket: Path) -> Path:
    """A random Gemma 3 of 2 layers with widths of 128 and 256, and the pocket base's tokenizer."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    from studio.checkpoints.base import load_tokenizer

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=load_tokenizer(pocket).get_vocab_size(),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=128,
        sliding_window=64,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("tiny")
    model = Gemma3ForCausalLM(config)
    # Outliers in a few channels, which is what smoothing is about; norms that differ, so that taking the wrong one tells.
    with torch.no_grad():
        for layer in model.model.layers:
            layer.input_layernorm.weight[::16] += 6.0
            layer.pre_feedforward_layernorm.weight[::16] += 6.0
            layer.post_attention_layernorm.weight.uniform_(-0.5, 0.5)
    model.bfloat16().save_pretrained(folder)
    save_speech(folder, pocket)
    return folder


def test_what_is_calibrated_on_is_never_what_is_checked_on(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def spy(model: Any, recipe: Any, found: Any, tokenizer: Any, calibration: list[list[int]], told: Any) -> None:
        seen.extend(calibration)
        raise StudioError("seen enough")

    monkeypatch.setattr("studio.stages.quantize.compress", spy)
    rows = dialogue(30)
    run = make_run("quantize", scheme="int8", train=rows[:20], val=rows[20:], **FEW)
    assert main([str(run)]) == 1 and result(run)["error"] == "seen enough"
    from studio.checkpoints.templates import template_for
    from studio.stages import data
    from studio.stages.model import load_transformers_tokenizer

    weights = Path(json.loads((run / "inputs.json").read_text())["weights_path"])
    tokenizer = load_transformers_tokenizer(weights, False)
    held_out = {tuple(row.input_ids) for row in data.conversations(rows[20:], tokenizer, template_for(weights), 64).rows}
    assert 4 < len(seen) <= 8 and not held_out & {tuple(ids) for ids in seen}


def linears(**widths: tuple[int, int]) -> torch.nn.ModuleDict:
    return torch.nn.ModuleDict({name: torch.nn.Linear(*both) for name, both in widths.items()})


def test_widths_decide_what_is_quantized() -> None:
    model = linears(one=(256, 64), odd=(192, 64), thin=(256, 8), crooked=(50, 64), lm_head=(256, 512))
    model["linear_attn"] = linears(in_proj=(256, 64))
    assert layers_of(model, Quantize(scheme="int4-rtn")) == ({128: ["one"], 64: ["odd"]}, ["thin", "crooked"])
    assert layers_of(model, Quantize(scheme="fp8-dynamic")) == ({0: ["one", "odd"]}, ["thin", "crooked"])
    assert layers_of(model, Quantize(scheme="fp8-dynamic", ignore=["odd"])) == ({0: ["one"]}, ["thin", "crooked"])
    assert [name for name, _, _ in linear_modules(model, Quantize(ignore=["re:o.*"]))] == ["thin", "crooked"]


def test_what_vllm_computes_as_one_is_quantized_alike() -> None:
    """Block FP8 of a query that 128 divides beside a key that it does not: vLLM 0.32 refuses the folder (output_partition_size = 64)."""
    model = linears(q_proj=(256, 256), k_proj=(256, 64), v_proj=(256, 64), o_proj=(256, 256))
    found = layers_of(model, Quantize(scheme="fp8-block"))
    assert found == ({128: ["o_proj"]}, ["q_proj", "k_proj", "v_proj"])
    small = linears(q_proj=(192, 64), k_proj=(192, 64))
    none = layers_of(small, Quantize(scheme="fp8-block"))
    assert "q_proj, k_proj is so here; take fp8-dynamic" in schemes.refusal(schemes.SCHEMES["fp8-block"], none)


def test_smoothing_follows_what_reads_the_norm() -> None:
    """The norm before a Gemma's MLP is not the one after its attention; layers with other readers are left out."""
    layer = torch.nn.ModuleDict(
        {
            "input_layernorm": torch.nn.Identity(),
            "post_attention_layernorm": torch.nn.Identity(),
            "self_attn": linears(q_proj=(8, 8), k_proj=(8, 8), v_proj=(8, 8), o_proj=(8, 8)),
            "mlp": linears(gate_proj=(8, 8), up_proj=(8, 8), down_proj=(8, 8)),
        }
    )

    class Layer(torch.nn.Module):
        def __init__(self, **parts: torch.nn.Module) -> None:
            super().__init__()
            for name, part in parts.items():
                self.add_module(name, part)

    def pairs(**changes: torch.nn.Module) -> list[str]:
        model = torch.nn.ModuleDict({"0": Layer(**dict(layer.items()) | changes)})
        return [norm.removeprefix("re:^0[.]").removesuffix("$") for norm, _ in smoothed(model, "int8-smooth")]

    assert pairs() == ["input_layernorm", "post_attention_layernorm"]
    assert pairs(pre_feedforward_layernorm=torch.nn.Identity()) == ["input_layernorm", "pre_feedforward_layernorm"]
    assert pairs(self_attn=linears(in_proj=(8, 8), out_proj=(8, 8))) == ["post_attention_layernorm"]
    with pytest.raises(StudioError, match="int8-smooth does not know how"):
        pairs(self_attn=linears(qkv=(8, 8)), mlp=linears(gate=(8, 8)))
