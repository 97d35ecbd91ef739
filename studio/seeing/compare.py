"""Runs side by side: where their recipes and inputs differ, and what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from studio.checkpoints.store import read_checkpoint
from studio.errors import StudioError
from studio.jobs.runs import Run, read_events
from studio.seeing.course import Course, course
from studio.text import duration, size


class Line(msgspec.Struct, frozen=True):
    """One thing about each of the runs; empty text where it is not known of one."""

    name: str
    values: list[str]

    @property
    def same(self) -> bool:
        return len(set(self.values)) == 1


class Comparison(msgspec.Struct):
    runs: list[str]
    recipe: list[Line]
    """Only what differs: recipe values, then what they start from and read, then versions."""
    results: list[Line]
    weights: str = ""
    """Of two runs: whether they made the same weights to the byte."""


def compare(runs: Sequence[Run]) -> Comparison:
    """Two or more runs, of any stage, ended or not."""
    courses = [course(read_events(run.path)) for run in runs]
    lines = [*_recipes(runs), *_inputs(runs), *_versions(courses)]
    results = [_results(run, seen) for run, seen in zip(runs, courses, strict=True)]
    names = list(dict.fromkeys(name for result in results for name in result))
    told = [Line(name, [result.get(name, "") for result in results]) for name in names]
    return Comparison([run.id for run in runs], [line for line in lines if not line.same], told, same_weights(runs) if len(runs) == 2 else "")


def _recipes(runs: Sequence[Run]) -> list[Line]:
    recipes: list[dict[str, Any]] = []
    for run in runs:
        try:
            recipes.append(msgspec.toml.decode(run.recipe_text))
        except (OSError, msgspec.DecodeError):
            recipes.append({})
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    return [Line("stage", [run.inputs.stage for run in runs]), *(Line(key, [_shown(recipe.get(key)) for recipe in recipes]) for key in keys)]


def _inputs(runs: Sequence[Run]) -> list[Line]:
    return [Line(name, [str(getattr(run.inputs, name)) for run in runs]) for name in ("parent", "base", "snapshot", "system_prompt")]


def _versions(courses: Sequence[Course]) -> list[Line]:
    versions = [dict(seen.started.get("versions") or {}) | {"device": seen.started.get("device", "")} for seen in courses]
    return [Line(name, [str(known.get(name, "")) for known in versions]) for name in dict.fromkeys(n for known in versions for n in known)]


def _results(run: Run, seen: Course) -> dict[str, str]:
    found = {"state": run.status.state, "steps": f"{run.status.step:,} of {run.status.steps:,}"}
    if seen.evals:
        best, last, first = seen.best, seen.last, seen.evals[0]
        found["validation at first"] = f"{first['val_loss']:.4f}"
        found["validation, best"] = f"{best['val_loss']:.4f} at step {best['step']}"
        found["validation at last"] = f"{last['val_loss']:.4f}"
        found["training at last"] = f"{last['train_loss']:.4f}" if last.get("train_loss") is not None else ""
        found["gap"] = f"{last['gap']:+.1%}" if last.get("gap") is not None else ""
        if last.get("val_accuracy") is not None:
            found["pairs won"] = f"{last['val_accuracy']:.0%}"
    if seen.probes:
        last = seen.probes[-1]
        if last.get("accuracy") is not None:
            found["lore questions right"] = f"{round(last['accuracy'] * last['asked'])} of {last['asked']}"
        surprise, recited = last.get("surprise") or {}, last.get("recited") or {}
        found["surprise at unseen lines"] = f"{surprise['val']:.4f}" if "val" in surprise else ""
        found["recited, seen lines"] = f"{recited['train']:.0%}" if "train" in recited else ""
        found["recited, unseen lines"] = f"{recited['val']:.0%}" if "val" in recited else ""
    found["tokens a second"] = f"{seen.rate:,.0f}" if seen.rate else ""
    found["of the card's arithmetic"] = f"{seen.mfu:.0%}" if seen.mfu else ""
    found["time"] = duration(seen.seconds) if seen.seconds else ""
    found["memory"] = size(seen.peak) if seen.peak else ""
    found["made"] = ", ".join(run.status.checkpoints)
    return {name: value for name, value in found.items() if value}


def same_weights(runs: Sequence[Run]) -> str:
    """What the digests of the last checkpoints say; empty where one is not there."""
    digests = []
    for run in runs:
        if not run.status.checkpoints:
            return ""
        try:
            card = read_checkpoint(Path(run.path).parent.parent / "checkpoints" / run.status.checkpoints[-1])
        except StudioError:
            return ""
        digests.append({name: digest for name, digest in card.digests.items() if name.endswith(".safetensors")})
    return "the same to the byte" if digests[0] == digests[1] else "different"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
