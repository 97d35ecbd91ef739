"""Checkpoints in memory: full models once each, adapters over the model they sit on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from studio.checkpoints.base import context_length, count_parameters, load_tokenizer, model_config
from studio.checkpoints.templates import Template, render, stop_ids, template_for
from studio.engines.embedded.protocol import ChatMessage, RefusedError
from studio.errors import StudioError

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Layer types whose cache takes several new tokens at once."""


class Served(msgspec.Struct):
    """One checkpoint to serve, in ``models.json``."""

    id: str
    root: str
    """Folder of the full weights."""
    adapter: str = ""
    """Folder of the adapter over them; empty for the full checkpoint itself."""
    trust_remote_code: bool = False


class Plan(msgspec.Struct):
    """``models.json``: what a server process is to do."""

    port: int
    context: int
    """Longest conversation in tokens; a model with a shorter context of its own keeps that."""
    models: list[Served]


class Weights:
    """One model in memory, with the adapters over it. Used by the worker's thread alone, once loaded."""

    def __init__(self, root: Path, context: int, trust_remote_code: bool) -> None:
        self.root = root
        self.tokenizer = load_tokenizer(root)
        self.template: Template = template_for(root)
        self.context = min(context, context_length(root))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Any = _load(root, self.device, trust_remote_code)
        kinds = getattr(self.model.config.get_text_config(), "layer_types", None) or []
        self.chunkable = not getattr(self.model, "_is_stateful", False) and set(kinds) <= ATTENTION
        """Whether a prompt may be read in parts: recurrent layers take later parts one token at a time only."""
        own = self.model.generation_config.eos_token_id if self.model.generation_config else None
        self.stops = frozenset(stop_ids(self.tokenizer, self.template, own))
        self.adapters: dict[str, str] = {}
        """PEFT's name of each adapter, by checkpoint id."""
        self.layers: list[Any] = []
        """Those that the adapters sit on."""
        self.active: str | None = None
        """Checkpoint id of the adapter that is switched on."""

    def add_adapter(self, checkpoint_id: str, folder: Path) -> None:
        """Put an adapter over the model, switched off. StudioError if it does not fit."""
        from peft import PeftModel
        from peft.tuners.tuners_utils import BaseTunerLayer

        name = f"a{len(self.adapters)}"  # PEFT refuses dots in names
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                if self.adapters:
                    self.model.load_adapter(str(folder), adapter_name=name)
                else:
                    self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name)
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                raise StudioError(f"The adapter {folder} does not fit on {self.root} ({reason}); is the right base under it?") from error
        if any("adapter keys" in str(w.message) or "unexpected keys" in str(w.message) for w in said):
            raise StudioError(f"The adapter {folder} does not match the layers of {self.root}; is the right base under it?")
        self.model.eval()
        self.model.base_model.disable_adapter_layers()
        self.layers = [module for module in self.model.modules() if isinstance(module, BaseTunerLayer)]
        self.adapters[checkpoint_id] = name
        self.active = None

    def switch(self, checkpoint_id: str) -> None:
        """Make the model be that checkpoint from the next step on."""
        wanted = checkpoint_id if checkpoint_id in self.adapters else None
        if wanted == self.active:
            return
        # What PEFT's own set_adapter does for inference (0.21), without its walk over every parameter: replies side by side switch at each
        # token, and that walk took as long as the token.
        for layer in self.layers:
            layer._disable_adapters = wanted is None
            if wanted is not None:
                layer._active_adapter = [self.adapters[wanted]]
        self.active = wanted

    def encode(self, text: str, special: bool) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def encode_chat(self, messages: list[ChatMessage], add_generation_prompt: bool, continue_final: bool = False) -> list[int]:
        """A conversation as the model was trained to read it."""
        if continue_final and add_generation_prompt:
            raise RefusedError("To continue the last message, add_generation_prompt must be false.")
        plain = [{"role": message.role, "content": message.text} for message in messages]
        if continue_final:
            mark = "\ue000\ue001"
            plain[-1]["content"] += mark
        try:
            text = render(self.template, plain, add_generation_prompt)
        except StudioError as error:
            raise RefusedError(str(error)) from error
        return self.encode(text.partition(mark)[0] if continue_final else text, special=False)


def _load(root: Path, device: torch.device, trust_remote_code: bool) -> Any:
    logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            root, dtype=_precision(root, device), trust_remote_code=trust_remote_code, local_files_only=True, use_safetensors=True
        )
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise StudioError(f"There is not enough memory to load {root}; stop other servers or serve a smaller or quantized checkpoint.") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise StudioError(f"The model in {root} cannot be loaded ({reason}); the folder is incomplete or of an unknown kind.") from error
    return model.to(device).eval().requires_grad_(False)


def _precision(root: Path, device: torch.device) -> Any:
    """float32 on a CPU with room for it (faster there than bf16 without AMX, and exact); else what the checkpoint was saved in."""
    if device.type == "cuda" or model_config(root).get("quantization_config"):
        return "auto"
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return torch.float32 if count_parameters(root) * 4 < free * 0.4 else "auto"


class Library:
    """Every checkpoint this process serves, by the name it is asked for."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.by_name: dict[str, Weights] = {}
        roots: dict[str, Weights] = {}
        for served in plan.models:
            if served.root not in roots:
                say(f"Loading {served.root}")
                roots[served.root] = Weights(Path(served.root), plan.context, served.trust_remote_code)
            weights = roots[served.root]
            if served.adapter:
                say(f"Loading the adapter {served.adapter}")
                weights.add_adapter(served.id, Path(served.adapter))
            self.by_name[served.id] = weights

    def get(self, name: str) -> Weights:
        try:
            return self.by_name[name]
        except KeyError:
            raise RefusedError(f"There is no model {name!r} here; there are: {', '.join(self.by_name)}.", 404) from None
