"""Supervised fine-tuning: an adapter, or all weights, learn to speak as the character; only her turns count."""

from __future__ import annotations

from pathlib import Path

from studio.checkpoints.templates import template_for
from studio.jobs.runs import Run
from studio.recipes.schema import Sft
from studio.stages import data
from studio.stages import model as models
from studio.stages.layout import choose_layout
from studio.stages.preparing import prepare
from studio.stages.probing import prepare_probing
from studio.stages.stopping import StopWish
from studio.stages.story import Story
from studio.stages.training import Progress, train_texts


def train_sft(run: Run, recipe: Sft, story: Story, wish: StopWish) -> Progress:
    """Run an SFT. Its checkpoints are in place when the plan's last step is reached."""
    inputs = run.inputs
    weights = models.check_source(inputs)
    # The parent's own tokenizer files: for an adapter they lie beside it, with the template it was trained with.
    speech = Path(inputs.parent_path)
    story.phase("Reading the dialogue")
    template = template_for(speech)
    tokenizer = models.load_transformers_tokenizer(speech, inputs.trust_remote_code)
    layout = choose_layout(recipe, weights, story)
    dialogue, held_out = (data.conversations(data.read_rows(inputs.data, half), tokenizer, template, layout.length) for half in ("train", "val"))
    data.require_rows(dialogue, "train")
    data.require_rows(held_out, "val")
    train_rows, val_rows = (data.batches(split.rows, layout.length, layout.packed, split_long=False) for split in (dialogue, held_out))
    story.event("data", **data.facts(dialogue, held_out), template=template.name, end_of_turn=template.end_of_turn)

    ready = prepare(run, recipe, layout, weights, speech, len(train_rows), dialogue.kept_tokens, story)
    probing = prepare_probing(run, recipe, tokenizer, template, (dialogue.rows, held_out.rows), models.is_hybrid(weights), story)
    return train_texts(
        run.path, story, wish, recipe, ready.plan, ready.precision, ready.model, tokenizer, train_rows, val_rows, ready.write, ready.flops, probing
    )
