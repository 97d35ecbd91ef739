"""llm-compressor, told what to do: which layers, in which groups, by which method. All that touches its API is here (0.14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from compressed_tensors.utils import patch_attr
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.core import LifecycleCallbacks
from llmcompressor.pipelines.cache import IntermediatesCache

from studio.checkpoints import schemes
from studio.checkpoints.schemes import Layers, Scheme
from studio.errors import StudioError
from studio.recipes.schema import Quantize

Told = Callable[[int, int], None]
"""Called with how many layers are done, and of how many."""


def linear_modules(model: Any, recipe: Quantize) -> Iterator[tuple[str, int, int]]:
    """``(name, inputs, outputs)`` of every linear layer that may be quantized."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not schemes.is_ignored(name, recipe.ignore):
            yield name, module.in_features, module.out_features


def layers_of(model: Any, recipe: Quantize) -> Layers:
    return schemes.layers(schemes.SCHEMES[recipe.scheme], recipe.group_size, linear_modules(model, recipe))


def compress(model: Any, recipe: Quantize, sorted_layers: Layers, tokenizer: Any, calibration: list[list[int]] | None, told: Told) -> None:
    """Quantize ``model`` in place. Layer by layer: with a GPU only the layer at work is on it. StudioError where the scheme has no way."""
    scheme = schemes.SCHEMES[recipe.scheme]
    settings: dict[str, Any] = {}
    if calibration is not None:
        rows = {"input_ids": calibration, "attention_mask": [[1] * len(ids) for ids in calibration]}
        settings = {
            "dataset": Dataset.from_dict(rows),
            "num_calibration_samples": len(calibration),
            "max_seq_length": recipe.calibration_length,
            "shuffle_calibration_samples": False,
        }
    ignore = [*schemes.IGNORED, *recipe.ignore, *(f"re:.*[.]{leaf}$" for leaf in sorted_layers.unfit)]
    modifiers = _modifiers(model, scheme, recipe, _config_groups(scheme, sorted_layers), ignore)
    with ExitStack() as stack:
        if not torch.accelerator.is_available():
            # AWQ pins what it keeps, which without a GPU is an error: "Cannot access accelerator device when none is available".
            stack.enter_context(patch_attr(IntermediatesCache, "pin_memory", lambda *_: None))
        if scheme.calibrated:
            counted = _counted(LifecycleCallbacks.sequential_epoch_end, (len(_decoder_layers(model)) + 1) * len(modifiers), told)
            stack.enter_context(patch_attr(LifecycleCallbacks, "sequential_epoch_end", counted))
        kept = {name: parameter.dtype for name, parameter in model.named_parameters()}
        oneshot(model=model, processor=tokenizer, recipe=modifiers, **settings)
    for name, parameter in model.named_parameters():
        if parameter.dtype != kept.get(name, parameter.dtype) and parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(kept[name])  # AutoRound leaves the recurrent layers that it passes in float32


def _counted(end_of_layer: Callable[..., Any], total: int, told: Told) -> Callable[..., Any]:
    """``end_of_layer``, telling how many layers are done: llm-compressor announces the end of each one to its own modifiers alone."""
    done = 0

    def end(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        answer = end_of_layer(*arguments, **named)
        done += 1
        told(min(done, total), total)
        return answer

    return end


def _modifiers(model: Any, scheme: Scheme, recipe: Quantize, groups: dict[str, Any], ignore: list[str]) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    match scheme.method:
        case "gptq":
            return [GPTQModifier(config_groups=groups, ignore=ignore)]
        case "smooth":
            from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

            evened: list[Any] = [(balanced, norm) for norm, balanced in smoothed(model, scheme.name)]
            return [SmoothQuantModifier(smoothing_strength=recipe.smoothing, mappings=evened), GPTQModifier(config_groups=groups, ignore=ignore)]
        case "awq":
            from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier

            pairs = [*smoothed(model, scheme.name, norms_of_queries=False), *_inner(model)]
            mappings = [AWQMapping(norm, balanced) for norm, balanced in pairs]
            return [AWQModifier(mappings=mappings), QuantizationModifier(config_groups=groups, ignore=ignore)]
        case "autoround":
            from llmcompressor.modifiers.autoround import AutoRoundModifier

            if len(groups) > 1:
                raise StudioError("int4-autoround takes one group size for all layers and this base's widths need several; take int4-gptq.")
            return [AutoRoundModifier(config_groups=groups, ignore=ignore, iters=recipe.rounds, enable_torch_compile=False, batch_size=1)]
    return [QuantizationModifier(config_groups=groups, ignore=ignore)]


def _config_groups(scheme: Scheme, sorted_layers: Layers) -> dict[str, Any]:
    """llm-compressor's ``config_groups``, one for each group size."""
    from compressed_tensors.quantization import preset_name_to_scheme

    found = {}
    for number, (size, leaves) in enumerate(sorted_layers.groups.items()):
        targets = ["Linear"] if len(sorted_layers.groups) == 1 else [f"re:.*[.]{leaf}$" for leaf in leaves]
        made = preset_name_to_scheme(scheme.preset, targets)
        if scheme.preset == "W4A16" and made.weights:
            made.weights.group_size = size
        found[f"group_{number}"] = made
    return found


def _decoder_layers(model: Any) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "input_layernorm") and hasattr(module, "mlp")]


def _exactly(name: str) -> str:
    return "re:^" + name.replace(".", "[.]") + "$"


def smoothed(model: Any, scheme: str, norms_of_queries: bool = True) -> list[tuple[str, list[str]]]:
    """``(norm, [the layers that read what it writes])`` for every layer whose shape is understood; StudioError if none is.

    Found from the model itself and not from its name: Gemma 2 and 3 read their MLP's input from ``pre_feedforward_layernorm``, where
    llm-compressor's table (0.14, smoothquant/utils.py) smooths ``post_attention_layernorm``, whose output goes elsewhere (divergence 23
    nats a token, exit code 0). Layers in which something else reads the norm (recurrent layers, experts, parallel blocks) are left out.
    With ``norms_of_queries`` off, attention with norms on queries and keys is left out as well: AWQ makes it worse there
    (vllm-project/llm-compressor#2522).
    """
    pairs = []
    for name, layer in _decoder_layers(model):
        attention, mlp = getattr(layer, "self_attn", None), layer.mlp
        mlp_norm = next((norm for norm in ("pre_feedforward_layernorm", "post_attention_layernorm") if hasattr(layer, norm)), "")
        if not mlp_norm:
            continue
        leaves = _linear_children(attention)
        if set(leaves) == {"q_proj", "k_proj", "v_proj", "o_proj"} and (norms_of_queries or not hasattr(attention, "q_norm")):
            pairs.append((_exactly(f"{name}.input_layernorm"), [_exactly(f"{name}.self_attn.{leaf}") for leaf in ("q_proj", "k_proj", "v_proj")]))
        if set(_linear_children(mlp)) == {"gate_proj", "up_proj", "down_proj"}:
            pairs.append((_exactly(f"{name}.{mlp_norm}"), [_exactly(f"{name}.mlp.{leaf}") for leaf in ("gate_proj", "up_proj")]))
    if not pairs:
        raise StudioError(f"{scheme} does not know how the layers of this model read from each other; take int8 or int4-gptq.")
    return pairs


def _inner(model: Any) -> list[tuple[str, list[str]]]:
    """``(layer, [the layer that reads what it writes, channel by channel])`` inside attention and MLP."""
    pairs = []
    for name, layer in _decoder_layers(model):
        attention = getattr(layer, "self_attn", None)
        leaves = _linear_children(attention)
        if {"v_proj", "o_proj"} <= set(leaves) and leaves["v_proj"].out_features == leaves["o_proj"].in_features:
            pairs.append((_exactly(f"{name}.self_attn.v_proj"), [_exactly(f"{name}.self_attn.o_proj")]))
        if {"up_proj", "down_proj"} <= set(_linear_children(layer.mlp)):
            pairs.append((_exactly(f"{name}.mlp.up_proj"), [_exactly(f"{name}.mlp.down_proj")]))
    return pairs


def _linear_children(module: Any) -> dict[str, Any]:
    if module is None:
        return {}
    return {name: child for name, child in module.named_modules() if isinstance(child, torch.nn.Linear)}
