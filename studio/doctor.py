"""What this machine can do, what is missing, and the one command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import msgspec

from studio.home import home
from studio.text import size

Verdict = Literal["ok", "missing", "note"]


class Reading(msgspec.Struct, frozen=True):
    """One thing looked at."""

    subject: str
    verdict: Verdict
    """``ok``; ``missing``: something does not work without it; ``note``: works, but worth knowing."""
    found: str
    mend: str = ""
    """The command that mends it."""


KERNELS = {
    "flash_attn": (
        "flash attention, packed training without wasted work; with it and both below Qwen3.5 trains about ten times as fast",
        "pip install flash-attn --no-build-isolation",
    ),
    "fla": (
        "flash-linear-attention, needed to pack Qwen3.5; without it 1.22 s a step instead of 0.70 (9B, all weights)",
        "pip install flash-linear-attention",
    ),
    "causal_conv1d": ("causal-conv1d, needed to pack Qwen3.5", "pip install causal-conv1d --no-build-isolation"),
}
"""Modules that only speed a GPU up: what each is for with the gain that users of Qwen3.5 measured, and the command that brings it."""


def readings() -> list[Reading]:
    """Everything, quickly: no model library is imported, nothing is asked of the network."""
    return [_python(), *_libraries(), *_gpus(), *_cpu(), _memory(), _disk(), _pocket(), _serving(), *_kernels(), _terminal()]


def _python() -> Reading:
    good = sys.version_info >= (3, 11)
    return Reading("python", "ok" if good else "missing", platform.python_version(), "" if good else "install Python 3.11 or newer")


def _libraries() -> list[Reading]:
    """Installed versions against the pins of this very installation."""
    from packaging.requirements import Requirement

    found, wrong = [], []
    for line in requires("persona-studio") or []:
        needed = Requirement(line)
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            wrong.append(f"{needed.name} is not installed")
            continue
        if not needed.specifier.contains(installed.partition("+")[0], prereleases=True):
            wrong.append(f"{needed.name} {installed}, wanted {needed.specifier}")
        elif needed.name in ("torch", "transformers", "trl", "peft", "llmcompressor", "textual"):
            found.append(f"{needed.name} {installed}")
    if wrong:
        return [Reading("libraries", "missing", "; ".join(wrong), "pip install --upgrade persona-studio")]
    return [Reading("libraries", "ok", ", ".join(found))]


def _gpus() -> list[Reading]:
    import pynvml

    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return [Reading("gpu", "note", "none: training and serving run on the CPU, fit for the pocket base and trials")]
    found = []
    for index in range(count):
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        name = pynvml.nvmlDeviceGetName(device)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(device)
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        users = [str(process.pid) for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)]
        text = f"{name}, {size(memory.total)}, {size(memory.free)} free, compute capability {major}.{minor}"
        text += f", in use by process {', '.join(users)}" if users else ""
        old = major < 8
        found.append(Reading(f"gpu {index}", "note" if old else "ok", text + (": too old for bf16, training uses fp32" if old else "")))
    return found


def _cpu() -> list[Reading]:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    name = next((line.partition(":")[2].strip() for line in flags.splitlines() if line.startswith("model name")), platform.machine())
    extras = [flag for flag in ("avx512f", "avx512_bf16", "amx_tile") if flag in flags]
    return [Reading("cpu", "ok", f"{len(os.sched_getaffinity(0))} cores, {name}" + (f" ({', '.join(extras)})" if extras else ""))]


def _memory() -> Reading:
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    total, free = (int(facts[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    return Reading("memory", "ok" if free > 4e9 else "note", f"{size(free)} of {size(total)} available")


def _disk() -> Reading:
    folder = next(path for path in (home(), *home().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    return Reading("disk", "ok" if free > 2e10 else "note", f"{size(free)} free at {folder}")


def _pocket() -> Reading:
    from studio.checkpoints.base import POCKET, locate_base

    path = locate_base(POCKET)
    if path:
        return Reading("pocket base", "ok", str(path))
    return Reading("pocket base", "note", "not made yet (it is when first used, in a few seconds)", "studio fetch pocket")


def _serving() -> Reading:
    from studio.engines import environment

    found = environment.status()
    if found.ready:
        return Reading("serving", "ok", f"vLLM for {found.kind} in {found.path}")
    return Reading("serving", "missing", f"{found.problem} Until then the embedded engine serves.", "studio doctor --fix")


def _kernels() -> list[Reading]:
    """Optional speed-ups that matter on a GPU only."""
    from studio.jobs.lease import gpu

    if not gpu():
        return []
    from importlib.util import find_spec

    found = []
    for module, (what, mend) in KERNELS.items():
        if find_spec(module):
            found.append(Reading(module, "ok", what))
            continue
        built = "--no-build-isolation" in mend and not shutil.which("nvcc") and not Path("/usr/local/cuda/bin/nvcc").exists()
        lacking = "; its build wants nvcc, which is not here: install the CUDA toolkit of torch's version first" if built else ""
        found.append(Reading(module, "note", f"not installed: {what}{lacking}", mend))
    return found


def _terminal() -> Reading:
    colours = (
        "true colour"
        if os.environ.get("COLORTERM") in ("truecolor", "24bit")
        else "256 colours"
        if "256" in os.environ.get("TERM", "")
        else "16 colours"
    )
    return Reading("terminal", "ok", f"{os.environ.get('TERM', 'unknown')}, {colours}, {sys.stdout.encoding}")
