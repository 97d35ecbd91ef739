"""What is told of a training while it runs, and what of the plan falls due: one callback on the trainer, and the totals it keeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import TrainerCallback

from studio import peak
from studio.errors import StudioError
from studio.jobs.states import SAVE
from studio.seeing import reading
from studio.stages import together
from studio.stages.story import Story

if TYPE_CHECKING:
    from studio.stages.training import Watched

REWARDS = {"margin": "rewards/margins", "accuracy": "rewards/accuracies", "chosen": "rewards/chosen", "rejected": "rewards/rejected"}
"""What a preference training logs in each step, by TRL's names: by how much it prefers the better reply, in what share of the pairs, and
how far each reply has moved (DPO: against the reference)."""


class Counted:
    """Running totals of a training; saved with its states, so that a resumed one goes on counting."""

    def __init__(self) -> None:
        self.tokens = 0
        self.losses: list[float] = []
        """Training losses since the last evaluation."""
        self.seconds = 0.0
        """Training time of earlier processes of this run."""
        self.owed = False
        """Whether the evaluation due at the saved step was put off by a stop."""
        self.lowest: tuple[int, float] | None = None
        """Step and validation loss of the best evaluation so far."""
        self.vain = 0
        """Evaluations since then."""

    def measured(self, step: int, val_loss: float) -> None:
        """Count an evaluation."""
        if self.lowest is None or val_loss < self.lowest[1]:
            self.lowest, self.vain = (step, val_loss), 0
        else:
            self.vain += 1

    def as_dict(self, seconds: float) -> dict[str, Any]:
        totals = {"tokens": self.tokens, "losses": self.losses, "seconds": self.seconds + seconds, "owed": self.owed}
        return totals | {"lowest": self.lowest, "vain": self.vain}

    def restore(self, saved: dict[str, Any]) -> None:
        self.tokens, self.losses = saved["tokens"], list(saved["losses"])
        self.seconds, self.owed = saved["seconds"], saved["owed"]
        lowest = saved.get("lowest")
        self.lowest, self.vain = (int(lowest[0]), float(lowest[1])) if lowest else None, int(saved.get("vain") or 0)


class Measured(NamedTuple):
    """One evaluation."""

    step: int
    epoch: float
    val_loss: float
    train_loss: float | None
    more: dict[str, float] = {}  # noqa: RUF012
    """What a preference training measures besides: ``val_margin``, ``val_accuracy`` and the like."""
    probed: dict[str, float] = {}  # noqa: RUF012
    """What the probes said: ``probe_accuracy``, ``surprise_val`` and the like."""

    @property
    def gap(self) -> float | None:
        """By what share the validation loss is above the training loss; None before training.

        None in a preference training too: there a known pair is won long before a strange one, and that is no sign of reciting.
        """
        return (self.val_loss - self.train_loss) / self.train_loss if self.train_loss and not self.more else None

    def facts(self) -> dict[str, Any]:
        """For the ``eval`` event."""
        return {"step": self.step, "epoch": self.epoch, "val_loss": self.val_loss, "train_loss": self.train_loss, "gap": self.gap} | self.more


def metrics_of(measured: Measured, counted: Counted, story: Story) -> dict[str, float]:
    """What a checkpoint's card says was measured."""
    found = {key: value for key, value in measured.facts().items() if key not in ("step", "epoch") and value is not None}
    return found | measured.probed | {"seconds": round(counted.seconds + story.seconds, 3)}


class Watch(TrainerCallback):
    """Turns what the trainer does into events, and what the plan says into evaluations, states and checkpoints."""

    def __init__(self, trainer: Watched, write_checkpoint: Any) -> None:
        self.trainer, self.story, self.plan = trainer, trainer.story, trainer.plan
        self.write_checkpoint = write_checkpoint
        self.evals = self.plan.points(self.plan.evals_per_epoch)
        self.saves = self.plan.points(self.plan.saves_per_epoch) - {self.plan.steps}
        self.epoch_ends = self.plan.epoch_ends()
        self.step_began = time.monotonic()
        self.tokens_before = 0
        self.saving_now = False
        """Whether someone asked for a state and a checkpoint at this step."""
        self.flops = self.trainer.flops_a_token
        self.device = torch.cuda.get_device_name(0) if self.flops else ""
        self.ended = ""
        """Why the training ends at this step, before its plan; empty while it does not."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0 or self.trainer.counted.owed:
            self.trainer.evaluate()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_evaluate = state.global_step in self.evals
        control.should_save = state.global_step in self.saves
        control.should_log = True
        # Both in one word between the processes, where there are several.
        asked, ending = (wish > 0 for wish in together.summed([float((self.trainer.run / SAVE).exists()), float(self.trainer.wish.wanted)]))
        if asked:
            (self.trainer.run / SAVE).unlink(missing_ok=True)
            self.saving_now = control.should_evaluate = control.should_save = True
        if ending and state.global_step < self.plan.steps:
            self.trainer.counted.owed = bool(control.should_evaluate)
            control.should_evaluate = False
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" not in logs:
            return
        loss, grad_norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (abs(loss) < float("inf") and abs(grad_norm) < float("inf")):
            self.story.event("broken", rule="no number", step=state.global_step)
            raise StudioError(
                f"The training broke at step {state.global_step}: the loss or its gradient is no number any more; lower learning_rate "
                "(half is a good try), and use precision = auto."
            )
        seen = int(logs["num_tokens"])
        step_tokens, self.tokens_before = seen - self.tokens_before, seen
        self.trainer.counted.tokens += step_tokens
        self.trainer.counted.losses.append(loss)
        rate = step_tokens / max(time.monotonic() - self.step_began, 1e-9)
        used = peak.utilisation(rate, self.flops, self.device, self.plan.devices)
        self.story.event(
            "step",
            step=state.global_step,
            epoch=float(state.epoch),
            loss=loss,
            learning_rate=float(logs["learning_rate"]),
            grad_norm=grad_norm,
            tokens=self.trainer.counted.tokens,
            tokens_per_s=round(rate, 2),
            **({"mfu": round(used, 4)} if used is not None else {}),
            **{name: float(logs[key]) for name, key in REWARDS.items() if key in logs},
        )
        self.story.status(step=state.global_step, steps=self.plan.steps, now=state.global_step == self.plan.steps)
        if state.global_step <= reading.EARLY:
            stop_if_broken(self.story)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        losses = self.trainer.counted.losses
        more = {key.replace("eval_", "val_", 1): value for key, value in metrics.items() if key != "eval_loss"}
        trained = sum(losses) / len(losses) if losses else None
        measured = Measured(state.global_step, float(state.epoch or 0.0), metrics["eval_loss"], trained, more)
        self.story.event("eval", **measured.facts())
        self.trainer.counted.losses = []
        measured = measured._replace(probed=self.trainer.probe(measured.step, measured.epoch))
        self.trainer.counted.measured(measured.step, measured.val_loss)
        self.ended = self.why_end(measured)
        if state.global_step in self.epoch_ends:
            self.write_checkpoint(f"e{self.epoch_ends[state.global_step]}", measured)
        elif self.saving_now or self.ended:
            self.write_checkpoint(f"s{state.global_step}", measured)
        self.saving_now = False
        if self.ended:
            self.story.event("ended_early", step=measured.step, text=self.ended)
            control.should_training_stop = True
            # Killed before its result stands, it goes on from the state before and comes to this same end.
            control.should_save = False

    def why_end(self, measured: Measured) -> str:
        """In words, if the recipe's ``stop_after`` ends the training here; at the plan's last step it ends anyway."""
        counted, limit = self.trainer.counted, self.trainer.stop_after
        if not limit or counted.vain < limit or counted.lowest is None or measured.step >= self.plan.steps:
            return ""
        evaluations = "1 evaluation" if limit == 1 else f"{limit} evaluations"
        return (
            f"Ended at step {measured.step} of {self.plan.steps}: {evaluations} without a lower validation loss "
            f"(lowest {counted.lowest[1]:.3f} at step {counted.lowest[0]}, now {measured.val_loss:.3f})."
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.story.event("saved", step=state.global_step)


def stop_if_broken(story: Story) -> None:
    """StudioError if what this process has told so far shows a run that can only waste the night."""
    if finding := reading.stops(story.early):
        story.event("broken", rule=finding.rule, step=finding.step or 0)
        raise StudioError(f"The training was stopped, it cannot come to anything. {finding.said} {finding.try_next}")
