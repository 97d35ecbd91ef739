"""Continued pre-training: all weights, or a large adapter, learn the lore; every token counts."""

from __future__ import annotations

from studio.jobs.runs import Run
from studio.recipes.schema import Cpt
from studio.stages import data
from studio.stages import model as models
from studio.stages.layout import choose_layout
from studio.stages.preparing import prepare
from studio.stages.probing import prepare_probing
from studio.stages.stopping import StopWish
from studio.stages.story import Story
from studio.stages.training import Progress, train_texts


def train_cpt(run: Run, recipe: Cpt, story: Story, wish: StopWish) -> Progress:
    """Run a CPT. Its checkpoints are in place when the plan's last step is reached."""
    inputs = run.inputs
    weights = models.check_source(inputs)
    story.phase("Reading the lore")
    tokenizer = models.load_transformers_tokenizer(weights, inputs.trust_remote_code)
    lore, held_out = (data.documents(data.read_rows(inputs.data, half), tokenizer) for half in ("train", "val"))
    data.require_rows(lore, "train")
    data.require_rows(held_out, "val")
    layout = choose_layout(recipe, weights, story)
    train_rows, val_rows = (data.batches(split.rows, layout.length, layout.packed, split_long=True) for split in (lore, held_out))
    story.event("data", **data.facts(lore, held_out))

    ready = prepare(run, recipe, layout, weights, weights, len(train_rows), lore.kept_tokens, story)
    probing = prepare_probing(run, recipe, tokenizer, None, (lore.rows, held_out.rows), models.is_hybrid(weights), story)
    return train_texts(
        run.path, story, wish, recipe, ready.plan, ready.precision, ready.model, tokenizer, train_rows, val_rows, ready.write, ready.flops, probing
    )
