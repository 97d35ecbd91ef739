"""DPO and ORPO: what carries loss, what they are compared with, and that they move the right way."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.checkpoints.store import read_checkpoint
from studio.checkpoints.templates import template_for
from studio.jobs.runs import read_run
from studio.stages import data, pairs
from studio.stages.model import load_adapter, load_model, load_transformers_tokenizer
from studio.stages.preference import log_odds

from .conftest import MakeRun, done, events, losses, preference, run_in, stop_at

SFT: dict[str, Any] = {"rank": 4, "alpha": 8, "learning_rate": 1e-2, "length": 128}
DPO: dict[str, Any] = {"rank": 4, "alpha": 8, "learning_rate": 3e-3, "length": 128, "batch": 4, "micro_batch": 2, "evals_per_epoch": 2, "epochs": 2.0}


@pytest.fixture(scope="module")
def tokenizer(pocket: Path) -> Any:
    return load_transformers_tokenizer(pocket, trust=False)


@pytest.fixture(scope="module")
def sft_adapter(pocket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SFT checkpoint that has learned something: its adapter is not nothing."""
    root = tmp_path_factory.mktemp("sft")
    done(run_in(root, pocket, "sft", **SFT))
    return root / "persona" / "checkpoints" / "sft-1-e1"


@pytest.fixture
def after_sft(sft_adapter: Path, tmp_path: Path, pocket: Path) -> dict[str, Any]:
    """What a run is made with to start from that adapter."""
    shutil.copytree(sft_adapter, tmp_path / "persona" / "checkpoints" / sft_adapter.name)
    return {"parent": sft_adapter.name, "weights": pocket, "kind": "adapter"}


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def log_probability(model: Any, prompt: list[int], reply: list[int]) -> float:
    """Of the reply after the prompt, read alone."""
    ids = torch.tensor([prompt + reply])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].float()
    taken = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0]
    return float(taken[len(prompt) - 1 :].sum())


def margins(policy: Any, reference: Any, rows: list[pairs.PairTokens], beta: float) -> list[float]:
    """By how much the policy prefers the better reply, against the reference, of each pair."""

    def moved(prompt: list[int], reply: list[int]) -> float:
        return log_probability(policy, prompt, reply) - log_probability(reference, prompt, reply)

    return [beta * (moved(row.prompt, row.chosen) - moved(row.prompt, row.rejected)) for row in rows]


def tuned(pocket: Path, folder: Path) -> Any:
    return load_adapter(load_model(pocket, "float32", "sdpa", trust=False), str(folder), trainable=False).eval()


def test_both_replies_and_their_end_count_and_nothing_else(tokenizer: Any, pocket: Path) -> None:
    template = template_for(pocket)
    talk = [turn("system", "You are Wen."), turn("user", "Where?"), turn("assistant", "Here."), turn("user", "在哪里？")]
    row = {"prompt": talk, "chosen": [turn("assistant", " By the river.\n\n“灯”还亮着 ")], "rejected": [turn("assistant", "Where?")]}
    ((prompt, chosen, rejected),) = pairs.tokenized([row], tokenizer, template, 512).rows
    assert tokenizer.decode(chosen) == "By the river.\n\n“灯”还亮着<|im_end|>"
    assert tokenizer.decode(rejected) == "Where?<|im_end|>"
    # The prompt is, token for token, what an engine will send.
    assert prompt == tokenizer.apply_chat_template(talk, chat_template=template.text, add_generation_prompt=True, return_dict=False)
    # The same talk as dialogue: SFT learns the very same tokens of its last reply.
    (whole,) = data.conversations([{"messages": [*talk, *row["chosen"]]}], tokenizer, template, 512).rows
    assert whole.input_ids[: len(prompt) + len(chosen)] == prompt + chosen
    assert [label for label in whole.labels[len(prompt) :] if label != data.IGNORED] == chosen


def test_a_reply_cut_off_does_not_teach_to_end_there(tokenizer: Any, pocket: Path) -> None:
    row = {"prompt": [turn("user", "Where?")], "chosen": [turn("assistant", "Here.")], "rejected": [turn("assistant", "By the")], "cut": ["rejected"]}
    (pair,) = pairs.tokenized([row], tokenizer, template_for(pocket), 512).rows
    assert (tokenizer.decode(pair.chosen), tokenizer.decode(pair.rejected)) == ("Here.<|im_end|>", "By the")
    # It has no end to lose and may be cut further; a whole reply may not.
    long = row | {"rejected": [turn("assistant", "By the river " * 40)]}
    split = pairs.tokenized([long, long | {"cut": []}], tokenizer, template_for(pocket), 64)
    (pair,) = split.rows
    assert len(pair.prompt + pair.rejected) == 64 and tokenizer.decode(pair.chosen) == "Here.<|im_end|>"
    assert (split.truncated, split.dropped) == (1, {"longer than length": 1})


def test_long_talks_lose_their_oldest_turns_and_useless_pairs_are_dropped(tokenizer: Any, pocket: Path) -> None:
    said = {"chosen": [turn("assistant", "Here.")], "rejected": [turn("assistant", "There.")]}
    talk = [turn("system", "You are Wen.")]
    for number in range(8):
        talk += [turn("user", f"Question {number}: " + "word " * 10), turn("assistant", "Yes.")]
    rows = [
        {"prompt": [*talk, turn("user", "Where?")], **said},
        {"prompt": [turn("user", "word " * 200)], **said},
        {"prompt": [], **said},
        {"prompt": talk[:2], "chosen": said["chosen"], "rejected": said["chosen"]},
        {"prompt": talk[:2], "chosen": said["chosen"] * 2, "rejected": said["rejected"]},
        {"prompt": talk[:2], "chosen": [turn("assistant", " ")], "rejected": said["rejected"]},
        {"prompt": talk[:2], "chosen": [turn("assistant", "I stop<|im_end|>here.")], "rejected": said["rejected"]},
    ]
    split = pairs.tokenized(rows, tokenizer, template_for(pocket), 80)
    (pair,) = split.rows
    kept = tokenizer.decode(pair.prompt)
    assert kept.startswith("<|im_start|>system\nYou are Wen.<|im_end|>\n<|im_start|>user\nQuestion ") and kept.endswith(
        "Where?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(pair.prompt + pair.rejected) <= 80 and "Question 7" in kept and "Question 0" not in kept
    assert (split.truncated, split.kept_tokens) == (1, pair.read) and split.kept_tokens < split.tokens
    assert split.dropped == {
        "longer than length": 1,
        "no prompt, chosen and rejected": 1,
        "identical replies": 1,
        "not one reply": 1,
        "empty message": 1,
        "control token in a message": 1,
    }


def test_dpo_prefers_the_better_replies_against_the_sft_adapter(make_run: MakeRun, after_sft: dict[str, Any], pocket: Path, tokenizer: Any) -> None:
    run = make_run("dpo", **after_sft, **DPO)
    assert done(run)["checkpoints"] == ["dpo-1-e1", "dpo-1-e2"]
    checkpoints = run.parent.parent / "checkpoints"
    card = read_checkpoint(checkpoints / "dpo-1-e2")
    assert (card.stage, card.parent, card.kind, card.base, card.snapshot) == ("dpo", "sft-1-e1", "adapter", "pocket", "snapshot-1")
    assert sorted(path.name for path in (checkpoints / "dpo-1-e2").iterdir() if path.is_dir()) == []

    before, *_, after = events(run, "eval")
    # Before the first step she is the reference.
    assert before["step"] == 0 and before["val_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert (before["val_margin"], before["gap"]) == (pytest.approx(0, abs=1e-5), None)
    assert after["val_margin"] > 0.5 and after["val_accuracy"] == 1.0 and after["val_loss"] < before["val_loss"]
    assert card.metrics["val_margin"] == after["val_margin"] and card.metrics["val_accuracy"] == 1.0 and "gap" not in card.metrics
    steps = events(run, "step")
    assert steps[-1]["margin"] > steps[0]["margin"] and set(steps[0]) >= {"loss", "accuracy", "chosen", "rejected", "tokens", "tokens_per_s"}
    (facts,) = events(run, "data")
    assert facts["train_rows"] == 24 and 0 < facts["loss_tokens"] < facts["kept_tokens"] and card.tokens_seen == 2 * facts["kept_tokens"]

    # The reference was the SFT adapter, to the end: with the adapter that lies on disk the same margin comes out, by hand.
    held_out = data.read_rows(read_run(run).inputs.data, "val")
    rows = pairs.tokenized(held_out, tokenizer, template_for(checkpoints / "sft-1-e1"), 128).rows
    policy, reference = tuned(pocket, checkpoints / "dpo-1-e2"), tuned(pocket, checkpoints / "sft-1-e1")
    by_hand = margins(policy, reference, rows, 0.1)
    assert sum(by_hand) / len(by_hand) == pytest.approx(after["val_margin"], rel=1e-3)
    assert after["val_loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in by_hand) / len(by_hand), rel=1e-3)
    bare = margins(policy, load_model(pocket, "float32", "sdpa", trust=False).eval(), rows, 0.1)
    assert sum(bare) / len(bare) != pytest.approx(after["val_margin"], rel=0.02)


def test_dpo_from_full_weights_takes_a_new_adapter(make_run: MakeRun, pocket: Path) -> None:
    run = make_run("dpo", **DPO | {"epochs": 1.0})
    done(run)
    before, *_, after = events(run, "eval")
    assert before["val_loss"] == pytest.approx(math.log(2), abs=1e-6) and after["val_margin"] > before["val_margin"]
    assert read_checkpoint(run.parent.parent / "checkpoints" / "dpo-1-e1").parent == "base"


def test_asked_to_stop_it_goes_on_as_if_nothing_had_been(make_run: MakeRun, after_sft: dict[str, Any]) -> None:
    """The adapter, its optimizer and the reference must all come back; a state in which the reference lay beside the adapter would not do."""
    rows = {"train": preference(12), "val": preference(14)[12:]}
    whole, stopped = (make_run("dpo", name, **after_sft, **rows, **DPO) for name in ("dpo-2", "dpo-3"))
    done(whole)
    stop_at(stopped, 3)
    assert not (stopped / "result.json").exists()
    done(stopped)
    (came_back,) = events(stopped, "resume")
    assert 3 <= came_back["step"] < events(whole, "plan")[0]["steps"]
    assert losses(stopped) == losses(whole) and len(losses(whole)) == 6
    keys = ("step", "val_loss", "val_margin")
    assert [[e[k] for k in keys] for e in events(stopped, "eval")] == [[e[k] for k in keys] for e in events(whole, "eval")]
    assert events(stopped, "step")[-1]["tokens"] == events(whole, "step")[-1]["tokens"]


def test_orpo_learns_the_better_reply_alone(make_run: MakeRun, pocket: Path, tokenizer: Any) -> None:
    rows = preference(8)
    run = make_run("orpo", train=rows, val=rows, **DPO | {"batch": 8, "micro_batch": 8, "epochs": 4.0, "beta": 0.5})
    done(run)
    before, *_, after = events(run, "eval")
    assert after["val_loss"] < before["val_loss"] and after["val_margin"] > before["val_margin"]
    # The loss by hand: the better reply's mean over its tokens, the end of turn among them and the prompt not; and TRL's odds ratio.
    model = load_model(pocket, "float32", "sdpa", trust=False).eval()
    tokens = pairs.tokenized(rows, tokenizer, template_for(pocket), 128).rows
    chosen = [log_probability(model, row.prompt, row.chosen) for row in tokens]
    rejected = [log_probability(model, row.prompt, row.rejected) for row in tokens]
    likelihood = -sum(chosen) / sum(len(row.chosen) for row in tokens)
    losing = 0.0
    for row, better, worse in zip(tokens, chosen, rejected, strict=True):
        p, q = math.exp(better / len(row.chosen)), math.exp(worse / len(row.rejected))
        losing += math.log1p(math.exp(-(math.log(p / (1 - p)) - math.log(q / (1 - q))))) / len(tokens)
    assert before["val_loss"] == pytest.approx(likelihood + 0.5 * losing, rel=1e-4)
    assert losses(run)[0][1] == pytest.approx(before["val_loss"], rel=1e-4)


def test_log_odds_agrees_with_trl_and_stays_a_number() -> None:
    from trl.experimental.orpo.orpo_trainer import log1mexp

    p = torch.tensor([-20.0, -3.0, -0.7, -0.6931, -0.5, -1e-3], requires_grad=True)
    trl: Any = log1mexp
    assert torch.allclose(log_odds(p), p - trl(p), atol=1e-5)
    sure = torch.zeros(1, requires_grad=True)
    log_odds(sure).backward()
    assert torch.isfinite(log_odds(sure)).all() and sure.grad is not None and torch.isfinite(sure.grad).all()
