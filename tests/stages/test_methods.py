"""Every method, variant and optimizer that the recipe offers learns, and what it writes is what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.checkpoints.store import read_checkpoint
from studio.checkpoints.templates import template_for
from studio.jobs.runs import read_run
from studio.recipes.schema import Cpt, Dpo, Sft
from studio.stages import data
from studio.stages.__main__ import of_few_bits
from studio.stages.model import load_adapter, load_model, load_transformers_tokenizer
from studio.stages.preparing import token_cost

from .conftest import MakeRun, dialogue, done, events, lore
from .test_training import loss_by_hand


def val_rows(folder: Path, rows: list[Any]) -> list[data.Row]:
    return data.conversations(rows, load_transformers_tokenizer(folder, trust=False), template_for(folder), 96).rows


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"variant": "dora", "optimizer": "adafactor"}, 1e-4),
        ({"variant": "rslora", "optimizer": "lion-8bit", "learning_rate": 1e-4}, 1e-4),
        ({"variant": "pissa", "optimizer": "paged-adamw-8bit"}, 1e-3),
        ({"method": "full", "precision": "bf16-kahan"}, 1e-2),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_is_written_is_what_was_trained(make_run: MakeRun, pocket: Path, settings: dict[str, Any], tolerance: float) -> None:
    val = dialogue(8)[6:]
    run = make_run("sft", **{"rank": 4, "alpha": 8, "length": 96, "train": dialogue(4), "val": val, **settings})
    done(run)
    before, after = (e["val_loss"] for e in (events(run, "eval")[0], events(run, "eval")[-1]))
    assert after < before
    folder = run.parent.parent / "checkpoints" / "sft-1-e1"
    full = settings.get("method") == "full"
    assert read_checkpoint(folder).kind == ("full" if full else "adapter")
    if full:
        tuned = load_model(folder, "float32", "sdpa", trust=False)
        assert events(run, "plan")[0]["trainable"] == 4_197_120
    else:
        tuned = load_adapter(load_model(pocket, "float32", "sdpa", trust=False), str(folder), trainable=False)
        if settings.get("variant") in ("pissa", "olora"):
            assert json.loads((folder / "adapter_config.json").read_text())["r"] == 8
    assert loss_by_hand(tuned.eval(), val_rows(folder, val)) == pytest.approx(after, rel=tolerance)


def test_four_bits_learn_and_evaluation_does_not_cut_the_gradients(make_run: MakeRun, pocket: Path) -> None:
    """Looking at the model on the way must change nothing of what is learned (bitsandbytes repacks weights in evaluation on some CPUs)."""
    settings: dict[str, Any] = {
        "method": "qlora",
        "rank": 4,
        "alpha": 8,
        "length": 96,
        "train": dialogue(4),
        "val": dialogue(6)[4:],
        "gradient_checkpointing": True,
    }
    often, seldom = make_run("sft", evals_per_epoch=2, probes=1, probe_tokens=2, **settings), make_run("sft", "sft-2", evals_per_epoch=1, **settings)
    done(often)
    done(seldom)
    assert [e["loss"] for e in events(often, "step")] == [e["loss"] for e in events(seldom, "step")]
    measured = events(often, "eval")
    assert measured[-1]["val_loss"] < measured[0]["val_loss"] and len(measured) == 3
    assert events(often, "plan")[0]["precision"].startswith("4-bit weights (NF4)")
    folder = often.parent.parent / "checkpoints" / "sft-1-e1"
    tuned = load_adapter(load_model(pocket, "float32", "sdpa", trust=False, four_bit=True), str(folder), trainable=False)
    assert type(tuned.get_base_model().model.layers[0].mlp.up_proj.base_layer).__name__ == "Linear4bit"
    assert {tensor.dtype for tensor in load_file(folder / "adapter_model.safetensors").values()} == {torch.float32}
    assert loss_by_hand(tuned.eval(), val_rows(folder, dialogue(6)[4:])) == pytest.approx(measured[-1]["val_loss"], rel=1e-3)


def test_what_a_token_costs(pocket: Path) -> None:
    """Six for each weight that learns; the embeddings count once, since the pocket's head is the same matrix."""
    from peft import LoraConfig, get_peft_model

    plain = load_model(pocket, "float32", "sdpa", trust=False).requires_grad_(True)
    assert token_cost(Cpt(), plain) == 6 * 4_197_120
    tuned = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=4))
    adapter = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    assert adapter and token_cost(Sft(), tuned) == 4 * 4_197_120 + 6 * adapter
    assert token_cost(Dpo(), tuned) == 6 * 4_197_120 + 8 * adapter
    # A head of its own: then the embeddings are only looked up.
    head = torch.nn.Linear(plain.config.hidden_size, plain.config.vocab_size, bias=False).requires_grad_(False)
    embedded = plain.get_input_embeddings().weight.numel()
    plain.set_output_embeddings(head)
    assert token_cost(Sft(), tuned) == 4 * (4_197_120 - embedded + head.weight.numel()) + 6 * adapter
    plain.config.num_experts = 8
    assert token_cost(Sft(), tuned) == 0


def test_lore_into_an_adapter_and_on_from_it(make_run: MakeRun, pocket: Path) -> None:
    run = make_run("cpt", method="lora", rank=16, alpha=16, train=lore(4))
    done(run)
    measured = events(run, "eval")
    folder = run.parent.parent / "checkpoints" / "cpt-1-e1"
    assert measured[-1]["val_loss"] < measured[0]["val_loss"] and read_checkpoint(folder).kind == "adapter"
    # All weights learn on from it: it is folded in first.
    chained = make_run("sft", "sft-2", parent="cpt-1-e1", weights=pocket, kind="adapter", method="full", train=dialogue(2), length=96)
    done(chained)
    rows = val_rows(folder, dialogue(28)[24:])
    start = load_adapter(load_model(pocket, "float32", "sdpa", trust=False), str(folder), trainable=False).eval()
    assert events(chained, "eval")[0]["val_loss"] == pytest.approx(loss_by_hand(start, rows), rel=1e-4)
    assert read_checkpoint(folder.with_name("sft-2-e1")).kind == "full"


def test_bitsandbytes_is_left_out_where_nothing_has_few_bits(make_run: MakeRun) -> None:
    wanted = [{"method": "qlora"}, {"optimizer": "adamw-8bit"}, {"optimizer": "paged-adamw"}]
    assert all(of_few_bits(read_run(make_run("sft", f"sft-{n}", **settings))) for n, settings in enumerate(wanted))
    plain = [make_run("sft", "sft-8"), make_run("cpt", optimizer="adafactor"), make_run("quantize"), make_run("merge", checkpoints=["a"])]
    assert not any(of_few_bits(read_run(run)) for run in plain)
