"""Tokens a second of each option on this machine: the real stages on a few rows, one option after the other. Kept, and asked by the plan.

Each option is a training of its own process over the same rows; what is told is the median of its steps but the first two. An option
that cannot run here (no room, no kernel) is kept with the sentence it gave.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import write_json
from studio.home import home
from studio.jobs import device, lease, processes
from studio.jobs.runs import Inputs, Status, read_events
from studio.recipes.files import recipe_type, to_toml
from studio.recipes.schema import Training

COMMON: dict[str, Any] = {"learning_rate": 1e-5, "epochs": 1.0, "evals_per_epoch": 1, "probes": 0, "batch": 4, "length": 512}
OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("sft", "LoRA, packed", {}),
    ("sft", "LoRA, not packed", {"packing": False}),
    ("sft", "LoRA, not packed, 4 at once", {"packing": False, "micro_batch": 4}),
    ("sft", "LoRA, nothing computed twice", {"gradient_checkpointing": False}),
    ("sft", "LoRA, activations in main memory", {"activation_offloading": True}),
    ("sft", "LoRA, compiled", {"compile": True}),
    ("sft", "LoRA, float32 throughout", {"precision": "fp32"}),
    ("sft", "QLoRA", {"method": "qlora"}),
    ("sft", "DoRA", {"variant": "dora"}),
    ("cpt", "all weights, packed", {}),
    ("cpt", "all weights, nothing computed twice", {"gradient_checkpointing": False}),
    ("cpt", "all weights, compiled", {"compile": True}),
    ("cpt", "all weights, Kahan", {"precision": "bf16-kahan"}),
    ("cpt", "all weights, 8-bit AdamW", {"optimizer": "adamw-8bit"}),
)
"""Stage, in words, settings beside the common ones. The first of a stage is what the others are compared with."""

Options = tuple[tuple[str, str, dict[str, Any]], ...]

SAFE = ("gradient_checkpointing", "packing", "micro_batch", "compile")
"""Settings that change the speed and the memory but not what is learned: these may be picked by what was measured."""
STEPS = 8
WORDS = tuple(
    "the ferry came in late and the keeper wrote down each lamp that was lit along the pier before the rain began again at dusk".split()  # noqa: SIM905
)


class Timing(msgspec.Struct, frozen=True):
    stage: str
    option: str
    settings: dict[str, Any]
    tokens_per_s: float
    """0 where it could not run."""
    peak: int
    problem: str = ""


class Bench(msgspec.Struct):
    """``bench.json`` in the studio's own folder: what was measured on one base."""

    base: str
    device: str
    versions: dict[str, str]
    timings: list[Timing]


def cache() -> Path:
    return home() / "bench.json"


def kept() -> list[Bench]:
    try:
        return msgspec.json.decode(cache().read_bytes(), type=list[Bench])
    except (OSError, msgspec.DecodeError):
        return []


def rows(stage: str, number: int, tokens: int = 100) -> Iterator[dict[str, Any]]:
    """Rows of about so many tokens, no two alike."""
    for at in range(number):
        words = [WORDS[(7 * at + place * (1 + at % 5)) % len(WORDS)] for place in range(max(9, tokens * 3 // 4))]
        third = len(words) // 3
        asked, said, other = (" ".join(words[third * part : third * (part + 1)]) for part in range(3))
        opened = {"role": "user", "content": f"{at}. {asked}?"}
        if stage == "cpt":
            yield {"text": f"{at}. {' '.join(words)}"}
        elif stage == "sft":
            yield {"messages": [opened, {"role": "assistant", "content": f"{said}. {other}."}]}
        else:
            better, worse = ({"role": "assistant", "content": f"{text}."} for text in (said, other))
            yield {"prompt": [opened], "chosen": [better], "rejected": [worse]}


def measure(base: str, weights: Path, tell: Callable[[str], None], options: Options = OPTIONS, work: Callable[[Path], Any] | None = None) -> Bench:
    """Run every option on ``weights`` and keep what came. Minutes on a GPU with a small base; told line by line.

    ``work`` does the stage of a run folder to its end; by itself in a process of its own for each.
    """
    found = Bench(base, "", {}, [])
    with tempfile.TemporaryDirectory(prefix="studio-bench-") as folder:
        for number, (stage, option, settings) in enumerate(options, 1):
            tell(f"{number} of {len(options)}: {stage}, {option}")
            # Packed rows of a hundred tokens: about five a sequence.
            many = STEPS * COMMON["batch"] * (6 if settings.get("packing", True) else 1)
            run = _run(Path(folder) / f"bench-{number}", stage, base, weights, COMMON | settings, many)
            if work is None:
                with started(run) as process:
                    process.wait()
            else:
                work(run)
            events = read_events(run)
            begun = next((event for event in events if event["kind"] == "start"), {})
            found.device, found.versions = begun.get("device", found.device), begun.get("versions", found.versions)
            rates = [float(event["tokens_per_s"]) for event in events if event["kind"] == "step"][2:]
            result = _result(run)
            problem = "" if rates else str(result.get("error") or "It ended before it was measured.")
            found.timings.append(
                Timing(stage, option, settings, round(median(rates), 1) if rates else 0.0, int(result.get("peak_memory_bytes") or 0), problem)
            )
    others = [bench for bench in kept() if (bench.base, bench.device) != (found.base, found.device)]
    write_json(cache(), [*others, found])
    return found


def started(run: Path) -> subprocess.Popen[bytes]:
    """The stage of a run folder in a process and a group of its own."""
    with (run / "log.txt").open("wb") as log:
        return subprocess.Popen(processes.python("studio.stages", str(run)), stdout=log, stderr=log, start_new_session=True)


def _run(run: Path, stage: str, base: str, weights: Path, settings: dict[str, Any], number: int, tokens: int = 100) -> Path:
    (run / "data").mkdir(parents=True)
    for half, many in (("train", number), ("val", 2)):
        (run / "data" / f"{half}.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows(stage, many, tokens)))
    recipe = msgspec.convert(settings, recipe_type(stage))
    (run / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
    inputs = Inputs(
        stage=stage,
        persona=str(run / "persona"),
        parent="base",
        parent_path=str(weights),
        weights_path=str(weights),
        base=base,
        snapshot="bench",
        data=str(run / "data"),
    )
    write_json(run / "inputs.json", inputs)
    write_json(run / "status.json", Status(stage=stage))
    return run


def _result(run: Path) -> dict[str, Any]:
    try:
        return dict(msgspec.json.decode((run / "result.json").read_bytes()))
    except (OSError, msgspec.DecodeError):
        return {}


def fastest(base: str, stage: str) -> tuple[dict[str, Any], float] | None:
    """Of what was measured here on ``base``: the quickest settings that change nothing of what is learned, and how many times as fast they
    are as the recipe's own; None where nothing was measured or nothing is quicker by a twentieth."""
    for bench in reversed(kept()):
        timings = [t for t in bench.timings if t.stage == stage and t.tokens_per_s and set(t.settings) <= set(SAFE)]
        if bench.base != base or not timings or timings[0].settings:
            continue
        best = max(timings, key=lambda t: t.tokens_per_s)
        gain = best.tokens_per_s / timings[0].tokens_per_s
        return (best.settings, gain) if gain > 1.05 else None
    return None


def settings_for(base: str, stage: str) -> list[str]:
    """``key=value`` of ``fastest``; StudioError if nothing was measured."""
    if not any(bench.base == base and any(t.stage == stage for t in bench.timings) for bench in kept()):
        raise StudioError(f"Nothing was measured on {base} here yet: studio doctor --bench.")
    found = fastest(base, stage)
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in found[0].items()] if found else []


SHAPE = (
    "method",
    "variant",
    "rank",
    "optimizer",
    "precision",
    "gradient_checkpointing",
    "activation_offloading",
    "compile",
    "packing",
    "micro_batch",
    "batch",
    "length",
    "neftune",
    "devices",
    "sharded",
)
"""What of a recipe its speed hangs on."""
PROBE_STEPS = 5
"""Steps of a probe; the first of them warms up and is not counted."""
PATIENCE = 300.0
"""Seconds after which a probe ends with what it has."""


class Probed(msgspec.Struct, frozen=True):
    """The rate of one recipe on one base here, from a few steps; kept in ``rates.json`` in the studio's own folder."""

    base: str
    stage: str
    device: str
    torch: str
    shape: dict[str, Any]
    tokens_per_s: float
    steps: int
    """Steps it is the median of."""
    seconds: float
    """What measuring took."""


def shape_of(recipe: Training) -> dict[str, Any]:
    return {key: getattr(recipe, key) for key in SHAPE if hasattr(recipe, key)}


def device_name() -> str:
    """The GPU by the driver's name, else this machine's processor."""
    reading = device.read()
    return reading.name if reading is not None and reading.total else f"the processor of {platform.node() or 'this machine'}"


def rates() -> list[Probed]:
    try:
        return msgspec.json.decode((home() / "rates.json").read_bytes(), type=list[Probed])
    except (OSError, msgspec.DecodeError):
        return []


def probed(base: str, stage: str, recipe: Training) -> Probed | None:
    """What was measured of this very recipe here, with the torch that is installed."""
    key = (base, stage, device_name(), version("torch"), shape_of(recipe))
    return next((known for known in rates() if (known.base, known.stage, known.device, known.torch, known.shape) == key), None)


def probe(base: str, weights: Path, stage: str, recipe: Training, tokens: int = 100, start: Callable[[Path], Any] = started) -> Probed:
    """Train a few steps of the recipe on made-up rows of about ``tokens`` tokens, in a process that is killed then, and keep the rate.

    StudioError if the device is taken, the recipe wants several, or it ended before it was measured.
    """
    if recipe.devices > 1:
        raise StudioError("A training on several devices is not measured ahead; its first run tells.")
    held = lease.take(alone=True)
    if held is None:
        raise StudioError("The device is taken by a run or a server; the rate is measured when it is free.")
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="studio-probe-") as folder:
            packed = bool(getattr(recipe, "packing", False))
            sequences = (PROBE_STEPS + 1) * recipe.batch
            # Words may be fewer tokens than thought: rather a third too many rows than a training that ends early.
            number = ceil(1.5 * sequences * recipe.length / min(tokens, recipe.length)) if packed else sequences
            calm = {"epochs": 1.0, "evals_per_epoch": 1, "saves_per_epoch": 1, "probes": 0, "stop_after": 0}
            run = _run(Path(folder) / "probe-1", stage, base, weights, msgspec.to_builtins(recipe) | calm, number, min(tokens, recipe.length))
            process = start(run)
            try:
                while (ended := process.poll()) is None and len(_steps(run)) < PROBE_STEPS and time.monotonic() - began < PATIENCE:
                    time.sleep(0.1)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            found = _steps(run)[1:]
            if not found:
                why = str(_result(run).get("error") or ("it ended" if ended is not None else f"no second step in {PATIENCE:.0f} s"))
                raise StudioError(f"The rate of this recipe could not be measured: {why}")
    finally:
        os.close(held)
    key = (base, stage, device_name(), version("torch"), shape_of(recipe))
    made = Probed(*key, round(median(found), 2), len(found), round(time.monotonic() - began, 1))
    others = [known for known in rates() if (known.base, known.stage, known.device, known.torch, known.shape) != key]
    write_json(home() / "rates.json", [*others, made])
    return made


def _steps(run: Path) -> list[float]:
    return [float(event["tokens_per_s"]) for event in read_events(run) if event["kind"] == "step"]
