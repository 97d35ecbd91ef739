"""The training loop shared by all stages that train: a trainer of TRL's, fed with tokens, watched by one callback.

What TRL 1.16 and transformers 5.17 are told and why: rows come tokenized and packed (its own preparation is skipped, it cuts long
documents silently); packed rows go in without an attention mask, their restarting positions keep them apart (an all-ones mask
would let them read each other); the loss is averaged over the tokens of a whole step, not over micro-batches.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from math import ceil, prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import DistributedType, PartialState
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from studio import peak
from studio.checkpoints.base import context_length
from studio.errors import StudioError
from studio.jobs.states import SAVE
from studio.recipes.schema import Cpt, Dpo, Sft, Training
from studio.seeing import reading
from studio.stages import resume, together
from studio.stages.model import Precision, attention, hybrid_kernels, is_hybrid, on_cuda
from studio.stages.probing import Probing
from studio.stages.room import state_bytes, wait, with_room
from studio.stages.stopping import StopWish
from studio.stages.story import Story, peak_memory
from studio.text import one_line

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class Plan(NamedTuple):
    """The arithmetic of a training, fixed before it starts."""

    rows: int
    """Sequences an epoch, after packing."""
    tokens: int
    """Tokens an epoch."""
    batch: int
    micro_batch: int
    epochs: float
    packed: bool
    evals_per_epoch: int
    saves_per_epoch: int
    devices: int = 1

    @property
    def accumulation(self) -> int:
        return self.batch // (self.micro_batch * self.devices)

    @property
    def steps_per_epoch(self) -> int:
        return max(1, ceil(ceil(ceil(self.rows / self.micro_batch) / self.devices) / self.accumulation))

    @property
    def steps(self) -> int:
        return max(1, ceil(self.epochs * self.steps_per_epoch))

    def facts(self) -> dict[str, Any]:
        """For the ``plan`` event."""
        return {
            "steps": self.steps,
            "epochs": self.epochs,
            "batch": self.batch,
            "micro_batch": self.micro_batch,
            "sequences": self.rows,
            "packed": self.packed,
            "tokens_per_epoch": self.tokens,
            **({"devices": self.devices} if self.devices > 1 else {}),
        }

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a trainer state to fit."""
        known = self._asdict()
        if self.devices == 1:
            del known["devices"]
        return known | {"steps": self.steps}

    def epoch_ends(self) -> dict[int, int]:
        """Number of the epoch by its last step; a last, fractional epoch counts as one."""
        return {min(number * self.steps_per_epoch, self.steps): number for number in range(1, ceil(self.epochs) + 1)}

    def points(self, per_epoch: int) -> set[int]:
        """Steps that fall ``per_epoch`` times into each epoch, its end always among them."""
        inner = {round((epoch + part / per_epoch) * self.steps_per_epoch) for epoch in range(ceil(self.epochs)) for part in range(1, per_epoch + 1)}
        return {step for step in inner if 0 < step <= self.steps} | set(self.epoch_ends())


def make_plan(recipe: Training, layout: Layout, rows: int, tokens: int) -> Plan:
    return Plan(
        rows, tokens, recipe.batch, layout.micro_batch, recipe.epochs, layout.packed, recipe.evals_per_epoch, recipe.saves_per_epoch, layout.devices
    )


def readable_length(recipe: Training, weights: Path, story: Story) -> int:
    """The recipe's length, or what the base can read at once if that is less; says so then."""
    length = min(recipe.length, context_length(weights))
    if length < recipe.length:
        story.warning(f"length is {length}, as many tokens as this base can read at once, not {recipe.length}.")
    return length


def choose_layout(recipe: Cpt | Sft, weights: Path, story: Story) -> Layout:
    """How the rows go through this model on this machine. Says aloud where the recipe is not followed."""
    length = readable_length(recipe, weights, story)
    packed = recipe.packing
    if packed and is_hybrid(weights) and not hybrid_kernels():
        packed = False
        story.warning(
            "Packing is off: this base carries state from token to token, and without flash-linear-attention and causal-conv1d on a GPU "
            "packed texts would leak into each other. Training goes on unpacked, several times slower."
        )
    micro = even_micro_batch(recipe.batch // recipe.devices, recipe.micro_batch)
    if packed and micro > 1 and attention(recipe.precision != "fp32") == "sdpa":
        # The packed micro-batch is one long row; without a kernel for it attention costs its whole square (16 x 512: 5 times slower).
        micro = 1
        story.warning("micro_batch is 1: flash-attn is not installed, and packed sequences side by side would only cost time and memory.")
    return Layout(length, packed, micro, recipe.devices)


def warmup_steps(recipe: Training, plan: Plan) -> int:
    return int(recipe.warmup * plan.steps)


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


def planned_facts(recipe: Training, plan: Plan, model: Any, parameters: int, precision: Precision) -> dict[str, Any]:
    """For the ``plan`` event: the arithmetic, what of the model learns, and what a reading of the run must know."""
    flops = token_cost(recipe, model) if on_cuda() and (precision.autocast or precision.weights == "bfloat16") else 0.0
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


def even_micro_batch(batch: int, wanted: int) -> int:
    """The largest number up to ``wanted`` that divides ``batch``: every step then has exactly ``batch`` sequences."""
    return max(number for number in range(1, min(batch, wanted) + 1) if batch % number == 0)


class Progress(NamedTuple):
    """How far a training came."""

    step: int
    planned: int
    ended: str = ""
    """Why it ended before its plan, as the recipe wanted it; empty if it did not."""


class Layout(NamedTuple):
    """How rows go through the model."""

    length: int
    packed: bool
    micro_batch: int
    devices: int = 1


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


class Watched(Trainer):
    """What every trainer of the studio does: a validation of its own, and states that are whole or absent."""

    story: Story
    wish: StopWish
    plan: Plan
    counted: Counted
    run: Path
    keep_states: int
    stop_after: int
    fingerprint: dict[str, Any]
    probing: Probing | None = None
    flops_a_token = 0.0
    """0: not known, or not in bf16 on a GPU."""

    def measure(self, model: Any, inputs: Any) -> tuple[dict[str, float], int]:
        """Sums over one batch of validation rows, ``loss`` among them, and over how many tokens or pairs."""
        raise NotImplementedError

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Means over all tokens (or pairs) of the validation rows. The random streams of the training are left untouched."""
        sums: dict[str, float] = {}
        count = 0.0
        model: Any = self.model
        model.eval()
        try:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
                for inputs, counts in self._validation():
                    if together.any_of(self.wish.wanted and self.wish.patient):
                        self.counted.owed = True
                        self.control.should_save = self.control.should_training_stop = True
                        return {}
                    inputs = self._prepare_inputs(inputs)
                    with self.accelerator.autocast():
                        found, size = self.measure(model, inputs)
                    sums = {key: sums.get(key, 0.0) + value * counts for key, value in found.items()}
                    count += size * counts
        finally:
            model.train()
        self.counted.owed = False
        count, *totals = together.summed([count, *sums.values()])
        metrics = {f"eval_{key}": value / max(count, 1) for key, value in zip(sums, totals, strict=True)}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validation(self) -> Iterator[tuple[Any, int]]:
        """The validation batches and whether each counts (1) or not (0).

        Of several processes each takes its own, none measured twice; but all go through the model equally often, since a sharded one is
        put together anew each time with the help of all.
        """
        if together.processes() == 1:
            yield from ((inputs, 1) for inputs in self.get_eval_dataloader())
            return
        rows: Any = self.eval_dataset
        batches = DataLoader(
            self._remove_unused_columns(rows, "evaluation"), batch_size=self.args.eval_batch_size, collate_fn=self.data_collator, shuffle=False
        )
        mine, count = None, len(batches)
        for number, inputs in enumerate(batches):
            if number % together.processes() == together.rank() or mine is None:
                mine = inputs, int(number % together.processes() == together.rank())
            if (number + 1) % together.processes() == 0 or number + 1 == count:
                yield mine
                mine = None

    def probe(self, step: int, epoch: float) -> dict[str, float]:
        """Put the probes to the model as it is, tell what came, and give the numbers for a checkpoint's card."""
        if self.probing is None or self.wish.wanted or self.is_fsdp_enabled or not self.is_world_process_zero():
            return {}
        model: Any = self.accelerator.unwrap_model(self.model)
        model.eval()
        try:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())), self.accelerator.autocast():
                found = self.probing.put(model)
        except Exception as error:  # what only looks at a training must not end it
            self.probing = None
            self.story.warning(f"Probes are put no more in this run ({type(error).__name__}: {one_line(str(error))[:200]}).")
            return {}
        finally:
            model.train()
        self.story.event("probes", step=step, epoch=epoch, **found)
        told = {"probe_accuracy": found.get("accuracy"), "probe_overlap": found.get("overlap")}
        told |= {f"surprise_{half}": value for half, value in found.get("surprise", {}).items()}
        told |= {f"recited_{half}": value for half, value in found.get("recited", {}).items()}
        return {key: float(value) for key, value in told.items() if value is not None}

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """A state is no model to publish."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Room first, then the library's own saving beside the place, then the rename; a half-written one goes, the last whole one stays."""

        def discard() -> None:
            shutil.rmtree(resume.staging(self.run), ignore_errors=True)

        def write() -> None:
            try:
                Trainer._save_checkpoint(self, model, trial)
                self._keep()
            except BaseException:
                discard()
                raise

        if together.processes() == 1:
            with_room(self.story, state_bytes(model), "saving a state", write)
            return
        # Room is looked for before and not waited for on the way: in the middle of a save the others would be somewhere else.
        if together.speaks():
            wait(self.story, state_bytes(model), "saving a state")
        together.wait()
        Trainer._save_checkpoint(self, model, trial)
        together.wait()  # each has written its own random streams
        if together.speaks():
            self._keep()
        together.wait()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Of a sharded model the library writes the weights again for going on, and once is enough."""
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
        elif together.speaks():
            Path(str(output_dir)).mkdir(parents=True, exist_ok=True)

    def _keep(self) -> None:
        step = int(self.state.global_step)
        marker = resume.Marker(step=step, files={}, plan=self.fingerprint, counted=self.counted.as_dict(self.story.seconds))
        resume.keep(self.run, resume.staging(self.run) / f"checkpoint-{step}", marker, self.keep_states)


class TextTrainer(Watched, SFTTrainer):
    """CPT and SFT: the validation loss is a mean over tokens."""

    def measure(self, model: Any, inputs: Any) -> tuple[dict[str, float], int]:
        # The fused head is TRL's own (1.16): log-probabilities of labelled tokens, no logits in memory.
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        return {"loss": -float(outputs.log_probs.double().sum())}, int(outputs.label_mask.sum())


REWARDS = {"margin": "rewards/margins", "accuracy": "rewards/accuracies", "chosen": "rewards/chosen", "rejected": "rewards/rejected"}
"""What a preference training logs in each step, by TRL's names: by how much it prefers the better reply, in what share of the pairs, and
how far each reply has moved (DPO: against the reference)."""


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


def common_settings(run: Path, recipe: Training, plan: Plan, precision: Precision) -> dict[str, Any]:
    """What every trainer is told."""
    several = together.processes() > 1
    return {
        **({"ddp_timeout": int(together.FOREVER.total_seconds()), "ddp_find_unused_parameters": False} if several else {}),
        "output_dir": str(resume.staging(run)),
        "per_device_train_batch_size": plan.micro_batch,
        "per_device_eval_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "num_train_epochs": plan.epochs,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": SCHEDULES[recipe.schedule],
        "warmup_steps": warmup_steps(recipe, plan),
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "optim": precision.optimizer,
        "optim_args": precision.optimizer_arguments or None,
        "bf16": precision.autocast,
        "use_cpu": not on_cuda(),
        "dataloader_pin_memory": on_cuda(),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "max_length": None,
        "pad_to_multiple_of": None,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def sharding(recipe: Cpt | Sft) -> dict[str, Any]:
    """FSDP2, where the recipe wants it: each process holds its share of every layer."""
    if not isinstance(recipe, Cpt) or not recipe.sharded or together.processes() == 1:
        return {}
    # Full states: what a state holds stays plain tensors in one file, read without unpickling (the sharded kind has a pickled index).
    facts = {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "FULL_STATE_DICT"}
    return {"fsdp": True, "fsdp_config": facts | {"activation_checkpointing": recipe.gradient_checkpointing}, "gradient_checkpointing": False}


def train_texts(
    run: Path,
    story: Story,
    wish: StopWish,
    recipe: Cpt | Sft,
    plan: Plan,
    precision: Precision,
    model: Any,
    tokenizer: Any,
    train_rows: Any,
    val_rows: Any,
    write_checkpoint: Any,
    flops: float,
    probing: Probing | None = None,
) -> Progress:
    """Train on single texts, packed or not; see ``train``."""
    settings = SFTConfig(
        **common_settings(run, recipe, plan, precision) | sharding(recipe),
        neftune_noise_alpha=recipe.neftune or None,
        padding_free=plan.packed,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    if together.processes() > 1 and not on_cuda():
        # Processors have no numbers to torch.load (2.13), but to accelerate (1.15): a state saved on "cpu:0" could not be read again.
        settings.__dict__["_setup_devices"] = torch.device("cpu")
    if settings.fsdp and not on_cuda():
        # accelerate (1.15) shards on cards alone; torch does on processors too, when accelerate takes them for cards.
        PartialState().distributed_type = DistributedType.MULTI_GPU
    trainer = TextTrainer(model=model, args=settings, train_dataset=train_rows, eval_dataset=val_rows, processing_class=tokenizer)
    if settings.fsdp and not trainer.is_fsdp_enabled:
        raise StudioError("The weights were not spread over the devices as the recipe's sharded = true wants; set it to false, or devices to 1.")
    trainer.probing = probing
    return train(trainer, run, story, wish, recipe, plan, precision, write_checkpoint, flops)


def train(
    trainer: Watched, run: Path, story: Story, wish: StopWish, recipe: Training, plan: Plan, precision: Precision, write_checkpoint: Any, flops: float
) -> Progress:
    """Train to the end of the plan or to a wish to stop. Resumes from the newest whole state by itself.

    ``write_checkpoint(name, measured, counted)`` is called at the end of each epoch (``e1`` …) and when someone asks for it (``s120`` at step
    120), before the state of that step is saved.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.story, trainer.wish, trainer.plan, trainer.run = story, wish, plan, run
    trainer.keep_states, trainer.stop_after = recipe.keep_states, recipe.stop_after
    trainer.counted, trainer.flops_a_token = Counted(), flops
    if getattr(recipe, "method", "") == "qlora":
        model: Any = trainer.model
        for parameter in model.parameters():
            if parameter.requires_grad:  # TRL (1.16) has made them bf16, in which small updates are lost
                parameter.data = parameter.data.float()
    trainer.fingerprint = plan.fingerprint() | {"optimizer": precision.optimizer, "weights": precision.weights}

    def write(name: str, measured: Measured) -> None:
        write_checkpoint(name, measured, trainer.counted)

    watch = Watch(trainer, write)
    trainer.add_callback(watch)
    if not together.speaks():
        together.wait()  # the first one clears away what is torn
    state = resume.newest_state(run, trainer.fingerprint)
    if together.speaks():
        together.wait()
    together.wait()
    if state:
        trainer.counted.restore(state[1].counted)
        story.event("resume", step=state[1].step)
    stop_if_broken(story)
    story.phase("Training" if not state else f"Training on from step {state[1].step}")
    wish.patient = True
    try:
        trainer.train(resume_from_checkpoint=str(state[0]) if state else None)
    finally:
        wish.patient = False
    together.wait()
    story.event("memory", peak_bytes=peak_memory())
    return Progress(int(trainer.state.global_step), plan.steps, watch.ended)
