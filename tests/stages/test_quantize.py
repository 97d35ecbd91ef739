"""Quantized folders load, speak like their parent, and are refused or warned about where they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studio.checkpoints.store import read_checkpoint
from studio.recipes.schema import Quantize
from studio.stages import quantize as quantizing
from studio.stages.__main__ import main
from studio.stages.model import load_model
from studio.stages.quantize import layer_groups, log_probabilities

from .conftest import MakeRun, done, events, result


def test_an_adapter_is_merged_quantized_and_checked(make_run: MakeRun, pocket: Path) -> None:
    done(make_run("sft", rank=4, alpha=8))
    run = make_run("quantize", parent="sft-1-e1", weights=pocket, kind="adapter", scheme="int4-gptq", calibration_rows=8, calibration_length=64)
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

    # Once is enough, and what is quantized is no start for a training.
    again = make_run("quantize", "quantize-2", parent="sft-1-e1", weights=pocket, kind="adapter", scheme="int4-gptq")
    assert main([str(again)]) == 1
    assert result(again)["error"].startswith("sft-1-e1-int4-gptq exists already")
    onward = make_run("cpt", parent="sft-1-e1-int4-gptq")
    assert main([str(onward)]) == 1
    assert "is quantized and cannot be trained on" in result(onward)["error"]


def test_fp8_needs_no_data_and_a_broken_one_is_called_broken(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizing, "BROKEN", 0.0)
    run = make_run("quantize", scheme="fp8-dynamic", train=[], val=[])
    settings = json.loads((run / "inputs.json").read_text()) | {"data": ""}
    (run / "inputs.json").write_text(json.dumps(settings))
    done(run)
    assert read_checkpoint(run.parent.parent / "checkpoints" / "base-fp8-dynamic").metrics["kl"] < 0.1
    assert "base-fp8-dynamic is broken" in events(run, "warning")[0]["text"]


def test_widths_decide_what_is_quantized() -> None:
    model = torch.nn.ModuleDict(
        {
            "q_proj": torch.nn.Linear(256, 64),
            "odd_proj": torch.nn.Linear(192, 64),
            "thin_proj": torch.nn.Linear(256, 8),
            "crooked_proj": torch.nn.Linear(50, 64),
            "lm_head": torch.nn.Linear(256, 512),
            "linear_attn": torch.nn.ModuleDict({"in_proj": torch.nn.Linear(256, 64)}),
        }
    )
    assert layer_groups(model, Quantize(scheme="int4-rtn")) == ({128: ["q_proj"], 64: ["odd_proj"]}, ["thin_proj", "crooked_proj"])
    assert layer_groups(model, Quantize(scheme="fp8-dynamic")) == ({0: ["q_proj", "odd_proj"]}, ["thin_proj", "crooked_proj"])
