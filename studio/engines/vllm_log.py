"""vLLM's log, read for what it is doing and for the one sentence that says what went wrong. Written against the logs of vLLM 0.32.0."""

from __future__ import annotations

import re
from itertools import pairwise

from studio.text import one_line

FAILURES: tuple[tuple[str, str], ...] = (
    (
        r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|No available memory for the cache blocks|Free memory on device",
        "The GPU's memory is too small for this; stop what else uses it, choose a shorter context, or quantize the checkpoint.",
    ),
    (
        r"larger than the (maximum number of tokens|available KV cache)|KV cache is needed, which is larger|max seq len .*is larger than",
        "The context is too long for the memory there is; choose a shorter one.",
    ),
    (r"MemoryError|Cannot allocate memory|DefaultCPUAllocator: can't allocate", "The memory ran out; stop other servers or serve a smaller one."),
    (r"[Aa]ddress already in use", "The port is taken by another program; choose another one."),
    (
        r"[Cc]hat template.*(not found|does not exist|looks like a file path|appears path-like)|no chat template",
        "The chat template could not be read; look at the server's log.",
    ),
    (
        r"avx512|AVX-?512|Illegal instruction|not supported.*ISA",
        "This processor lacks AVX-512, which vLLM for CPU needs; use the embedded engine.",
    ),
    (
        r"requires AMX|Failed to find a kernel that can implement|[Ww][Nn][Aa]16|Forced \w+ kernel|not supported (for the current GPU|on this|on CPU)"
        r"|Minimum capability|is not divisible by\s+weight quantization|quantization.*(not supported|unsupported)|Unknown quantization",
        "vLLM cannot run this quantization on this machine; serve it with the embedded engine, or quantize with another scheme.",
    ),
    (
        r"User-specified max_model_len .* is greater than",
        "The context asked for is longer than the model's own; choose a shorter one.",
    ),
    (
        r"[Ss]afetensor|line \d+ column \d+ \(char|Cannot find any model weights|deserializing header|Invalid repository ID"
        r"|does not (appear to )?have .*config\.json|KeyError: '?model\.",
        "The model folder is incomplete or damaged; make or fetch the checkpoint again.",
    ),
    (
        r"LoRA rank \d+ is greater than",
        "An adapter has a higher rank than this server was started for; stop it and start it again with this adapter.",
    ),
    (r"LoRA.*(not supported|does not support)|is not in the target modules", "vLLM cannot load one of the adapters; merge it first."),
    (r"No space left on device", "The disk is full; free some space and try again."),
    (r"No module named|ImportError|undefined symbol", "The serving environment is broken; build it again with: studio doctor --fix"),
    (
        r"[Mm]odel architectures .* (are|is) not supported|has no vLLM implementation|does not recognize this architecture",
        "vLLM does not know this kind of model; use the embedded engine.",
    ),
)
"""What a log says, as a pattern, and what it means for people. The first that is found counts."""

_ERROR = re.compile(r"^(?:\([^)]*\) *)?(?:ERROR\b.*?\] *)?((?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt)\b: ?.*)$")
_PREFIX = re.compile(r"^(?:\([^)]*\) *)?(?:ERROR\b.*?\] *)?")
_INVALID = re.compile(r"^(?:\([^)]*\) *)?(?:ERROR\b.*?\] *)?\s*Value error, (.*?)(?: \[type=.*)?$")
"""pydantic puts what is wrong on the line after its own error."""


def failure(log: str) -> str:
    """One sentence for the end of a log: what it was and what to do, with vLLM's own first error line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in log.splitlines()]
    errors = []
    for line, following in pairwise([*lines, ""]):
        if found := _INVALID.match(line) or _ERROR.match(line):
            # Which kernels there are and what each lacks stands on the lines after the error's own.
            why = _PREFIX.sub("", following).rstrip(". ") if found[1].rstrip().endswith("Reasons:") else ""
            errors.append(f"{found[1].rstrip()} {why}" if why else found[1].replace(". Reasons:", ""))
    # "Engine core initialization failed" and "1 validation error" only say that something else did.
    telling = [error for error in errors if "Engine core initialization failed" not in error and "validation error for" not in error]
    cause = one_line((telling or errors or [line for line in lines if line] or [""])[0])[:240].removesuffix(".")
    # The errors alone, if there are any: a warning further up may use a word that a pattern looks for.
    text = "\n".join(telling or errors or lines)
    for pattern, meaning in FAILURES:
        if re.search(pattern, text):
            return f"{meaning.removesuffix('.')} (vLLM: {cause})."
    return f"vLLM stopped: {cause}." if cause else "vLLM stopped and left no message; look at the server's log."


def progress(log: str) -> str:
    """What vLLM is doing, by the newest telling line of its log; empty if none."""
    steps: tuple[tuple[str, str], ...] = (
        ("Application startup complete", "Ready"),
        ("Starting vLLM server|Started server process", "Opening the port"),
        ("Capturing CUDA graph|Graph capturing", "Capturing CUDA graphs"),
        ("Dynamo bytecode transform|Compiling a graph", "Compiling"),
        ("KV cache size|# GPU blocks|# CPU blocks", "Reserving memory for conversations"),
        ("Loading weights took", "Weights are loaded"),
        ("Starting to load model|Loading safetensors", "Loading the weights"),
        ("Initializing a V1 LLM engine|EngineCore", "Starting vLLM's engine"),
        ("non-default args|vLLM API server version", "vLLM has started"),
    )
    for pattern, sentence in steps:
        if re.search(pattern, log):
            return sentence
    return ""


def cache_tokens(log: str) -> int:
    """Tokens of conversation that a started server says it holds; 0 if it does not say."""
    found = re.findall(r"KV cache size: ([\d,]+) tokens", log)
    return int(found[-1].replace(",", "")) if found else 0


def cache_bytes(log: str) -> int:
    """Bytes it has for them, on a GPU or on a processor; 0 if it does not say."""
    found = re.findall(r"Available KV cache memory: ([\d.]+) GiB|Explicitly set \(([\d.]+)/[\d.]+\) GiB for KV cache", log)
    return int(float(found[-1][0] or found[-1][1]) * 1024**3) if found else 0
