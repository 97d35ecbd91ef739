"""The best checkpoint by a number: a hint where to listen first. The ear decides.

Losses and probes compare only what was measured on the same rows in the same way: checkpoints of one stage on one snapshot stand
together. Votes compare all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from studio.checkpoints.store import Checkpoint, all_checkpoints
from studio.errors import UsageError
from studio.persona.folder import Persona


class Measure(msgspec.Struct, frozen=True):
    """What checkpoints may be ordered by."""

    words: str
    metric: str
    """Key on the card; empty: from the votes."""
    higher: bool
    shown: str
    """How a value is written."""


MEASURES = {
    "val_loss": Measure("validation loss, the lowest", "val_loss", False, "{:.4f}"),
    "gap": Measure("validation above training loss, the least (she recites least)", "gap", False, "{:+.1%}"),
    "lore": Measure("lore questions answered right, the most", "probe_accuracy", True, "{:.0%}"),
    "surprise": Measure("surprise at lines she never saw, the least", "surprise_val", False, "{:.4f}"),
    "recited": Measure("of what she was trained on said word for word, the least", "recited_train", False, "{:.0%}"),
    "ranking": Measure("score from blind votes, the highest", "", True, "{:.0f}"),
}


class Placed(msgspec.Struct, frozen=True):
    checkpoint: str
    value: float
    said: str
    """The value as people read it."""


class Group(msgspec.Struct, frozen=True):
    """Checkpoints that can be compared with one another, the best first."""

    stage: str
    """Empty where all stages stand together."""
    snapshot: str
    placed: list[Placed]


def best(persona: Persona, by: str) -> list[Group]:
    """All checkpoints in which it was measured, group by group, the newest group first. UsageError for an unknown measure."""
    if by not in MEASURES:
        raise UsageError(f"There is no measure {by!r}; there are: {', '.join(MEASURES)}.")
    measure = MEASURES[by]
    known = all_checkpoints(persona)
    if not measure.metric:
        from studio.review.ranking import rank
        from studio.review.standing import telling
        from studio.review.votes import votes

        scores = {each.checkpoint: each.score for each in rank(telling(persona, votes(persona))[0]).ranking}
        return grouped([(c, scores[c.id]) for c in known if c.id in scores], measure, lambda c: ("", ""))
    told = [(c, c.metrics[measure.metric]) for c in known if measure.metric in c.metrics]
    return grouped(told, measure, lambda c: (c.stage, c.snapshot))


def grouped(told: list[tuple[Checkpoint, float]], measure: Measure, alike: Callable[[Checkpoint], tuple[str, str]]) -> list[Group]:
    """``told`` in the order of making. Of equal ones the earlier is the better: it has read less."""
    groups: dict[tuple[str, str], list[tuple[Checkpoint, float]]] = {}
    for each in told:
        groups.setdefault(alike(each[0]), []).append(each)
    found = []
    for (stage, snapshot), members in reversed(groups.items()):
        members.sort(key=lambda each: -each[1] if measure.higher else each[1])
        found.append(Group(stage, snapshot, [Placed(c.id, value, measure.shown.format(value)) for c, value in members]))
    return found


def nothing_measured(persona: Persona, by: str) -> str:
    """Why ``best`` is empty, and what to do."""
    if not MEASURES[by].metric:
        return f"No blind vote was cast on a checkpoint of {persona.name} yet; compare two with: studio review CKPT CKPT"
    probes = "" if by in ("val_loss", "gap") else ", with probes in its recipe" + (" and cloze probes of the persona" if by == "lore" else "")
    return f"No checkpoint of {persona.name} has it measured yet: it is measured in a training{probes}."


def best_lines(persona: Persona, by: str, found: list[Group]) -> list[str]:
    """What ``best`` found, for people."""
    if not found:
        return [nothing_measured(persona, by)]
    lines = [f"By {MEASURES[by].words}. A hint where to listen first; the ear decides."]
    for group in found:
        lines += ["", f"{group.stage} on {group.snapshot or 'no snapshot'}" if group.stage else "all stages"]
        width = max(len(each.checkpoint) for each in group.placed)
        lines += [f"{number:>3}  {each.checkpoint:<{width}}  {each.said}" for number, each in enumerate(group.placed, 1)]
    return lines
