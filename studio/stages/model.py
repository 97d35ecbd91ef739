"""The model in memory: what it is loaded as, on what, and how it is written out again."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, set_seed

from studio.checkpoints.base import check_tokenizer, count_parameters, load_tokenizer, model_config
from studio.checkpoints.templates import Template, stop_ids, template_for
from studio.errors import StudioError
from studio.files import write_json
from studio.home import bf16_instructions
from studio.jobs.runs import Inputs
from studio.recipes.schema import OPTIMIZERS, Cpt, Preference, Sft
from studio.stages import together
from studio.stages.story import Story

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    # Of a model that also sees: no text needs them, other programs will not load it without.
    "preprocessor_config.json",
    "processor_config.json",
)

ADAM_BYTES = 16
"""Bytes a parameter of a full fine-tune with float32 weights: weight, gradient, two moments, 4 each."""

MEMORY_MARGIN = 0.85
"""Share of the free GPU memory that weights and optimizer may take; the rest is for activations."""


class Precision(NamedTuple):
    """How numbers are kept and multiplied."""

    weights: str
    """Name of the torch type of the weights while training."""
    autocast: bool
    """Whether matrices are multiplied in bf16 all the same."""
    optimizer: str
    """Name for the trainer."""
    optimizer_arguments: str = ""
    said: str = ""
    """In words, for the log."""


def importable(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def on_cuda() -> bool:
    return torch.cuda.is_available()


def bf16_pays() -> bool:
    """Whether bf16 arithmetic is faster here: on a GPU that has it, on a processor with AVX512-BF16 or AMX."""
    if on_cuda():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bf16_instructions()


def insist_on_what_it_needs(recipe: Cpt | Sft | Preference) -> None:
    """StudioError where the recipe wants what this machine has not."""
    if recipe.activation_offloading and not on_cuda():
        raise StudioError("activation_offloading = true moves what a GPU remembers into main memory, and there is no GPU here; set it to false.")
    if not getattr(recipe, "compile", False):
        return
    if on_cuda() and not importable("triton"):
        raise StudioError("compile = true needs the package triton for this GPU, which is not installed: pip install triton, or compile = false.")
    # As inductor looks for it (torch 2.13): triton's launchers want one as well.
    if not shutil.which(os.environ.get("CXX", "g++")):
        raise StudioError("compile = true needs a C++ compiler, and there is none here: install g++ (apt install g++), or set compile = false.")


PLAIN_BF16 = "plain bf16 weights"


def choose_precision(recipe: Cpt | Sft | Preference, parameters: int, share: int = 1) -> Precision:
    """What the recipe's ``precision`` and ``optimizer`` mean on this machine. StudioError where it cannot be had.

    ``share``: over how many devices the weights are spread.

    For LoRA the weights are frozen, so bf16 weights lose nothing; the adapter itself is float32 in every case.
    """
    optimizer = OPTIMIZERS[recipe.optimizer]
    wanted = recipe.precision
    if on_cuda() and not bf16_pays() and wanted.startswith("bf16"):
        raise StudioError(f"precision = {wanted} needs a GPU that computes in bf16 (RTX 30 and newer); this one does not: use precision = fp32.")
    if recipe.method == "qlora":
        pays = bf16_pays() and wanted != "fp32"
        return Precision("bfloat16" if pays else "float32", pays, optimizer, said="4-bit weights (NF4) under a float32 adapter")
    if wanted == "fp32":
        return Precision("float32", False, optimizer, said="float32 weights and arithmetic")
    if recipe.method == "lora":
        if wanted == "auto" and not on_cuda():
            return Precision("float32", bf16_pays(), optimizer, said="float32 weights under the adapter")
        if wanted == "auto" and not bf16_pays():
            return Precision("float32", False, optimizer, said="float32 weights under the adapter: this GPU does not compute in bf16")
        return Precision("bfloat16", True, optimizer, said="bf16 weights under a float32 adapter")
    if wanted == "auto":
        if not on_cuda() or _fits(parameters // share) or recipe.optimizer != "auto":
            pays = bf16_pays()
            return Precision("float32", pays, optimizer, said=f"float32 weights, {'bf16' if pays else 'float32'} arithmetic")
        wanted = "bf16-kahan"
    if wanted in ("bf16-kahan", "bf16-stochastic") and recipe.optimizer != "auto":
        raise StudioError(f"precision = {wanted} brings its own optimizer; set optimizer = auto, or precision = fp32 for {recipe.optimizer}.")
    if wanted == "bf16-kahan":
        return Precision("bfloat16", True, "stable_adamw", said="bf16 weights with Kahan summation")
    if wanted == "bf16-stochastic":
        if not importable("torchao"):
            raise StudioError("precision = bf16-stochastic needs the package torchao, which is not installed: pip install torchao.")
        return Precision("bfloat16", True, "adamw_torch_8bit", "bf16_stochastic_round=True", said="bf16 weights with stochastic rounding")
    return Precision("bfloat16", True, optimizer, said=PLAIN_BF16)


def _fits(parameters: int) -> bool:
    free, _ = torch.cuda.mem_get_info()
    return parameters * ADAM_BYTES <= free * MEMORY_MARGIN


def is_hybrid(folder: Path) -> bool:
    """Whether some layers carry a state from token to token (Qwen3.5, Qwen3-Next) instead of attending."""
    return "linear_attention" in (model_config(folder).get("layer_types") or [])


def hybrid_kernels() -> bool:
    """Whether both kernels are there that keep packed texts of hybrid models apart.

    Without them the state leaks from one packed text into the next (huggingface/transformers #46851, 5.17): both or no packing.
    """
    return on_cuda() and importable("fla", "causal_conv1d")


def attention(autocast: bool) -> str:
    """``flash_attention_2`` where it is installed and can run, else ``sdpa``."""
    return "flash_attention_2" if on_cuda() and autocast and importable("flash_attn") else "sdpa"


def check_source(inputs: Inputs) -> Path:
    """The folder of the full weights, after cheap checks of what cannot be trained on: no weights, broken tokenizer, quantized."""
    weights = Path(inputs.weights_path or inputs.parent_path)
    if not (weights / "config.json").is_file():
        raise StudioError(f"The weights this run starts from are gone: there is no config.json in {weights}.")
    if model_config(weights).get("quantization_config"):
        raise StudioError(f"{inputs.parent} is quantized and cannot be trained on; start from the checkpoint it was made from.")
    if count_parameters(weights) == 0:
        raise StudioError(f"There are no safetensors weights in {weights}; fetch the model again.")
    check_tokenizer(weights)
    rows = int(model_config(weights).get("vocab_size") or 0)
    if rows and load_tokenizer(weights).get_vocab_size() > rows:
        raise StudioError(f"The tokenizer in {weights} knows more tokens than the model has embeddings ({rows:,}); they do not belong together.")
    return weights


def load_transformers_tokenizer(weights: Path, trust: bool) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True, trust_remote_code=trust)
    except Exception as error:  # the loaders raise whatever they stumble over
        raise StudioError(f"The tokenizer in {weights} cannot be loaded ({str(error).splitlines()[0][:200]}); get its files again.") from error
    if tokenizer.eos_token_id is None:
        raise StudioError(f"The tokenizer in {weights} names no eos_token; without one nothing marks the end of a text.")
    return tokenizer


def load_model(weights: Path, dtype: str, attn: str, trust: bool, four_bit: bool = False) -> Any:
    """The causal language model in a folder; of a vision-language model its text part. ``four_bit``: its linear layers as NF4, frozen."""
    more: dict[str, Any] = {}
    if four_bit:
        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=getattr(torch, dtype)
        )
        if on_cuda():
            more["device_map"] = {"": together.rank()}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights, dtype=getattr(torch, dtype), attn_implementation=attn, local_files_only=True, trust_remote_code=trust, **more
        )
        if four_bit:
            module: Any
            for module in model.modules():
                if hasattr(module, "support_avx512bf16_for_cpu"):
                    # Else the first evaluation repacks the weights for good, and gradients after it are wrong (bitsandbytes 0.50.2, CPU).
                    module.support_avx512bf16_for_cpu = False
        return model
    except SafetensorError as error:
        raise StudioError(f"The weights in {weights} are damaged ({error}); fetch or copy the model again.") from error


def insist_on_its_base(model: Any, folder: Path) -> None:
    """StudioError if an adapter's matrices do not belong to these weights; PEFT (0.21) leaves out in silence what it finds no layer for."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        return
    layers = dict(model.named_modules())
    try:
        with safe_open(file, framework="pt") as adapter:
            for key in adapter.keys():  # noqa: SIM118  not a dict
                name, _, side = key.removeprefix("base_model.model.").rpartition(".lora_")
                if side not in ("A.weight", "B.weight"):
                    continue
                measure, place = ("in_features", 1) if side == "A.weight" else ("out_features", 0)
                size = adapter.get_slice(key).get_shape()[place]
                if name not in layers or getattr(layers[name], measure, size) != size:
                    what = "is of another size" if name in layers else "is missing"
                    told = f"The adapter in {folder} was made on another base: its layer {name} {what} in these weights."
                    raise StudioError(f"{told} Use it with the base it was trained on.")
    except SafetensorError as error:
        raise StudioError(f"The adapter in {folder} is damaged ({error}); copy it again.") from error


def load_adapter(model: Any, folder: str, trainable: bool) -> Any:
    insist_on_its_base(model, Path(folder))
    return PeftModel.from_pretrained(model, folder, is_trainable=trainable)


def beside_the_text(model: Any) -> str | None:
    """A pattern of the layers that no text passes, those for images and sound; None where there are none (Gemma 3 of 4 B has some)."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    inside = next(name for name, module in model.named_modules() if module is decoder)
    beside = (isinstance(m, torch.nn.Linear) and m is not head and not name.startswith(f"{inside}.") for name, m in model.named_modules())
    return rf"(?!{re.escape(inside)}\.).*" if inside and any(beside) else None


def let_learn(model: Any) -> None:
    """All weights that text passes learn. The others get no gradient, for which several devices would wait."""
    beside, head = beside_the_text(model), model.get_output_embeddings()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (beside and re.fullmatch(beside, name)))
    if head is not None:
        head.requires_grad_(True)


def with_adapter(model: Any, inputs: Inputs, recipe: Cpt | Sft | Preference, story: Story) -> Any:
    """The model with a trainable adapter: the parent's own if the parent is one, else a new one on all linear layers but the head."""
    if inputs.parent_kind == "adapter":
        model = load_adapter(model, inputs.parent_path, trainable=True)
        rank = model.peft_config["default"].r
        if rank != recipe.rank:
            story.warning(f"The adapter of {inputs.parent} goes on with its own rank {rank}; the recipe's {recipe.rank} is for new ones.")
        return model
    set_seed(recipe.seed)
    dropout = recipe.dropout if isinstance(recipe, Cpt | Sft) else 0.0
    variant = recipe.variant if isinstance(recipe, Cpt | Sft) else "plain"
    if variant in ("pissa", "olora") and recipe.method == "qlora":
        raise StudioError(f"variant = {variant} needs weights that are not in 4 bits; set method = lora, or variant = plain, dora or rslora.")
    first: Any = {"pissa": "pissa_niter_4", "olora": "olora"}.get(variant, True)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        exclude_modules=beside_the_text(model),
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=dropout,
        bias="none",
        use_dora=variant == "dora",
        use_rslora=variant == "rslora",
        init_lora_weights=first,
    )
    model = get_peft_model(model, config)
    if variant in ("pissa", "olora"):
        model.begun_with = {name: tensor.detach().cpu().clone() for name, tensor in get_peft_model_state_dict(model).items()}
    return model


def whole_weights(model: Any) -> dict[str, Any]:
    """A copy of all weights on the CPU, in bf16, whatever they are trained in. Where each of several processes holds a share of them, all
    must ask for it together."""
    copies: dict[int, Any] = {}
    state = {}
    for name, tensor in model.state_dict().items():
        # Tied weights stay one tensor, so that they are written once; of a sharded one the share on this process tells which it is.
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        key = local.data_ptr() or id(tensor)
        if key not in copies:
            whole = tensor.full_tensor() if local is not tensor else tensor
            copies[key] = whole.detach().to("cpu", torch.bfloat16 if whole.is_floating_point() else None, copy=True)
        state[name] = copies[key]
    return state


def save_weights(model: Any, state: dict[str, Any], folder: Path) -> None:
    """Write a full model with these weights as safetensors."""
    model.save_pretrained(folder, state_dict=state)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "bfloat16"
    write_json(folder / "config.json", config)


def save_adapter(model: Any, folder: Path, weights: Path) -> None:
    """Write the LoRA adapter (float32) and name the weights it sits on by their absolute path."""
    # A preference training holds a second one, the frozen reference.
    model.save_pretrained(folder, save_embedding_layers=False, selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if begun := getattr(model, "begun_with", None):
        _against_the_weights(folder, config, begun)
    config["base_model_name_or_path"] = str(weights.resolve())
    write_json(folder / "adapter_config.json", config)


def _against_the_weights(folder: Path, config: dict[str, Any], begun: dict[str, Any]) -> None:
    """PiSSA and OLoRA take what the adapter begins with out of the weights. So that the saved one sits on the weights as they are on disk,
    that is put in again with the other sign: an ordinary adapter of twice the rank."""
    file = folder / "adapter_model.safetensors"
    state = {}
    for name, tensor in load_file(file).items():
        first = begun[name].to(tensor.dtype)
        state[name] = torch.cat([tensor, first], 0) if "lora_A" in name else torch.cat([tensor, -first], 1)
    save_file(state, file, metadata={"format": "pt"})
    config |= {"r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"], "init_lora_weights": True}


def save_speech(folder: Path, source: Path, keep_own: bool = False) -> Template:
    """Everything a model needs to speak: the tokenizer's files as they were, the chat template, and where a reply ends.

    ``generation_config.json`` gets the end of a turn *and* the end of a document as stops, so that every engine stops at both. With
    ``keep_own`` a chat template that the source already has stays.
    """
    template = template_for(source)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    own = config.pop("chat_template", None)
    # One place for the template: the file, as every engine of the day reads it first.
    write_json(folder / "tokenizer_config.json", config)
    if keep_own and (source / "chat_template.jinja").is_file():
        shutil.copyfile(source / "chat_template.jinja", folder / "chat_template.jinja")
    else:
        (folder / "chat_template.jinja").write_text(own if keep_own and isinstance(own, str) else template.text, encoding="utf-8")
    path = source / "generation_config.json"
    generation = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    generation["eos_token_id"] = stop_ids(load_tokenizer(source), template, generation.get("eos_token_id"))
    write_json(folder / "generation_config.json", generation)
    return template
