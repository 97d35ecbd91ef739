"""What all trainings share: the model as its method wants it (all weights, an adapter, an adapter over 4 bits), and its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from studio import peak
from studio.checkpoints.base import count_parameters
from studio.errors import StudioError
from studio.jobs.runs import Run
from studio.recipes.schema import Cpt, Dpo, Preference, Sft, Training
from studio.stages import checkpoint
from studio.stages import model as models
from studio.stages.layout import Layout, Plan, make_plan, warmup_steps
from studio.stages.story import Story
from studio.stages.watching import Counted, Measured, metrics_of


class Prepared(NamedTuple):
    """A model that is ready to be trained."""

    model: Any
    precision: models.Precision
    plan: Plan
    write: Callable[[str, Measured, Counted], None]
    """Writes a checkpoint; its name is the run's and this one."""
    flops: float
    """Of a token; 0 where they are not told."""


def prepare(run: Run, recipe: Cpt | Sft | Preference, layout: Layout, weights: Path, speech: Path, rows: int, tokens: int, story: Story) -> Prepared:
    """Load ``weights`` as the recipe's method wants them and tell the plan of training on ``rows`` with ``tokens`` an epoch. ``speech``
    holds the tokenizer's files that go into each checkpoint."""
    models.insist_on_what_it_needs(recipe)
    parameters = count_parameters(weights)
    full, sharded = recipe.method == "full", isinstance(recipe, Cpt) and recipe.sharded
    if sharded and not full:
        raise StudioError(f"sharded = true spreads weights that learn; with method = {recipe.method} set it to false.")
    precision = models.choose_precision(recipe, parameters, recipe.devices if isinstance(recipe, Cpt) and sharded else 1)
    if full and precision.said == models.PLAIN_BF16:
        story.warning("Weights are plain bf16: updates smaller than half a bf16 step are lost and too little is learned; auto is better.")
    story.phase("Loading the model")
    attention = models.attention(precision.autocast)
    model = models.load_model(weights, precision.weights, attention, run.inputs.trust_remote_code, four_bit=recipe.method == "qlora")
    if full:
        if run.inputs.parent_kind == "adapter":
            model = models.load_adapter(model, run.inputs.parent_path, trainable=False).merge_and_unload()
        models.let_learn(model)
    else:
        model = models.with_adapter(model, run.inputs, recipe, story)
    plan = make_plan(recipe, layout, rows, tokens)
    facts = planned_facts(recipe, plan, model, parameters, precision)
    story.event("plan", **facts)
    own_template = isinstance(recipe, Cpt)

    def write(name: str, measured: Measured, counted: Counted) -> None:
        state = models.whole_weights(model) if full else {}

        def files(folder: Path) -> None:
            if full:
                models.save_weights(model, state, folder)
            else:
                models.save_adapter(model, folder, weights)
            models.save_speech(folder, speech, keep_own=own_template)

        metrics = metrics_of(measured, counted, story)
        checkpoint.write_checkpoint(run, story, f"{run.id}-{name}", "full" if full else "adapter", measured.epoch, counted.tokens, metrics, files)

    return Prepared(model, precision, plan, write, float(facts.get("flops_per_token", 0)))


def token_cost(recipe: Training, model: Any) -> float:
    """FLOPs of a token, by ``peak.flops_a_token``; 0 where only some of the weights work on each (a mixture of experts)."""
    config = model.config
    if any(getattr(config, name, 0) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        return 0.0
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        kept = getattr(parameter, "quant_state", None)  # four bits lie packed, two in a byte
        sizes[bool(parameter.requires_grad)] += prod(kept.shape) if kept is not None else parameter.numel()
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    if head is None or head.weight is not embedding:  # then looked up, never multiplied
        sizes[bool(embedding.requires_grad)] -= embedding.numel()
    return peak.flops_a_token(sizes[False], sizes[True], references=isinstance(recipe, Dpo))


def planned_facts(recipe: Training, plan: Plan, model: Any, parameters: int, precision: models.Precision) -> dict[str, Any]:
    """For the ``plan`` event: the arithmetic, what of the model learns, and what a reading of the run must know."""
    flops = token_cost(recipe, model) if models.on_cuda() and (precision.autocast or precision.weights == "bfloat16") else 0.0
    return {
        **plan.facts(),
        "warmup_steps": warmup_steps(recipe, plan),
        "max_grad_norm": recipe.max_grad_norm,
        "vocabulary": int(getattr(model.config, "vocab_size", 0) or 0),
        "parameters": parameters,
        "trainable": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "precision": precision.said,
        **({"flops_per_token": flops} if flops else {}),
    }
