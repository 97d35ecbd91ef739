"""vLLM as a process: its plan, its command line and its environment. Its log is read in ``vllm_log``.

Checked against vLLM 0.32.0. What runs inside it is in ``inside_vllm/``: its own key guards ``/v1`` alone, ``studio_guard`` closes the
rest; ``studio_mend`` keeps its CPU engine alive.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from studio.checkpoints.base import check_whole, context_length, load_tokenizer, model_config, read_header
from studio.checkpoints.store import Checkpoint
from studio.checkpoints.templates import stop_ids, template_for
from studio.engines import starts
from studio.engines.environment import ServingEnvironment
from studio.errors import StudioError
from studio.files import write_atomic, write_json
from studio.home import avx512, bf16_instructions
from studio.text import size

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that ``--max-lora-rank`` takes."""

KV_CACHE_GB = 1
"""Memory for conversations on a CPU, in GiB."""

SPARE_BYTES = 600_000_000
"""GPU memory left free for what else is on it: the desktop, the CUDA context."""


class GpuMemory(NamedTuple):
    """Bytes on the GPU."""

    free: int
    total: int


def gpu_memory() -> GpuMemory | None:
    """Memory of the GPU the studio uses, or None without one."""
    from studio.jobs.lease import gpu

    if not (uuid := gpu()):
        return None
    import pynvml

    pynvml.nvmlInit()
    try:
        info = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid))
        return GpuMemory(int(info.free), int(info.total))
    finally:
        pynvml.nvmlShutdown()


def memory_share(memory: GpuMemory, wanted: float = 0.9) -> float:
    """``--gpu-memory-utilization``: the wanted share of the whole GPU, or less if less is free. vLLM refuses to start with more than is free."""
    share = min(wanted, (memory.free - SPARE_BYTES) / memory.total)
    if share < 0.05:
        raise StudioError(
            f"Only {size(max(0, memory.free))} of {size(memory.total)} GPU memory is free, too little to serve anything; "
            "stop what else uses the GPU (nvidia-smi lists it) and try again."
        )
    return round(share, 3)


def lora_rank(adapters: list[Checkpoint]) -> int:
    """The smallest value vLLM takes that holds every adapter."""
    highest = 1
    for adapter in adapters:
        path = Path(adapter.path) / "adapter_config.json"
        try:
            config = msgspec.json.decode(path.read_bytes())
            highest = max(highest, int(config["r"]), *(int(rank) for rank in (config.get("rank_pattern") or {}).values()))
        except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise StudioError(f"{path} cannot be read as a LoRA adapter ({error}); make the checkpoint again.") from error
    for rank in RANKS:
        if rank >= highest:
            return rank
    raise StudioError(f"vLLM serves LoRA ranks up to {RANKS[-1]}, an adapter has {highest}; merge it, or use the embedded engine.")


WORKING_BYTES = 1_500_000_000
"""GPU memory that vLLM takes beside weights and conversations: activations of a prompt, CUDA graphs (0.5 to 1.5 GB seen in start reports)."""

MOST_SLOTS = 8
"""Most adapters that one batch may mix; each slot is held in memory whether it is used or not."""

SPARE_SLOTS = 4
"""Up to so many slots are made when the persona has adapters that may be loaded later on."""

LEAST_CONTEXT = 1024
"""Tokens below which a conversation is none."""


class ServePlan(msgspec.Struct, frozen=True):
    """How a server will be started: told before it is."""

    context: int
    """Longest conversation in tokens."""
    asked: int
    """The length that was asked for."""
    share: float | None
    """Of the whole GPU; None on a CPU."""
    slots: int
    """Adapters it has room for; 0 without any."""
    rank: int
    weights: int
    """Bytes."""
    adapters: int
    """Bytes of the slots."""
    cache: int
    """Bytes for conversations."""
    cache_tokens: int
    """Tokens these hold."""
    budget: int = 0
    """Bytes of the GPU that weights and adapters leave over; 0 on a CPU."""
    learned: bool = False
    """Whether an earlier start with these weights has said what a token takes."""

    def said(self) -> list[str]:
        """In words, a line each."""
        shorter = (
            f" (asked for {self.asked:,}: the memory holds no more)" if self.context < self.asked and self.cache_tokens <= self.context + 256 else ""
        )
        found = [
            f"Length: {self.context:,} tokens{shorter}; conversations together: about {self.cache_tokens:,} tokens in {size(self.cache)}"
            + (", by what the last start said." if self.learned else "."),
            f"Memory: {size(self.weights)} weights" + (f", {self.share:.0%} of the GPU in all." if self.share is not None else ", on the processor."),
        ]
        if self.slots:
            found.append(
                f"Adapters: room for {self.slots} up to rank {self.rank} ({size(self.adapters)}); more come and go with: studio serve add|remove"
            )
        return found


def plan(kind: str, root: Checkpoint, adapters: list[Checkpoint], context: int, share: float = 0.9, others: Sequence[Checkpoint] = ()) -> ServePlan:
    """Length, memory and adapter slots for a server of ``root`` with ``adapters``. ``others`` are adapters that may join it later.

    StudioError if it cannot fit the GPU. A conversation longer than the memory for conversations is made shorter.
    """
    weights = Path(root.path)
    config = model_config(weights)
    own = context_length(weights)
    whole = sum(file.stat().st_size for file in weights.glob("*.safetensors"))
    readable = [other for other in others if (Path(other.path) / "adapter_config.json").is_file()]
    slots = min(MOST_SLOTS, max(len(adapters), min(SPARE_SLOTS, len(adapters) + len(readable))))
    rank = lora_rank([*adapters, *readable]) if slots else 0
    heaviest = max((file.stat().st_size for a in (*adapters, *readable) for file in Path(a.path).glob("adapter_model.safetensors")), default=0)
    loras = slots * heaviest // 2  # saved in float32, held in 16 bits
    said = starts.last(root.path, kind)
    each = said.each if said else _cache_bytes(config) * (2 if kind == "cpu" and not _in_16_bits(config) else 1)
    asked = min(context, own)
    budget = 0
    if kind == "cpu":
        kinds = _kinds_of_4_bits(config)
        if "float" in kinds:
            raise StudioError(f"vLLM computes with the NVFP4 weights of {root.id} on a GPU alone; use the embedded engine.")
        if kinds and not avx512():
            # It would come up, and die at the first request: "no attribute 'cpu_gemm_wna16'".
            raise StudioError(f"vLLM needs AVX-512 for the 4-bit weights of {root.id}, which this processor lacks; use the embedded engine.")
        cache = KV_CACHE_GB * 1024**3
        granted = None
    else:
        memory = gpu_memory()
        if memory is None:
            return ServePlan(asked, context, None, slots, rank, whole, loras, 0, 0)
        granted = memory_share(memory, share)
        budget = int(granted * memory.total) - whole - loras
        working = said.working if said and said.working else WORKING_BYTES
        cache = budget - working
        if cache < each * min(LEAST_CONTEXT, asked):
            raise StudioError(
                f"{root.id} does not fit: its weights are {size(whole)}, vLLM works with about {size(working + loras)} more, and "
                f"{size(granted * memory.total)} of the GPU can be had; quantize it, stop what else uses the GPU, or use the embedded engine."
            )
    tokens = int(cache / each)
    longest = min(asked, max(tokens // 256 * 256, 256))
    return ServePlan(longest, context, granted, slots, rank, whole, loras, cache, tokens, budget, said is not None)


def _kinds_of_4_bits(config: dict[str, Any]) -> set[str]:
    """``int``, ``float`` (NVFP4): what weights of 4 bits a quantized model has."""
    groups = (config.get("quantization_config") or {}).get("config_groups") or {}
    weights = [group.get("weights") or {} for group in groups.values()]
    return {str(each.get("type")) for each in weights if each.get("num_bits") == 4}


def _in_16_bits(config: dict[str, Any]) -> bool:
    """Whether vLLM computes in 16 bits on this processor."""
    return bool(config.get("quantization_config")) or bf16_instructions()


def _cache_bytes(config: dict[str, Any]) -> int:
    """Bytes that one token of a conversation takes, in 16 bits: a key and a value in each layer that attends."""
    heads = int(config.get("num_attention_heads") or 1)
    head = int(config.get("head_dim") or int(config.get("hidden_size") or 1) // heads)
    layers = int(config.get("num_hidden_layers") or 1)
    kinds = config.get("layer_types") or []
    attending = sum(kind != "linear_attention" for kind in kinds) if kinds else layers
    return 2 * max(1, attending) * int(config.get("num_key_value_heads") or heads) * head * 2


def prepare(
    folder: Path,
    environment: ServingEnvironment,
    root: Checkpoint,
    adapters: list[Checkpoint],
    port: int,
    planned: ServePlan,
    filtered: bool = False,
    host: str = "127.0.0.1",
) -> list[str]:
    """Write what vLLM is to read into ``folder`` (template, stop tokens) and give its argv."""
    weights = Path(root.path)
    _write_inside(folder / "python")
    if filtered:
        _link_studio(folder / "python")
    for file in weights.glob("*.safetensors"):
        check_whole(file)  # a damaged file is told now and not in half a minute
    template = template_for(weights)
    write_atomic(folder / "template.jinja", template.text)
    write_json(folder / "generation" / "generation_config.json", {"eos_token_id": _stop_ids(weights)})
    argv = [
        str(environment.python),
        "-m",
        "vllm.entrypoints.openai.api_server",
        f"--model={weights}",
        f"--served-model-name={root.id}",
        f"--host={host}",
        f"--port={port}",
        f"--max-model-len={planned.context}",
        # A folder with the stop tokens alone: a checkpoint's own sampling defaults stay out of a comparison.
        f"--generation-config={folder / 'generation'}",
        f"--chat-template={folder / 'template.jinja'}",
        # Blanks between the parts of a JSON answer are allowed without end otherwise, and small models get lost in them (vllm-project/vllm#38696).
        '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
        # The last one sees a request first: without the key nothing is read.
        *(["--middleware=studio_filter.Filtered"] if filtered else []),
        "--middleware=studio_guard.Guard",
    ]
    config = model_config(weights)
    if "vision_config" in config:
        argv.append("--language-model-only")
    paths = {adapter.id: fitting(Path(adapter.path), weights, folder / "adapters" / adapter.id) for adapter in adapters}
    if planned.slots:
        # vLLM 0.32 on CPU gives a base request that is computed together with an adapter's the *last* adapter slot (index -1,
        # vllm-project/vllm#48421): one slot more than adapters leaves that one empty, which is right.
        argv += ["--enable-lora", f"--max-lora-rank={planned.rank}", f"--max-loras={planned.slots + (environment.kind == 'cpu')}"]
    if adapters:
        argv.append("--lora-modules")
        argv += [msgspec.json.encode({"name": a.id, "path": str(paths[a.id]), "base_model_name": root.id}).decode() for a in adapters]
    if "linear_attention" in (config.get("layer_types") or []):
        argv.append("--max-num-seqs=8")  # more "exceeds available Mamba cache blocks" on small cards
    if environment.kind == "cpu":
        argv.append("--enforce-eager")
        if not _in_16_bits(config):
            argv.append("--dtype=float32")
    elif planned.share is not None:
        argv.append(f"--gpu-memory-utilization={planned.share}")
    return argv


INNER = "base_model.model.model."
"""What PEFT puts before the names inside a causal language model."""


def fitting(adapter: Path, weights: Path, copy: Path) -> Path:
    """The adapter's folder, or a renamed copy that fits; StudioError if none of its layers is in the weights.

    vLLM 0.32 ignores an adapter whose names fit nothing, without a word: every reply is then exactly the base's. It happens on a
    hub Qwen3.5, a vision-language model whose adapters are trained on the text class inside.
    """
    there = {name.rpartition(".")[0] for file in weights.glob("*.safetensors") for name in read_header(file)[0]}
    # The hub's Gemma 3 and Mistral are written by the names of before transformers 4.52; vLLM knows both.
    there |= {name.replace("language_model.model.", "model.language_model.", 1) for name in there if name.startswith("language_model.model.")}
    file = adapter / "adapter_model.safetensors"
    names = {name: name.replace(INNER, f"{INNER}language_model.", 1) for name in read_header(file)[0] if name != "__metadata__"}

    def fits(found: Iterable[str]) -> bool:
        return any(name.removeprefix("base_model.model.").partition(".lora_")[0] in there for name in found)

    if fits(names):
        return adapter
    if not fits(names.values()):
        raise StudioError(f"vLLM would ignore the adapter {adapter}: none of its layers is in {weights}; merge it, or use the embedded engine.")
    copy.mkdir(parents=True, mode=0o700)
    (copy / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    entries, data = read_header(file)
    header = msgspec.json.encode({names.get(name, name): entry for name, entry in entries.items()})
    header += b" " * (-len(header) % 8)
    write_atomic(copy / file.name, struct.pack("<Q", len(header)) + header + file.read_bytes()[data:])
    return copy


def _stop_ids(weights: Path) -> list[int]:
    """Tokens that end a reply: those of the chat template, and those the model's generation config names."""
    known = []
    for name in ("generation_config.json", "config.json"):
        try:
            known.append(msgspec.json.decode((weights / name).read_bytes()).get("eos_token_id"))
        except (OSError, msgspec.DecodeError, AttributeError):
            continue
    return stop_ids(load_tokenizer(weights), template_for(weights), *known)


def _write_inside(folder: Path) -> None:
    """Our modules for vLLM's processes, with the metadata by which vLLM finds its plugins; on their PYTHONPATH."""
    shutil.copytree(Path(__file__).parent / "inside_vllm", folder, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = folder / "studio_inside_vllm-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-inside-vllm\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[vllm.general_plugins]\nstudio_mend = studio_mend:mend\n", encoding="utf-8")


def _link_studio(folder: Path) -> None:
    """The studio and the library that knows phone numbers, by their names: the filter needs both, vLLM's environment has neither."""
    import importlib.util

    (folder / "studio").symlink_to(Path(__file__).parents[1])
    found = importlib.util.find_spec("phonenumbers")
    if found and found.origin:
        (folder / "phonenumbers").symlink_to(Path(found.origin).parent)


def variables(environment: ServingEnvironment, folder: Path, key: str) -> dict[str, str]:
    """The process environment of a server in ``folder``. Nothing phones home, the hub is not asked, no other key or token is handed on."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")}
    kept |= {
        "VLLM_API_KEY": key,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # Behind the key like everything else: adapters come and go without a restart.
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # What its processes say to each other stays on this machine too (it binds to the first outside address by default).
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOOPBACK_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(folder / "python"),
        "VIRTUAL_ENV": str(environment.path),
        "PATH": f"{environment.path / 'bin'}:{os.environ.get('PATH', os.defpath)}",
    }
    if environment.kind == "cpu":
        kept |= {"VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GB), "VLLM_TARGET_DEVICE": "cpu"}
    return kept
