"""The training loop shared by all stages that train: a trainer of TRL's, fed with tokens, watched by one callback.

What TRL 1.16 and transformers 5.17 are told and why: rows come tokenized and packed (its own preparation is skipped, it cuts long
documents silently); packed rows go in without an attention mask, their restarting positions keep them apart (an all-ones mask
would let them read each other); the loss is averaged over the tokens of a whole step, not over micro-batches.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import DistributedType, PartialState
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer
from trl import SFTConfig, SFTTrainer

from studio.errors import StudioError
from studio.recipes.schema import Cpt, Sft, Texts, Training
from studio.stages import resume, together
from studio.stages.layout import Plan, warmup_steps
from studio.stages.model import Precision, on_cuda
from studio.stages.probing import Probing
from studio.stages.room import state_bytes, wait, with_room
from studio.stages.stopping import StopWish
from studio.stages.story import Story, peak_memory
from studio.stages.watching import Counted, Measured, Watch, stop_if_broken
from studio.text import one_line

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class Progress(NamedTuple):
    """How far a training came."""

    step: int
    planned: int
    ended: str = ""
    """Why it ended before its plan, as the recipe wanted it; empty if it did not."""


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
        "activation_offloading": recipe.activation_offloading,
        "torch_compile": isinstance(recipe, Texts) and recipe.compile,
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


def on_its_device(settings: Any) -> Any:
    """The settings, with the device of this process among several where it has no card."""
    if together.processes() > 1 and not on_cuda():
        # Processors have no numbers to torch.load (2.13), but to accelerate (1.15): a state saved on "cpu:0" could not be read again.
        settings.__dict__["_setup_devices"] = torch.device("cpu")
    return settings


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
    settings = on_its_device(
        SFTConfig(
            **common_settings(run, recipe, plan, precision) | sharding(recipe),
            neftune_noise_alpha=recipe.neftune or None,
            padding_free=plan.packed,
            dataset_kwargs={"skip_prepare_dataset": True},
        )
    )
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
