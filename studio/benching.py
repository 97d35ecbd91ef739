"""Tokens a second of each option on this machine: the real stages on a few rows, one option after the other. Kept, and asked by the plan.

Each option is a training of its own process over the same rows; what is told is the median of its steps but the first two. An option
that cannot run here (no room, no kernel) is kept with the sentence it gave.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import write_json
from studio.home import home
from studio.jobs.runs import Inputs, Status, read_events
from studio.recipes.files import recipe_type, to_toml

COMMON: dict[str, Any] = {"learning_rate": 1e-5, "epochs": 1.0, "evals_per_epoch": 1, "probes": 0, "batch": 4, "length": 512}
OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("sft", "LoRA, packed", {}),
    ("sft", "LoRA, not packed", {"packing": False}),
    ("sft", "LoRA, not packed, 4 at once", {"packing": False, "micro_batch": 4}),
    ("sft", "LoRA, nothing computed twice", {"gradient_checkpointing": False}),
    ("sft", "LoRA, float32 throughout", {"precision": "fp32"}),
    ("sft", "QLoRA", {"method": "qlora"}),
    ("sft", "DoRA", {"variant": "dora"}),
    ("cpt", "all weights, packed", {}),
    ("cpt", "all weights, nothing computed twice", {"gradient_checkpointing": False}),
    ("cpt", "all weights, Kahan", {"precision": "bf16-kahan"}),
    ("cpt", "all weights, 8-bit AdamW", {"optimizer": "adamw-8bit"}),
)
"""Stage, in words, settings beside the common ones. The first of a stage is what the others are compared with."""

SAFE = ("gradient_checkpointing", "packing", "micro_batch")
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


def rows(stage: str, number: int) -> Iterator[dict[str, Any]]:
    """Rows of about a hundred tokens, no two alike."""
    for at in range(number):
        said = [" ".join(WORDS[(at + part) % len(WORDS) :] + WORDS[: (at * part) % len(WORDS)]) for part in (1, 2, 3)]
        if stage == "cpt":
            yield {"text": f"{at}. {said[0]} {said[1]} {said[2]}"}
        else:
            yield {"messages": [{"role": "user", "content": f"{at}. {said[0]}?"}, {"role": "assistant", "content": f"{said[1]}. {said[2]}."}]}


def measure(base: str, weights: Path, tell: Callable[[str], None], options: tuple[tuple[str, str, dict[str, Any]], ...] = OPTIONS) -> Bench:
    """Run every option on ``weights`` and keep what came. Minutes on a GPU with a small base; told line by line."""
    found = Bench(base, "", {}, [])
    with tempfile.TemporaryDirectory(prefix="studio-bench-") as folder:
        for number, (stage, option, settings) in enumerate(options, 1):
            tell(f"{number} of {len(options)}: {stage}, {option}")
            run = _run(Path(folder) / f"bench-{number}", stage, base, weights, settings)
            log = (run / "log.txt").open("wb")
            with log:
                subprocess.run([sys.executable, "-m", "studio.stages", str(run)], stdout=log, stderr=log, check=False, env=os.environ)
            events = read_events(run)
            started = next((event for event in events if event["kind"] == "start"), {})
            found.device, found.versions = started.get("device", found.device), started.get("versions", found.versions)
            rates = [float(event["tokens_per_s"]) for event in events if event["kind"] == "step"][2:]
            result = _result(run)
            problem = "" if rates else str(result.get("error") or "It ended before it was measured.")
            found.timings.append(
                Timing(stage, option, settings, round(median(rates), 1) if rates else 0.0, int(result.get("peak_memory_bytes") or 0), problem)
            )
    others = [bench for bench in kept() if (bench.base, bench.device) != (found.base, found.device)]
    write_json(cache(), [*others, found])
    return found


def _run(run: Path, stage: str, base: str, weights: Path, settings: dict[str, Any]) -> Path:
    (run / "data").mkdir(parents=True)
    # Packed rows of a hundred tokens: about five a sequence.
    number = STEPS * COMMON["batch"] * (6 if settings.get("packing", True) else 1)
    for half, many in (("train", number), ("val", 2)):
        (run / "data" / f"{half}.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows(stage, many)))
    recipe = msgspec.convert(COMMON | settings, recipe_type(stage))
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
