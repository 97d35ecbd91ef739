"""A training from its run folder to its checkpoints, and that its numbers are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studio.checkpoints.base import load_tokenizer
from studio.checkpoints.store import read_checkpoint
from studio.checkpoints.templates import template_for
from studio.jobs.runs import read_run
from studio.stages import data
from studio.stages.layout import Plan, even_micro_batch
from studio.stages.model import load_adapter, load_model, load_transformers_tokenizer

from .conftest import MakeRun, dialogue, done, events, lore, losses


def loss_by_hand(model: object, rows: list[data.Row]) -> float:
    """Mean over all counted tokens of all rows, each read alone."""
    total, count = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]  # type: ignore[operator]
        targets = torch.tensor(row.labels[1:])
        total += float(torch.nn.functional.cross_entropy(logits.float(), targets, ignore_index=data.IGNORED, reduction="sum"))
        count += int((targets != data.IGNORED).sum())
    return total / count


def test_cpt_from_recipe_to_checkpoints(make_run: MakeRun, pocket: Path) -> None:
    run = make_run("cpt", epochs=1.5, evals_per_epoch=2)
    outcome = done(run)
    assert outcome["checkpoints"] == ["cpt-1-e1", "cpt-1-e2"]
    (plan,) = events(run, "plan")
    assert outcome["global_step"] == outcome["planned_steps"] == plan["steps"] == len(events(run, "step"))
    assert plan["parameters"] == plan["trainable"] == 4_197_120
    (counts,) = events(run, "data")
    assert counts["kept_tokens"] == counts["tokens"] and counts["train_rows"] == 24 and counts["val_rows"] == 4
    measured = events(run, "eval")
    assert measured[0]["step"] == 0 and measured[0]["train_loss"] is None
    assert measured[-1]["val_loss"] < measured[0]["val_loss"]
    assert measured[-1]["gap"] == pytest.approx((measured[-1]["val_loss"] - measured[-1]["train_loss"]) / measured[-1]["train_loss"])
    status = read_run(run).status
    assert (status.state, status.step, status.checkpoints) == ("queued", plan["steps"], outcome["checkpoints"])
    assert not (run / "trainer").exists()

    first, last = (read_checkpoint(run.parent.parent / "checkpoints" / name) for name in outcome["checkpoints"])
    assert (last.stage, last.parent, last.base, last.kind, last.run, last.snapshot) == ("cpt", "base", "pocket", "full", "cpt-1", "snapshot-1")
    assert last.recipe == (run / "recipe.toml").read_text()
    assert 0 < first.tokens_seen < last.tokens_seen == events(run, "step")[-1]["tokens"]
    assert last.metrics["val_loss"] == measured[-1]["val_loss"]

    folder = Path(last.path)
    assert "<|im_start|>" in (folder / "chat_template.jinja").read_text()
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2, 0]
    saved = load_model(folder, "float32", "sdpa", trust=False)
    tokenizer = load_transformers_tokenizer(folder, trust=False)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    by_hand = loss_by_hand(saved, data.documents(lore(28)[24:], tokenizer).rows)
    # Rounding the weights to bf16 on saving moves the loss in the third digit; texts over 64 tokens were read in pieces.
    assert by_hand == pytest.approx(measured[-1]["val_loss"], rel=0.02)
    assert (folder / "model.safetensors").stat().st_size < 8_500_000


@pytest.mark.parametrize("packing", [True, False])
def test_the_loss_of_a_step_is_the_mean_over_its_tokens(make_run: MakeRun, pocket: Path, packing: bool) -> None:
    """One step over texts of very different lengths, gathered from micro-batches of one."""
    texts = [{"text": "Rain."}, {"text": "Rain. " * 3}, {"text": lore(1)[0]["text"][:200]}]
    run = make_run("cpt", train=texts, val=texts, packing=packing, batch=4, length=256 if not packing else 40, neftune=0.0)
    done(run)
    model = load_model(pocket, "float32", "sdpa", trust=False)
    split = data.documents(texts, load_transformers_tokenizer(pocket, trust=False))
    rows = split.rows
    if packing:
        rows = [data.Row(row.input_ids[i : i + 40], row.labels[i : i + 40]) for row in rows for i in range(0, len(row.input_ids), 40)]
    expected = loss_by_hand(model, rows)
    assert losses(run)[0][1] == pytest.approx(expected, rel=1e-5)
    assert events(run, "eval")[0]["val_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_last_step_of_an_epoch_counts_what_it_has(make_run: MakeRun, pocket: Path) -> None:
    """Five texts in steps of four: the fifth is a step of its own, its loss a mean over its own tokens. With hardly any step size the
    losses of both steps, weighed by their tokens, are those of the untouched model."""
    texts = [{"text": " ".join(row["text"].split()[: 4 + 5 * number])} for number, row in enumerate(lore(5))]
    run = make_run("cpt", train=texts, val=texts[:1], packing=False, batch=4, length=128, learning_rate=1e-12)
    done(run)
    steps = events(run, "step")
    assert len(steps) == events(run, "plan")[0]["steps"] == 2
    counted = [steps[0]["tokens"] - 4, steps[1]["tokens"] - steps[0]["tokens"] - 1]  # nothing predicts the first token of a text
    rows = data.documents(texts, load_transformers_tokenizer(pocket, trust=False)).rows
    assert sum(counted) == sum(len(row.input_ids) - 1 for row in rows) and counted[0] != 4 * counted[1]
    told = sum(step["loss"] * tokens for step, tokens in zip(steps, counted, strict=True)) / sum(counted)
    assert told == pytest.approx(loss_by_hand(load_model(pocket, "float32", "sdpa", trust=False), rows), rel=1e-5)


def test_the_same_run_twice_gives_the_same_losses(make_run: MakeRun) -> None:
    first, second = (make_run("sft", name, rank=4, alpha=8, dropout=0.1, train=dialogue(8)) for name in ("sft-1", "sft-2"))
    done(first)
    done(second)
    assert losses(first) == losses(second) and len(losses(first)) > 3
    third = make_run("sft", "sft-3", rank=4, alpha=8, dropout=0.1, train=dialogue(8), seed=18)
    done(third)
    assert losses(third) != losses(first)


def test_sft_learns_to_speak_and_to_stop(make_run: MakeRun, pocket: Path) -> None:
    run = make_run("sft", rank=8, alpha=16, gradient_checkpointing=True, length=96)
    done(run)
    folder = run.parent.parent / "checkpoints" / "sft-1-e1"
    card = read_checkpoint(folder)
    assert card.kind == "adapter" and set(card.digests) >= {"adapter_model.safetensors", "chat_template.jinja", "tokenizer.json"}
    ids = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert ids == [load_tokenizer(pocket).token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(pocket.resolve()) and settings["r"] == 8
    measured = events(run, "eval")
    assert measured[-1]["val_loss"] < measured[0]["val_loss"]
    tuned = load_adapter(load_model(pocket, "float32", "sdpa", trust=False), str(folder), trainable=False).eval()
    split = data.conversations(
        [json.loads(line) for line in (Path(read_run(run).inputs.data) / "val.jsonl").read_text().splitlines()],
        load_transformers_tokenizer(folder, trust=False),
        template_for(folder),
        96,
    )
    assert loss_by_hand(tuned, split.rows) == pytest.approx(measured[-1]["val_loss"], rel=1e-4)

    # A second SFT goes on from the first one's adapter: it starts where that one ended.
    again = make_run("sft", "sft-2", parent="sft-1-e1", weights=pocket, kind="adapter", rank=4, alpha=8, length=96)
    done(again)
    assert events(again, "eval")[0]["val_loss"] == pytest.approx(measured[-1]["val_loss"], rel=1e-5)
    assert "rank 8" in events(again, "warning")[0]["text"]
    assert read_checkpoint(folder.with_name("sft-2-e1")).parent == "sft-1-e1"


def test_plan_arithmetic() -> None:
    plan = Plan(rows=25, tokens=1600, batch=4, micro_batch=2, epochs=2.5, packed=True, evals_per_epoch=2, saves_per_epoch=1)
    assert (plan.accumulation, plan.steps_per_epoch, plan.steps) == (2, 7, 18)
    assert plan.epoch_ends() == {7: 1, 14: 2, 18: 3}
    assert plan.points(2) == {4, 7, 10, 14, 18}
    assert [even_micro_batch(12, wanted) for wanted in (1, 5, 8, 99)] == [1, 4, 6, 12]
