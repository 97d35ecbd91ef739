"""What SFT, DPO and ORPO share: the model under a trainable adapter, and the checkpoint of that adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from studio.checkpoints.base import count_parameters
from studio.jobs.runs import Run
from studio.recipes.schema import Preference, Sft
from studio.stages import checkpoint
from studio.stages import model as models
from studio.stages.story import Story
from studio.stages.training import Counted, Layout, Measured, Plan, make_plan, metrics_of, planned_facts


class Prepared(NamedTuple):
    """A model that is ready to be trained."""

    model: Any
    precision: models.Precision
    plan: Plan
    write: Callable[[str, Measured, Counted], None]
    """Writes a checkpoint; its name is the run's and this one."""


def prepare(run: Run, recipe: Sft | Preference, layout: Layout, weights: Path, speech: Path, rows: int, tokens: int, story: Story) -> Prepared:
    """Load ``weights`` under the adapter and tell the plan of training on ``rows`` with ``tokens`` an epoch. ``speech`` holds the
    tokenizer's files that go into each checkpoint."""
    parameters = count_parameters(weights)
    precision = models.choose_precision(recipe, parameters)
    story.phase("Loading the model")
    model = models.load_model(weights, precision.weights, models.attention(precision.autocast), run.inputs.trust_remote_code)
    model = models.with_adapter(model, run.inputs, recipe, story)
    plan = make_plan(recipe, layout, rows, tokens)
    story.event("plan", **planned_facts(recipe, plan, model, parameters, precision))

    def write(name: str, measured: Measured, counted: Counted) -> None:
        def files(folder: Path) -> None:
            models.save_adapter(model, folder, weights)
            models.save_speech(folder, speech)

        metrics = metrics_of(measured, counted, story)
        checkpoint.write_checkpoint(run, story, f"{run.id}-{name}", "adapter", measured.epoch, counted.tokens, metrics, files)

    return Prepared(model, precision, plan, write)
