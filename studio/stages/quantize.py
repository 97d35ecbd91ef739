"""Quantization with llm-compressor: smaller weights for serving, checked against their parent before they count."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from studio.checkpoints.base import ENGLISH
from studio.checkpoints.store import Checkpoint, write_card
from studio.checkpoints.templates import template_for
from studio.errors import StudioError
from studio.files import build_folder, folder_size
from studio.jobs.runs import Run
from studio.recipes.schema import Quantize
from studio.stages import data
from studio.stages import model as models
from studio.stages.checkpoint import checkpoints_folder
from studio.stages.story import Story, peak_memory

PRESETS = {"fp8-dynamic": "FP8_DYNAMIC", "int8": "W8A8", "int4-gptq": "W4A16", "int4-rtn": "W4A16"}
CALIBRATED = ("int8", "int4-gptq")
"""Schemes that look at real conversations; the others need none."""

IGNORE = [
    "lm_head",
    "re:.*linear_attn.*",
    "re:.*visual.*",
    "re:.*vision_tower.*",
    "re:.*multi_modal_projector.*",
    "re:.*mtp.*",
    "re:.*mlp[.]gate$",
    "re:.*shared_expert_gate$",
    "re:.*router.*",
]
"""Never quantized: the head, recurrent layers (their tiny projections fit no kernel), eyes, draft heads, routers of experts."""

SMALLEST_GROUP = 32
"""Smallest group of weights that vLLM's 4-bit kernels know (0.32), and what their outputs must be divisible by."""
KERNEL_WIDTH = 16
"""What both sides of an 8-bit layer must be divisible by (CUTLASS, vLLM 0.32)."""

CHECK_VALUES = 2**27
"""Log-probabilities kept of the parent for the check (512 MB): 1,024 tokens or, with a huge vocabulary, fewer."""
BROKEN = 2.0
"""Mean KL divergence in nats a token above which a model is no longer the same one. A sound 4-bit has 0.2 to 0.6, a broken one 20."""


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
    calibration = _calibration(run, recipe, tokenizer, story) if recipe.scheme in CALIBRATED else None

    story.phase("Loading the model")
    model = models.load_model(weights, "bfloat16", "sdpa", inputs.trust_remote_code)
    if inputs.parent_kind == "adapter":
        model = models.load_adapter(model, inputs.parent_path, trainable=False).merge_and_unload()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    story.event("plan", steps=1, parameters=parameters, trainable=0, scheme=recipe.scheme, calibration_rows=len(calibration or ()))
    texts = check_texts(run, tokenizer, int(model.config.get_text_config().vocab_size))
    reference = [log_probabilities(model, ids) for ids in texts]

    story.phase(f"Quantizing to {recipe.scheme}")
    began = time.monotonic()
    _compress(model, recipe, tokenizer, calibration, story)
    seconds = round(time.monotonic() - began, 3)
    with build_folder(destination) as folder:
        model.save_pretrained(folder, save_compressed=True)
        models.save_speech(folder, speech, keep_own=True)
        (folder / "recipe.yaml").unlink(missing_ok=True)
        del model
        gc.collect()
        story.phase("Checking the quantized model against its parent")
        differs = divergence(models.load_model(folder, "bfloat16", "sdpa", inputs.trust_remote_code), texts, reference)
        if not differs <= BROKEN:
            story.warning(f"{name} is broken: it differs from {inputs.parent} by {differs:.1f} nats a token (sound: under 0.6). Do not serve it.")
        for file in folder.iterdir():
            file.chmod(0o600)
        metrics = {"seconds": seconds, "kl": differs, "parent_bytes": float(_parent_bytes(weights, inputs.parent_path))}
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
    """Token ids of conversations drawn from the training half, as the model will see them in a chat."""
    story.phase("Reading conversations to calibrate with")
    rows = data.read_rows(run.inputs.data, "train")
    drawn = random.Random(recipe.seed).sample(rows, min(len(rows), recipe.calibration_rows))
    split = data.conversations(drawn, tokenizer, template_for(Path(run.inputs.parent_path)), recipe.calibration_length)
    data.require_rows(split, "train")
    story.event("data", train_rows=len(split.rows), tokens=split.tokens, kept_tokens=split.kept_tokens, dropped=dict(split.dropped))
    return [row.input_ids for row in split.rows]


def _compress(model: Any, recipe: Quantize, tokenizer: Any, calibration: list[list[int]] | None, story: Story) -> None:
    """Quantize in place. The layers' widths decide what can be quantized and in which groups."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    groups, unfit = layer_groups(model, recipe)
    if unfit:
        story.warning(f"Left in bf16, as their widths fit no kernel: {', '.join(unfit)}.")
    if not groups:
        raise StudioError(f"No layer of this model can be quantized to {recipe.scheme}: their widths fit no kernel.")
    modifier = GPTQModifier if recipe.scheme in CALIBRATED else QuantizationModifier
    settings: dict[str, Any] = {}
    if calibration is not None:
        rows = {"input_ids": calibration, "attention_mask": [[1] * len(ids) for ids in calibration]}
        settings = {
            "dataset": Dataset.from_dict(rows),
            "num_calibration_samples": len(calibration),
            "max_seq_length": recipe.calibration_length,
            "shuffle_calibration_samples": False,
        }
    oneshot(
        model=model,
        processor=tokenizer,
        recipe=modifier(config_groups=_schemes(recipe, groups), ignore=[*IGNORE, *(f"re:.*[.]{leaf}$" for leaf in unfit)]),
        **settings,
    )


def layer_groups(model: Any, recipe: Quantize) -> tuple[dict[int, list[str]], list[str]]:
    """``({group size: [layer name endings]}, [endings of layers that fit no kernel])``; group size 0 means one scale a channel.

    A 4-bit layer whose width the group size does not divide gets the largest smaller group that does.
    """
    from compressed_tensors.utils import match_named_modules

    sizes: dict[str, int | None] = {}
    for name, module in match_named_modules(model, ["Linear"], IGNORE):
        leaf = name.rpartition(".")[2]
        size = _group_size(recipe, module.in_features, module.out_features)
        before = sizes.get(leaf, size)
        sizes[leaf] = None if size is None or before is None else min(size, before)
    groups: dict[int, list[str]] = {}
    for leaf, size in sizes.items():
        if size is not None:
            groups.setdefault(size, []).append(leaf)
    return groups, [leaf for leaf, size in sizes.items() if size is None]


def _group_size(recipe: Quantize, width: int, outputs: int) -> int | None:
    if not recipe.scheme.startswith("int4"):
        return None if width % KERNEL_WIDTH or outputs % KERNEL_WIDTH else 0
    size = recipe.group_size
    while size >= SMALLEST_GROUP and width % size:
        size //= 2
    return None if size < SMALLEST_GROUP or outputs % SMALLEST_GROUP else size


def _schemes(recipe: Quantize, groups: dict[int, list[str]]) -> dict[str, Any]:
    """llm-compressor's ``config_groups``, one for each group size."""
    from compressed_tensors.quantization import preset_name_to_scheme

    schemes = {}
    for number, (size, leaves) in enumerate(groups.items()):
        targets = ["Linear"] if len(groups) == 1 else [f"re:.*[.]{leaf}$" for leaf in leaves]
        scheme = preset_name_to_scheme(PRESETS[recipe.scheme], targets)
        if size and scheme.weights:
            scheme.weights.group_size = size
        schemes[f"group_{number}"] = scheme
    return schemes


def check_texts(run: Run, tokenizer: Any, vocabulary: int) -> list[list[int]]:
    """A few validation texts as the model reads them, about 1,000 tokens; without any, a passage of English."""
    left = min(1024, max(64, CHECK_VALUES // vocabulary))
    texts: list[list[int]] = []
    if (Path(run.inputs.data) / "val.jsonl").is_file() and run.inputs.data:
        template = template_for(Path(run.inputs.parent_path))
        rows = data.read_rows(run.inputs.data, "val")
        for row in data.conversations(rows, tokenizer, template, length=256).rows:
            texts.append(row.input_ids[:left])
            left -= len(texts[-1])
            if left < 16:
                break
    return texts or [tokenizer(ENGLISH)["input_ids"]]


def log_probabilities(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """What the model expects after each token: log-probabilities, float32, on the CPU."""
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([list(ids)], device=model.device)).logits
    return torch.log_softmax(logits[0].float(), dim=-1).cpu()


def divergence(model: Any, texts: list[list[int]], reference: list[torch.Tensor]) -> float:
    """Mean Kullback-Leibler divergence from the parent's ``log_probabilities`` to the model's, in nats a token."""
    total, count = 0.0, 0
    for ids, before in zip(texts, reference, strict=True):
        after = log_probabilities(model, ids)
        total += float((before.exp() * (before - after)).sum())
        count += len(ids)
    return total / count


def _parent_bytes(weights: Path, parent: str) -> int:
    own = 0 if Path(parent) == weights else folder_size(Path(parent))
    return own + sum(file.stat().st_size for file in weights.glob("*.safetensors"))
