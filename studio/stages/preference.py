"""Preference: an adapter learns which of two replies is more her. DPO and ORPO share all but their loss.

DPO compares with a frozen reference: TRL (1.16) copies a PEFT model's adapter as ``ref`` before the first step, so the reference is the
SFT adapter itself (or, under a new adapter, the bare weights: a new one changes nothing yet).

ORPO is TRL's in its odds-ratio term, and the paper's in its likelihood: TRL's trainer (``trl.experimental.orpo`` 1.16) lets the prompt
carry loss, puts an end of document after the end of turn, and holds all logits in memory. Here the better reply alone is learned, as in
SFT, with the fused head of its DPO trainer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from trl import DPOConfig, DPOTrainer

from studio.checkpoints.templates import template_for
from studio.jobs.runs import Run
from studio.recipes.schema import Dpo, Preference
from studio.stages import data, pairs
from studio.stages import model as models
from studio.stages.layout import Layout, even_micro_batch, readable_length
from studio.stages.preparing import prepare
from studio.stages.probing import prepare_probing
from studio.stages.stopping import StopWish
from studio.stages.story import Story
from studio.stages.training import Progress, Watched, common_settings, on_its_device, train
from studio.stages.watching import REWARDS

REFERENCE = "ref"
"""Name TRL gives the frozen copy of the adapter."""


class PairTrainer(Watched, DPOTrainer):
    """DPO; the validation's loss, margin and accuracy are means over pairs."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Rows come tokenized."""
        return dataset

    def measure(self, model: Any, inputs: Any) -> tuple[dict[str, float], int]:
        size = len(inputs["input_ids"]) // 2
        self._metrics["eval"].clear()
        accelerator: Any = self.accelerator
        # Of several processes each measures its own pairs here; the sums are made of all of them later.
        accelerator.gather = accelerator.gather_for_metrics = lambda value: value
        try:
            found = {"loss": float(self.compute_loss(model, inputs)) * size}
        finally:
            del accelerator.gather, accelerator.gather_for_metrics
        found |= {name: self._metrics["eval"][key][-1] * size for name, key in REWARDS.items()}
        self._metrics["eval"].clear()
        return found, size

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Only the adapter that is trained. With the reference beside it in a folder of its own, the library would load that folder alone
        on going on (transformers 5.17, ``_load_from_checkpoint``) and silently begin anew; the reference comes from the parent again."""
        model: Any = self.model
        model.save_pretrained(output_dir, selected_adapters=["default"], save_embedding_layers=False)
        torch.save(self.args, Path(str(output_dir)) / "training_args.bin")


class OrpoTrainer(PairTrainer):
    """ORPO: likelihood of the better reply, and the odds of preferring it. No reference."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        tuned: Any = self.model
        tuned.delete_adapter(REFERENCE)

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        mask = inputs["completion_mask"][:, 1:]
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, data.IGNORED)
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels, use_cache=False, fused_lm_head=True)
        tokens = outputs.log_probs.float()
        chosen, rejected = (tokens.sum(1) / mask.sum(1)).chunk(2)
        likelihood = -tokens.chunk(2)[0].sum() / mask.chunk(2)[0].sum()
        odds = log_odds(chosen) - log_odds(rejected)
        loss = likelihood - self.beta * logsigmoid(odds).mean()
        mode = "train" if model.training else "eval"
        gather = self.accelerator.gather_for_metrics
        if mode == "train":
            self._total_train_tokens += int(gather(inputs["attention_mask"].sum()).sum())
            self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        better, worse = self.beta * chosen.detach(), self.beta * rejected.detach()
        told = {"margins": better - worse, "accuracies": (better > worse).float(), "chosen": better, "rejected": worse}
        for name, value in told.items():
            self._metrics[mode][f"rewards/{name}"].append(float(gather(value).mean()))
        return (loss, outputs) if return_outputs else loss


def log_odds(mean_log_probability: torch.Tensor) -> torch.Tensor:
    """log(p / (1 - p)) of a reply's mean probability a token, exact for p near 1 and near 0."""
    p = mean_log_probability
    nearly_sure = p > -0.6931471805599453
    # The branch not taken is kept finite: its infinite gradient would turn 0 times infinity into no number.
    sure = torch.log(-torch.expm1(torch.where(nearly_sure, p.clamp(max=-1e-7), torch.full_like(p, -1.0))))
    unsure = torch.log1p(-torch.exp(torch.where(nearly_sure, torch.full_like(p, -1.0), p)))
    return p - torch.where(nearly_sure, sure, unsure)


def train_preference(run: Run, recipe: Preference, story: Story, wish: StopWish) -> Progress:
    """Run a DPO or ORPO. Its checkpoints are in place when the plan's last step is reached."""
    inputs = run.inputs
    weights = models.check_source(inputs)
    # The parent's own tokenizer files: for an adapter they lie beside it, with the template it was trained with.
    speech = Path(inputs.parent_path)
    story.phase("Reading the pairs")
    template = template_for(speech)
    tokenizer = models.load_transformers_tokenizer(speech, inputs.trust_remote_code)
    layout = choose_layout(recipe, weights, story)
    known, held_out = (pairs.tokenized(data.read_rows(inputs.data, half), tokenizer, template, layout.length) for half in ("train", "val"))
    data.require_rows(known, "train")
    data.require_rows(held_out, "val")
    story.event("data", **data.facts(known, held_out), template=template.name, end_of_turn=template.end_of_turn)

    ready = prepare(run, recipe, layout, weights, speech, len(known.rows), known.kept_tokens, story)
    settings = on_its_device(DPOConfig(**common_settings(run.path, recipe, ready.plan, ready.precision), beta=recipe.beta, disable_dropout=True))
    trainer = (PairTrainer if isinstance(recipe, Dpo) else OrpoTrainer)(
        model=ready.model,
        args=settings,
        train_dataset=pairs.dataset(known.rows),
        eval_dataset=pairs.dataset(held_out.rows),
        processing_class=tokenizer,
    )
    trainer.probing = prepare_probing(run, recipe, tokenizer, template, (better(known), better(held_out)), models.is_hybrid(weights), story)
    return train(trainer, run.path, story, wish, recipe, ready.plan, ready.precision, ready.write, ready.flops)


def better(split: pairs.PairSplit) -> list[data.Row]:
    """The prompts with their better replies, as SFT would read them."""
    return [data.Row([*row.prompt, *row.chosen], [*[data.IGNORED] * len(row.prompt), *row.chosen]) for row in split.rows]


def choose_layout(recipe: Preference, weights: Path, story: Story) -> Layout:
    """Pairs go through unpacked: a step's memory is that of twice ``micro_batch`` sequences."""
    micro = even_micro_batch(recipe.batch // recipe.devices, recipe.micro_batch)
    return Layout(readable_length(recipe, weights, story), False, micro, recipe.devices)
