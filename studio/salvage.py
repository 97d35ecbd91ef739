"""Failed neighbours may be worth more together: which trained checkpoints to merge, and how, before they are thrown away.

Two trainings that failed in opposite ways (one recites, one learned too little; one lost the votes by its vocabulary, one by its length)
often meet in the middle: the weights of fine-tunes of one base lie in one basin, and what lies between them is mostly no worse than either
(Wortsman et al. 2022, arXiv 2203.05482, "model soups"). What is suggested is queued as merges like any other, and heard in a blind review.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import msgspec

from studio.checkpoints import herself
from studio.checkpoints.store import Checkpoint, all_checkpoints, weights_root
from studio.errors import StudioError
from studio.jobs.runs import Run
from studio.jobs.telling import GAP_ALARM
from studio.merging import start_merge
from studio.persona.folder import Persona
from studio.recipes.schema import Merge

TIMID = 0.02
"""Share of its parent's (or siblings' best) validation loss that a training must have won to have learned something."""
BEATEN = 0.2
"""Probability of being the best below which the votes count a checkpoint as beaten, once there are enough to tell."""
MOST = 3
"""Merges suggested at most."""


class Failure(msgspec.Struct, frozen=True):
    """Why a checkpoint counts as failed."""

    checkpoint: str
    kind: Literal["recites", "timid", "beaten"]
    why: str


class Suggestion(msgspec.Struct, frozen=True):
    """A merge worth trying."""

    checkpoints: list[str]
    method: str
    weights: list[float]
    result: str
    why: str

    def recipe(self) -> Merge:
        return msgspec.convert({"checkpoints": self.checkpoints, "method": self.method, "weights": self.weights, "result": self.result}, Merge)


def failures(persona: Persona, found: list[Checkpoint], votes: Mapping[str, tuple[float, int]]) -> list[Failure]:
    """Trained checkpoints that recite, learned too little, are broken, or lost the votes. ``votes``: ``(P(best), rounds)`` by checkpoint."""
    named = []
    best = {stage: min((c.metrics["val_loss"] for c in found if c.stage == stage and "val_loss" in c.metrics), default=None) for stage in TRAINED}
    for c in found:
        if c.stage not in TRAINED and c.stage != "merge":
            continue
        said = herself.verdict(c.metrics) if c.stage == "merge" else None
        loss, lowest = c.metrics.get("val_loss"), best.get(c.stage)
        chance, rounds = votes.get(c.id, (1.0, 0))
        if said and said.word == "broken":
            continue  # its weights are of no use to anybody
        if c.metrics.get("gap", 0.0) > GAP_ALARM:
            named.append(Failure(c.id, "recites", f"it recites: validation is {c.metrics['gap']:+.0%} over training"))
        elif loss is not None and lowest is not None and loss > lowest * (1 + TIMID):
            named.append(Failure(c.id, "timid", f"it learned less than its best sibling: {loss:.3f} against {lowest:.3f}"))
        elif rounds >= ENOUGH and chance < BEATEN:
            named.append(Failure(c.id, "beaten", f"it lost the votes: {chance:.0%} likely to be the best after {rounds} rounds"))
    return named


TRAINED = ("cpt", "sft", "dpo", "orpo")
ENOUGH = 10
"""Rounds before votes say that a checkpoint failed."""


def suggest(persona: Persona) -> tuple[list[Failure], list[Suggestion]]:
    """What failed, and the merges that may save it: neighbours on the same weights, opposite failures first. Reads cards and votes only."""
    found = all_checkpoints(persona)
    by_id = {c.id: c for c in found}
    failed = failures(persona, found, _votes(persona))
    tried = {frozenset(c.merged) for c in found if c.merged}
    pairs = []
    for a, b in combinations(failed, 2):
        first, second = by_id[a.checkpoint], by_id[b.checkpoint]
        if frozenset((first.id, second.id)) in tried or not _neighbours(persona, first, second):
            continue
        pairs.append((a.kind == b.kind, first.created, first, second, a, b))
    suggestions = []
    for _, _, first, second, a, b in sorted(pairs, key=lambda pair: (pair[0], pair[1], pair[2].id, pair[3].id))[:MOST]:
        adapters = first.kind == second.kind == "adapter"
        # What failed the same way has learned some of the same: TIES keeps that and settles the rest. Opposites meet in the middle.
        method = "ties" if a.kind == b.kind else "linear"
        if adapters and _ranks_differ(first, second):
            method = "svd"
        result: Literal["adapter", "full"] = "adapter" if adapters else "full"
        why = f"{first.id}: {a.why}. {second.id}: {b.why}."
        suggestions.append(Suggestion([first.id, second.id], method, _weights(first, second), result, why))
    return failed, suggestions


def _votes(persona: Persona) -> dict[str, tuple[float, int]]:
    from studio.review.ranking import rank
    from studio.review.standing import telling
    from studio.review.votes import votes

    try:
        used, _ = telling(persona, votes(persona))
        return {r.checkpoint: (r.best, r.rounds) for r in rank(used).ranking}
    except StudioError:
        return {}


def _neighbours(persona: Persona, first: Checkpoint, second: Checkpoint) -> bool:
    """Whether both sit on the same weights and none was made from the other."""
    if first.scheme or second.scheme or first.id in (second.parent, *second.merged) or second.id in (first.parent, *first.merged):
        return False
    try:
        if first.kind == second.kind == "adapter":
            return weights_root(persona, first).id == weights_root(persona, second).id
        return first.kind == second.kind == "full" and first.base == second.base and first.stage == second.stage
    except StudioError:
        return False


def _ranks_differ(first: Checkpoint, second: Checkpoint) -> bool:
    from studio.engines.vllm import lora_rank

    try:
        return lora_rank([first]) != lora_rank([second])
    except StudioError:
        return True


def _weights(first: Checkpoint, second: Checkpoint) -> list[float]:
    """By how low each one's validation loss is, so that the better half counts more; equal where it is not known."""
    losses = [c.metrics.get("val_loss") for c in (first, second)]
    if any(loss is None or loss <= 0 for loss in losses):
        return []
    inverse = [1 / float(loss or 1.0) for loss in losses]
    return [round(value / sum(inverse), 3) for value in inverse]


def start(persona: Persona, suggestions: list[Suggestion]) -> list[Run]:
    """Queue the merges. StudioError where one cannot be."""
    return [start_merge(persona, suggestion.recipe()) for suggestion in suggestions]


def open_review(persona: Persona, suggestion: Suggestion, run: Run) -> str:
    """Begin a blind review of what the ended ``run`` merged beside its parents; its id. StudioError if it made nothing."""
    from studio.jobs.runs import read_run
    from studio.review import rounds

    made = read_run(run.path).status.checkpoints
    if not made:
        raise StudioError(f"{run.id} made no checkpoint to hear; see: studio jobs show {run.id}")
    return rounds.open_review(persona, [*suggestion.checkpoints, made[-1]]).id
