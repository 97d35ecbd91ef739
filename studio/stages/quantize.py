"""Quantization: smaller weights for serving, held against their parent before they count."""

from __future__ import annotations

import gc
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studio.checkpoints import schemes
from studio.checkpoints.herself import Comparison, write_comparison
from studio.checkpoints.store import Checkpoint, write_card
from studio.checkpoints.templates import template_for
from studio.errors import StudioError
from studio.files import build_folder, folder_size
from studio.jobs.runs import Run
from studio.recipes.schema import Herself, Quantize
from studio.stages import data
from studio.stages import herself as hearing
from studio.stages import model as models
from studio.stages.checkpoint import checkpoints_folder
from studio.stages.compress import compress, layers_of
from studio.stages.story import Story, peak_memory


def quantize(run: Run, recipe: Quantize, story: Story) -> str:
    """Quantize the parent of a run; returns the id of the checkpoint. StudioError if it exists already or the parent is quantized."""
    inputs = run.inputs
    name = f"{inputs.parent}-{recipe.scheme}"
    destination = checkpoints_folder(run) / name
    if destination.exists():
        raise StudioError(f"{name} exists already; delete it first with: studio checkpoints delete {name}.")
    weights = models.check_source(inputs)
    speech = Path(inputs.parent_path)
    tokenizer = models.load_transformers_tokenizer(speech, inputs.trust_remote_code)
    calibration = _calibration(run, recipe, tokenizer, story) if schemes.SCHEMES[recipe.scheme].calibrated else None

    story.phase("Loading the model")
    model = models.load_model(weights, "bfloat16", "sdpa", inputs.trust_remote_code)
    if inputs.parent_kind == "adapter":
        model = models.load_adapter(model, inputs.parent_path, trainable=False).merge_and_unload()
    found = layers_of(model, recipe)
    if not found.groups:
        raise StudioError(schemes.refusal(schemes.SCHEMES[recipe.scheme], found))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    story.event("plan", steps=1, parameters=parameters, trainable=0, scheme=recipe.scheme, calibration_rows=len(calibration or ()))
    if found.unfit:
        story.warning(schemes.left_out(found))
    wanted = Herself(tokens=recipe.check_tokens)
    vocabulary = int(model.config.get_text_config().vocab_size)
    asked = hearing.asked_of(inputs.data, speech, hearing.persona_of(run), tokenizer, vocabulary, wanted)
    story.phase(f"Listening to {inputs.parent}")
    with hearing.listening(model):  # back on the CPU after it: llm-compressor brings each layer to the GPU itself
        before = hearing.look(model, asked, wanted.reply_tokens)

    story.phase(f"Quantizing to {recipe.scheme}")
    began = time.monotonic()

    def told(done: int, total: int) -> None:
        story.event("layers", done=done, total=total)
        story.status(step=done, steps=total)

    compress(model, recipe, found, tokenizer, calibration, told)
    seconds = round(time.monotonic() - began, 3)
    with build_folder(destination) as folder:
        model.save_pretrained(folder, save_compressed=True)
        models.save_speech(folder, speech, keep_own=True)
        (folder / "recipe.yaml").unlink(missing_ok=True)
        del model
        gc.collect()
        story.phase("Is she still herself?")
        small = models.load_model(folder, "bfloat16", "sdpa", inputs.trust_remote_code)
        with hearing.listening(small):
            measured, replies = hearing.compare(before, small, asked, tokenizer, wanted.reply_tokens)
        hearing.tell(story, name, inputs.parent, measured)
        write_comparison(folder, Comparison(inputs.parent, asked.material, measured, replies))
        for file in folder.iterdir():
            file.chmod(0o600)
        metrics = {"seconds": seconds, "parent_bytes": float(_parent_bytes(weights, inputs.parent_path)), **measured}
        card = Checkpoint(
            id=name,
            name=f"{inputs.parent} as {recipe.scheme}",
            stage="quantize",
            parent=inputs.parent,
            base=inputs.base,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            run=run.id,
            recipe=run.recipe_text,
            snapshot=inputs.snapshot,
            scheme=recipe.scheme,
            metrics=metrics,
        )
        write_card(folder, card)
    story.event("checkpoint", id=name, path=str(destination), epoch=0, **metrics)
    story.event("memory", peak_bytes=peak_memory())
    return name


def _calibration(run: Run, recipe: Quantize, tokenizer: Any, story: Story) -> list[list[int]]:
    """Token ids of conversations drawn from the training half, as the model will see them in a chat. Held-out ones are for the check."""
    story.phase("Reading conversations to calibrate with")
    rows = data.read_rows(run.inputs.data, "train")
    drawn = random.Random(recipe.seed).sample(rows, min(len(rows), recipe.calibration_rows))
    split = data.conversations(drawn, tokenizer, template_for(Path(run.inputs.parent_path)), recipe.calibration_length)
    data.require_rows(split, "train")
    story.event("data", train_rows=len(split.rows), tokens=split.tokens, kept_tokens=split.kept_tokens, dropped=dict(split.dropped))
    return [row.input_ids for row in split.rows]


def _parent_bytes(weights: Path, parent: str) -> int:
    own = 0 if Path(parent) == weights else folder_size(Path(parent))
    return own + sum(file.stat().st_size for file in weights.glob("*.safetensors"))
