"""Continued pre-training: all weights learn the lore, every token counts."""

from __future__ import annotations

from pathlib import Path

from studio.checkpoints.base import count_parameters
from studio.jobs.runs import Run
from studio.recipes.schema import Cpt
from studio.stages import checkpoint, data
from studio.stages import model as models
from studio.stages.probing import prepare_probing
from studio.stages.stopping import StopWish
from studio.stages.story import Story
from studio.stages.training import Counted, Measured, Progress, choose_layout, make_plan, metrics_of, planned_facts, train_texts


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

    parameters = count_parameters(weights)
    precision = models.choose_precision(recipe, parameters, recipe.devices if recipe.sharded else 1)
    if recipe.precision == "bf16":
        story.warning("Weights are plain bf16: updates smaller than half a bf16 step are lost and the lore is learned too little; auto is better.")
    story.phase("Loading the model")
    model = models.load_model(weights, precision.weights, models.attention(precision.autocast), inputs.trust_remote_code)
    if inputs.parent_kind == "adapter":
        model = models.load_adapter(model, inputs.parent_path, trainable=False).merge_and_unload()
    plan = make_plan(recipe, layout, len(train_rows), lore.kept_tokens)
    model.requires_grad_(True)
    story.event("plan", **planned_facts(recipe, plan, model, parameters, precision))

    def write(name: str, measured: Measured, counted: Counted) -> None:
        state = models.whole_weights(model)

        def files(folder: Path) -> None:
            models.save_weights(model, state, folder)
            models.save_speech(folder, weights, keep_own=True)

        metrics = metrics_of(measured, counted, story)
        checkpoint.write_checkpoint(run, story, f"{run.id}-{name}", "full", measured.epoch, counted.tokens, metrics, files)

    probing = prepare_probing(run, recipe, tokenizer, None, (lore.rows, held_out.rows), models.is_hybrid(weights), story)
    return train_texts(run.path, story, wish, recipe, plan, precision, model, tokenizer, train_rows, val_rows, write, probing)
