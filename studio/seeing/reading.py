"""A doctor's reading of a training: rules over its events, each finding with its number, what to try next, and where the rule is from.

Pure: the same events give the same findings. The stage itself reads with it in its first steps and stops what is plainly broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import isfinite, log
from statistics import median
from typing import Literal

import msgspec

from studio.seeing.course import Course, Event, course

Weight = Literal["stop", "warn", "note", "good"]

GAP = 0.10
"""Validation loss may lie this share above the training loss."""
FLAT_STEPS = 20
FLAT_SHARE = 0.01
"""A loss that fell by less than this share over its first ``FLAT_STEPS`` steps (warm-up not counted) is flat."""
RISE = 0.05
"""Generalization loss of Prechelt: by what share the validation loss is above its lowest."""
WINDOW = 24
"""Steps a spike is measured against."""
SPIKE = 1.5
"""A spike: more than this many times the median of the steps before it, and far outside their spread."""
SPREADS = 8.0
"""… in units of their median absolute deviation."""
CLIPPED = 0.5
"""Share of steps whose gradient was shortened, above which the step size hardly says what happens."""
CUT = 0.5
DROPPED = 0.5
FEW_LEARNED = 0.02
RECITES = 0.25
"""How much larger a share of seen lines than of unseen ones is said word for word."""
EARLY = 30
"""Steps of a process in which a plainly broken run is stopped."""
ZERO_STEPS = 3

REFERENCE = "reference workflow: training and validation loss stay within 10 %"
RECIPE_FOR_TRAINING = "Karpathy 2019, A Recipe for Training Neural Networks"
PRECHELT = "Prechelt 1998, Early Stopping, But When?"
PALM = "Chowdhery et al. 2022, PaLM, 5.1 Training instability"
PASCANU = "Pascanu et al. 2013, On the difficulty of training RNNs"
PLAYBOOK = "Godbole et al. 2023, Deep Learning Tuning Playbook"
CARLINI = "Carlini et al. 2022, Quantifying Memorization"
FORGETTING = "Luo et al. 2023, An Empirical Study of Catastrophic Forgetting in LLMs During Continual Fine-tuning"
MASKS = "labels cover the character's turns; everything else is masked (-100)"


class Finding(msgspec.Struct, frozen=True):
    """One thing that the events say."""

    rule: str
    weight: Weight
    """``stop``: broken, going on is a waste; ``warn``; ``note``: worth knowing; ``good``."""
    said: str
    """What is seen, one sentence with its number."""
    number: float | None
    """The number it comes from."""
    step: int | None
    try_next: str
    source: str


def read(events: Iterable[Event]) -> list[Finding]:
    """What the events of one run mean, the gravest first. A run in good order gives one finding of weight ``good``."""
    return read_course(course(events))


def read_course(run: Course) -> list[Finding]:
    found = [finding for rule in RULES for finding in rule(run)]
    order = {"stop": 0, "warn": 1, "note": 2, "good": 3}
    found.sort(key=lambda finding: order[finding.weight])
    if run.evals and not any(finding.weight in ("stop", "warn") for finding in found):
        last = run.last
        said = f"Nothing is wrong by the numbers: validation loss {last['val_loss']:.3f} at step {last['step']}"
        said += f", gap {last['gap']:+.1%}." if last.get("gap") is not None else "."
        found.append(
            Finding("in order", "good", said, last["val_loss"], last["step"], "Listen to it: the ear decides, the loss only warns.", REFERENCE)
        )
    return found


def stops(events: Iterable[Event]) -> Finding | None:
    """Why the run is plainly broken; None if it is not."""
    return next((finding for finding in read(events) if finding.weight == "stop"), None)


def no_number(run: Course) -> Iterator[Finding]:
    if run.broken.get("rule") == "no number":
        step = int(run.broken.get("step") or 0)
        yield Finding(
            "no number",
            "stop",
            f"The loss or its gradient is no number at step {step}.",
            None,
            step,
            "Halve learning_rate, lengthen warmup, and use precision = auto.",
            PLAYBOOK,
        )


def nothing_to_learn(run: Course) -> Iterator[Finding]:
    """No labelled token, or steps in which nothing was learned at all."""
    counted = run.data.get("loss_tokens")
    if counted == 0:
        yield Finding(
            "nothing to learn",
            "stop",
            "0 tokens are learned from: every label is masked.",
            0.0,
            None,
            "Look at one row as the model sees it (studio dialogue preview): is there a turn of hers, and does the template keep it?",
            MASKS,
        )
        return
    first = run.steps[:ZERO_STEPS]
    if len(first) < ZERO_STEPS or "margin" in first[0]:  # a pair that is won has no loss left
        return
    if all(float(e["loss"]) == 0.0 for e in first):
        yield Finding(
            "nothing to learn",
            "stop",
            f"The loss of the first {ZERO_STEPS} steps is exactly 0: no token in them is learned from.",
            0.0,
            first[-1]["step"],
            "Look at one row as the model sees it (studio dialogue preview); raise length if her turns lie beyond it.",
            MASKS,
        )
    elif all(float(e.get("grad_norm") or 0.0) == 0.0 for e in first):
        yield Finding(
            "nothing moves",
            "stop",
            f"The gradient of the first {ZERO_STEPS} steps is exactly 0: no weight can learn.",
            0.0,
            first[-1]["step"],
            "Start from another checkpoint, or from the base; with an adapter, check that it belongs to these weights.",
            RECIPE_FOR_TRAINING,
        )


def little_is_learned_from(run: Course) -> Iterator[Finding]:
    counted, kept = run.data.get("loss_tokens"), run.data.get("kept_tokens")
    if counted and kept and counted / kept < FEW_LEARNED:
        share = counted / kept
        yield Finding(
            "few labels",
            "warn",
            f"Only {share:.1%} of the tokens are learned from ({counted:,} of {kept:,}).",
            share,
            None,
            "Shorten system prompts and the other side's turns, or check who is the character (studio dialogue preview).",
            MASKS,
        )


def much_is_lost(run: Course) -> Iterator[Finding]:
    data = run.data
    rows, cut = int(data.get("train_rows") or 0), int(data.get("truncated") or 0)
    dropped = sum(int(n) for n in dict(data.get("dropped") or {}).values())
    tokens, kept = int(data.get("tokens") or 0), int(data.get("kept_tokens") or 0)
    if rows and cut / rows > CUT:
        yield Finding(
            "almost everything cut",
            "warn",
            f"{cut / rows:.0%} of the rows are longer than length and lose their ends "
            f"({cut:,} of {rows:,}; {1 - kept / max(tokens, 1):.0%} of the tokens).",
            cut / rows,
            None,
            "Raise length, or split the conversations.",
            MASKS,
        )
    if rows + dropped and dropped / (rows + dropped) > DROPPED:
        reasons = ", ".join(f"{why}: {n:,}" for why, n in dict(data["dropped"]).items())
        yield Finding(
            "almost everything dropped",
            "warn",
            f"{dropped / (rows + dropped):.0%} of the rows are left out ({reasons}).",
            dropped / (rows + dropped),
            None,
            "Run the check of the material, mend what it names, and build again.",
            MASKS,
        )


def knows_nothing(run: Course) -> Iterator[Finding]:
    """Before the first step a base that fits its tokenizer is far better than guessing."""
    vocabulary = int(run.plan.get("vocabulary") or 0)
    if run.evals and run.evals[0]["step"] == 0 and vocabulary > 1 and "val_margin" not in run.evals[0]:
        first, chance = run.evals[0]["val_loss"], log(vocabulary)
        if first > 0.95 * chance:
            yield Finding(
                "knows nothing",
                "note",
                f"Before training the loss is {first:.2f}; guessing among {vocabulary:,} tokens gives {chance:.2f}: "
                "the start knows nothing of such text.",
                first,
                0,
                "Right for the untrained pocket base. With any other, its weights and tokenizer do not belong together: fetch it again.",
                RECIPE_FOR_TRAINING,
            )


def flat(run: Course) -> Iterator[Finding]:
    """Flat from the start, once the warm-up is over."""
    warm = int(run.plan.get("warmup_steps") or 0)
    after = [e for e in run.steps if e["step"] > warm]
    if len(after) < FLAT_STEPS or "margin" in after[0]:
        return
    fifth = max(3, len(after) // 5)
    first, last = median(float(e["loss"]) for e in run.steps[:fifth]), median(float(e["loss"]) for e in after[-fifth:])
    measured = run.validation()
    told = measured[0][1] - measured[-1][1] if len(measured) > 1 else first - last
    if first > 0 and (first - last) / first < FLAT_SHARE and told / first < FLAT_SHARE and last <= first * SPIKE:
        yield Finding(
            "flat",
            "warn",
            f"The loss is flat from the start: {first:.3f} in the first steps, {last:.3f} in the last of {run.steps[-1]['step']}.",
            (first - last) / first,
            run.steps[-1]["step"],
            "Look at one row as the model sees it (template, labels); then raise learning_rate threefold.",
            RECIPE_FOR_TRAINING,
        )


def diverges(run: Course) -> Iterator[Finding]:
    losses = [float(e["loss"]) for e in run.steps]
    if len(losses) < 2 * WINDOW // 3:
        return
    fifth = max(3, len(losses) // 5)
    first, last = median(losses[:fifth]), median(losses[-fifth:])
    if last > SPIKE * first and "margin" not in run.steps[0]:
        yield Finding(
            "diverges",
            "warn",
            f"The training loss rose from {first:.3f} to {last:.3f}.",
            last / first - 1,
            run.steps[-1]["step"],
            "Lower learning_rate to a third, lengthen warmup.",
            PLAYBOOK,
        )


def spikes(run: Course) -> Iterator[Finding]:
    found: list[tuple[int, float, float]] = []
    losses = run.losses()
    for at in range(8, len(losses)):
        before = [loss for _, loss in losses[max(0, at - WINDOW) : at]]
        step, loss = losses[at]
        if loss <= SPIKE * min(before):  # nearly always, and cheap to see
            continue
        middle = median(before)
        spread = median(abs(loss - middle) for loss in before)
        if middle > 0 and loss > SPIKE * middle and loss - middle > SPREADS * spread:
            found.append((step, loss, middle))
    if found and "margin" not in run.steps[0]:
        step, loss, middle = max(found, key=lambda spike: spike[1] / spike[2])
        many = f"{len(found)} spikes; the largest" if len(found) > 1 else "A spike"
        yield Finding(
            "spike",
            "warn" if len(found) > 2 else "note",
            f"{many} of the loss at step {step}: {loss:.2f}, {loss / middle:.1f} times what was usual.",
            loss / middle,
            step,
            "Look for odd rows (very short, another language, noise); lower max_grad_norm or learning_rate if it does not come down again.",
            PALM,
        )


def shortened(run: Course) -> Iterator[Finding]:
    limit = float(run.plan.get("max_grad_norm") or 0.0)
    norms = [(e["step"], float(e["grad_norm"])) for e in run.steps if e.get("grad_norm") is not None and isfinite(float(e["grad_norm"]))]
    later = norms[len(norms) // 4 :]
    if limit and len(later) >= FLAT_STEPS:
        share = sum(norm > limit for _, norm in later) / len(later)
        typical = median(norm for _, norm in later)
        if share > CLIPPED and typical > 3 * limit:
            yield Finding(
                "gradient",
                "note",
                f"{share:.0%} of the gradients are shortened (typical norm {typical:.1f}, max_grad_norm {limit:g}).",
                typical,
                later[-1][0],
                "Raise max_grad_norm to about the typical norm, or lower learning_rate.",
                PASCANU,
            )


def validation_rises(run: Course) -> Iterator[Finding]:
    measured = run.validation()
    if len(measured) < 3 or run.last.get("val_margin") is not None:
        return
    best_step, best = min(measured, key=lambda point: point[1])
    step, now = measured[-1]
    rise = now / best - 1 if best > 0 else 0.0
    trained = [float(e["train_loss"]) for e in run.evals if e.get("train_loss") is not None]
    falls = len(trained) > 1 and trained[-1] < trained[-2]
    if step > best_step and rise > RISE and falls:
        yield Finding(
            "validation rises",
            "warn",
            f"Validation rises while training falls: {now:.3f} at step {step}, {rise:.0%} above its lowest, {best:.3f} at step {best_step}.",
            rise,
            step,
            f"Compare the checkpoint nearest step {best_step} with the last one blind; next time fewer epochs or a lower rank.",
            PRECHELT,
        )


def wide_gap(run: Course) -> Iterator[Finding]:
    gap = run.last.get("gap")
    if isinstance(gap, int | float) and gap > GAP:
        yield Finding(
            "gap",
            "warn",
            f"Validation is {gap:.0%} above training ({run.last['val_loss']:.3f} against {run.last['train_loss']:.3f}): she begins to recite.",
            float(gap),
            run.last["step"],
            "Listen to an earlier epoch's checkpoint; next time fewer epochs, a lower rank or learning_rate, or more material.",
            REFERENCE,
        )


def recites(run: Course) -> Iterator[Finding]:
    told = next((e for e in reversed(run.probes) if isinstance(e.get("recited"), dict)), None)
    if told is None:
        return
    seen, unseen = told["recited"].get("train"), told["recited"].get("val")
    if isinstance(seen, int | float) and isinstance(unseen, int | float) and seen - unseen > RECITES:
        yield Finding(
            "recites",
            "warn",
            f"She goes on word for word in {seen:.0%} of what she was trained on, and in {unseen:.0%} of what she never saw.",
            seen - unseen,
            told["step"],
            "Listen to an earlier checkpoint; fewer epochs, or more varied material.",
            CARLINI,
        )


def accuracy_falls(run: Course) -> Iterator[Finding]:
    told = [(e["step"], float(e["accuracy"]), int(e.get("asked") or 0)) for e in run.probes if e.get("accuracy") is not None]
    if len(told) < 2:
        return
    best_step, best, asked = max(told, key=lambda each: each[1])
    step, now, _ = told[-1]
    if asked >= 5 and (best - now) * asked >= 2:
        yield Finding(
            "forgets",
            "warn",
            f"She had {best:.0%} of the lore questions right at step {best_step} and has {now:.0%} now.",
            now - best,
            step,
            "Lower learning_rate, or mix some lore into what follows the CPT.",
            FORGETTING,
        )


def still_falling(run: Course) -> Iterator[Finding]:
    """At the end of the plan, still learning at speed."""
    measured = run.validation()
    if len(measured) < 4 or not run.plan.get("steps") or measured[-1][0] < int(run.plan["steps"]) or run.last.get("val_margin") is not None:
        return
    whole, late = measured[0][1] - measured[-1][1], measured[-2][1] - measured[-1][1]
    gap = run.last.get("gap")
    if whole > 0 and late / whole > 0.5 / (len(measured) - 1) and late / measured[-1][1] > 0.01 and (gap is None or gap <= GAP):
        yield Finding(
            "still falling",
            "note",
            f"The validation loss still fell at the end: by {late:.3f} in the last {measured[-1][0] - measured[-2][0]} steps, "
            f"to {measured[-1][1]:.3f}.",
            late,
            measured[-1][0],
            "Another epoch may do her good (e extends this run by one).",
            PRECHELT,
        )


def few_steps(run: Course) -> Iterator[Finding]:
    steps = int(run.plan.get("steps") or 0)
    if 0 < steps < 20 and run.ended:
        yield Finding(
            "few steps",
            "note",
            f"It had only {steps} steps: too few to say much of it.",
            float(steps),
            steps,
            "Lower batch, raise epochs, or add material.",
            PLAYBOOK,
        )


RULES: tuple[Callable[[Course], Iterator[Finding]], ...] = (
    no_number,
    nothing_to_learn,
    little_is_learned_from,
    much_is_lost,
    knows_nothing,
    flat,
    diverges,
    spikes,
    shortened,
    validation_rises,
    wide_gap,
    recites,
    accuracy_falls,
    still_falling,
    few_steps,
)
