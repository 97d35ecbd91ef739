"""What a run will read, do and need, told before anything is loaded; and afterwards, beside it, what was measured."""

from __future__ import annotations

import shutil
from functools import lru_cache
from math import ceil
from pathlib import Path

import msgspec

from studio import benching, peak, planning
from studio.checkpoints import schemes
from studio.checkpoints.base import count_parameters, require_base
from studio.checkpoints.herself import LENGTH, listened_to
from studio.checkpoints.store import all_checkpoints
from studio.errors import StudioError
from studio.files import read_lines, write_json
from studio.home import available_memory, bf16_instructions
from studio.jobs import device
from studio.jobs.runs import DONE, Run, all_runs, read_events
from studio.persona.folder import Persona
from studio.readiness import prepare, quantized_layers
from studio.recipes.files import from_toml
from studio.recipes.schema import Cpt, Dpo, Preference, Quantize, Recipe, Sft, Texts, Training
from studio.seeing.course import course
from studio.snapshots import Snapshot, read_snapshot
from studio.text import duration, size

PLAN = "plan.json"
"""In a run folder: what it was planned to need."""

DISK_FLOOR = 1_000_000_000
"""Bytes that stay free after everything a run writes."""

FEW_STEPS = 20
"""Steps of a preference training below which its small step size hardly changes anything (published runs take hundreds)."""

GUESSED_SHARE = 0.3
"""Of a card's arithmetic, where nothing was measured: between what small models and large ones reach with packing and bf16."""


class Plan(msgspec.Struct):
    """What a run will read, do and need, told before anything is loaded."""

    stage: str
    parent: str
    snapshot: str
    rows: int
    tokens: int | None
    """Training tokens an epoch; None if they could not be counted."""
    sequences: int | None
    """Sequences an epoch, after packing."""
    steps: int | None
    epochs: float
    parameters: int
    trainable: int | None
    memory: dict[str, int]
    """Estimated bytes by part; ``total`` is their sum."""
    disk: int
    """Bytes of the checkpoints and trainer states it will write."""
    disk_free: int
    seconds: float | None
    """None where nothing is known that it could be reckoned from."""
    seconds_from: str = ""
    """Where the rate is from, in words; begins with "a guess" where it was not measured with this very recipe here."""
    warnings: list[str] = []
    change: planning.Change | None = None
    """Where it does not fit: the least harmful change with which it does."""
    notes: list[str] = []
    """Worth knowing, and nothing to worry about."""


def plan(persona: Persona, stage: str, recipe: Recipe, parent_id: str = "") -> Plan:
    """What a run of this recipe would be. Reads headers and counts only; no model is loaded."""
    inputs = prepare(persona, stage, recipe, parent_id)
    weights = Path(inputs.weights_path)
    parameters = count_parameters(weights)
    snapshot = read_snapshot(Path(inputs.data)) if inputs.data else None
    planned = Plan(
        stage=stage,
        parent=inputs.parent,
        snapshot=inputs.snapshot,
        rows=snapshot.train_rows if snapshot else 0,
        tokens=snapshot.train_tokens if snapshot else None,
        sequences=None,
        steps=None,
        epochs=0.0,
        parameters=parameters,
        trainable=None,
        memory={},
        disk=0,
        disk_free=shutil.disk_usage(persona.root).free,
        seconds=None,
    )
    real = None
    if isinstance(recipe, Quantize):
        _plan_quantizing(persona, planned, recipe, weights)
    elif isinstance(recipe, Cpt | Sft | Preference):
        real = _plan_training(persona, planned, recipe, snapshot, weights, Path(inputs.data))
        _plan_time(persona, planned, recipe, weights)
    if isinstance(recipe, Preference) and planned.steps is not None and planned.steps < FEW_STEPS:
        planned.warnings.append(
            f"{planned.rows:,} pairs make {planned.steps} steps, too few to move her much: vote on more, raise epochs or lower batch."
        )
    planned.memory["total"] = sum(planned.memory.values())
    # Quantizing goes layer by layer, so that a model larger than the card goes through: main memory holds it.
    there, whose = (available_memory(), "this machine") if isinstance(recipe, Quantize) else memory_there()
    if there and planned.memory["total"] > there:
        told = f"It will want about {size(planned.memory['total'])} of memory and {whose} has {size(there)}; "
        planned.change = planning.nearest_fit(real, planning.shape_of(weights), there, on_gpu()) if real else None
        planned.warnings.append(
            told + (f"it fits with {planned.change.said} (about {size(planned.change.bytes)})." if planned.change else "take a smaller base.")
        )
    if planned.disk + DISK_FLOOR > planned.disk_free:
        planned.warnings.append(
            f"It will write about {size(planned.disk)} and only {size(planned.disk_free)} are free; free some space or lower keep_states and epochs."
        )
    return planned


def _plan_quantizing(persona: Persona, planned: Plan, recipe: Quantize, weights: Path) -> None:
    """Size before and after, which cards can serve it, and what stays as it is."""
    scheme, found = schemes.SCHEMES[recipe.scheme], quantized_layers(recipe, weights)
    capability = schemes.gpu_capability()
    shape = planning.shape_of(weights)
    heard = listened_to(recipe.check_tokens, shape.vocabulary)
    planned.memory = {
        "weights": planned.parameters * (2 if on_gpu() or bf16_instructions() else 4),
        # What the parent expected is kept in 16 bits, what is expected in one text is worked out in float32, three times over.
        "listening": shape.vocabulary * (2 * heard + 3 * 4 * min(heard, LENGTH) + planning.WORD),
        "libraries": planning.LIBRARIES,
    }
    if scheme.calibrated:
        tokens = min(planned.rows, recipe.calibration_rows) * recipe.calibration_length
        planned.memory["conversations"] = 2 * 2 * tokens * shape.hidden
    planned.disk = quantized_bytes(recipe, weights)
    planned.notes = [
        f"{size(planned.parameters * 2)} become about {size(planned.disk)}: {scheme.words}.",
        f"vLLM serves it on {scheme.cards}. {schemes.runs_here(scheme, capability)}",
    ]
    if scheme.calibrated:
        rows = min(planned.rows, recipe.calibration_rows)
        planned.notes.append(f"It looks at {rows:,} of the {planned.rows:,} training conversations, at none of the held-out ones.")
    planned.notes.append("Then it is held against its parent on held-out dialogue: is she still herself?")
    if found.unfit:
        planned.warnings.append(schemes.left_out(found))
    if not schemes.fits_here(scheme, capability):
        planned.warnings.append(f"vLLM on this machine cannot serve {scheme.name}; make it only for another machine or the embedded engine.")
    for c in reversed(all_checkpoints(persona)):
        if c.scheme == recipe.scheme and c.base == persona.manifest.base and "seconds" in c.metrics:
            planned.seconds, planned.seconds_from = c.metrics["seconds"], c.run
            break


def quantized_bytes(recipe: Quantize, weights: Path) -> int:
    """Bytes a quantized checkpoint of these weights takes."""
    fit = {leaf for leaves in quantized_layers(recipe, weights).groups.values() for leaf in leaves}
    small = sum(inputs * outputs for name, inputs, outputs in schemes.linear_layers(weights, recipe.ignore) if name.rpartition(".")[2] in fit)
    return schemes.bytes_of(schemes.SCHEMES[recipe.scheme], small, count_parameters(weights) - small)


def base_parameters(persona: Persona) -> int:
    return count_parameters(require_base(persona.manifest.base))


def on_gpu() -> bool:
    """Whether runs of this machine have a GPU."""
    reading = device.read()
    return reading is not None and bool(reading.total)


def memory_there() -> tuple[int, str]:
    """Bytes a run can have, and whose: the GPU's whole memory, else what this machine has available."""
    reading = device.read()
    if reading is not None and reading.total:
        return reading.total, reading.name or "the GPU"
    return available_memory(), "this machine, without a GPU,"


def _plan_training(
    persona: Persona, planned: Plan, recipe: Cpt | Sft | Preference, snapshot: Snapshot | None, weights: Path, data: Path
) -> Cpt | Sft | Preference:
    """Returns the recipe with the length that its rows really have, where none is as long as it allows: what its memory goes by."""
    longest = recipe.length
    if snapshot and isinstance(recipe, Preference):
        planned.sequences = planned.rows
    if snapshot and planned.tokens is not None:
        path = data / "train.jsonl"
        sizes = row_sizes(path, path.stat().st_mtime_ns, planned.tokens / max(1, snapshot.train_characters))
        longest = sum(sizes) if isinstance(recipe, Texts) and recipe.packing else max(sizes, default=0)
        if isinstance(recipe, Cpt) and recipe.packing:
            planned.sequences = ceil(sum(sizes) / recipe.length)
        elif isinstance(recipe, Cpt):
            planned.sequences = sum(ceil(tokens / recipe.length) for tokens in sizes)
        elif isinstance(recipe, Sft):
            planned.sequences = planning.packed(sizes, recipe.length) if recipe.packing else planned.rows
            if cut := sum(tokens > recipe.length for tokens in sizes):
                planned.notes.append(f"About {cut:,} of {len(sizes):,} conversations are longer than length and lose their ends.")
    if planned.sequences is not None:
        planned.steps = max(1, ceil(recipe.epochs * max(1, ceil(planned.sequences / recipe.batch))))
    planned.epochs = recipe.epochs
    shape = planning.shape_of(weights)
    there, _ = memory_there()
    planned.trainable = planning.trained(recipe, shape)
    real = msgspec.structs.replace(recipe, length=max(32, min(recipe.length, longest)))
    planned.memory = planning.memory(real, shape, there, on_gpu())
    if recipe.method == "full":
        states = 12 if planning.in_float32(recipe, shape, there, on_gpu()) else 8
        planned.disk = ceil(recipe.epochs) * planned.parameters * 2 + (recipe.keep_states + 1) * planned.parameters * states
    else:
        planned.disk = ceil(recipe.epochs) * planned.trainable * 4 + (recipe.keep_states + 1) * planned.trainable * 12
    picked = benching.fastest(persona.manifest.base, planned.stage)
    if picked and any(getattr(recipe, key) != value for key, value in picked[0].items()):
        better = ", ".join(f"{key} = {str(value).lower()}" for key, value in picked[0].items())
        planned.notes.append(f"Measured on this machine: {picked[1]:.1f} times as fast with {better} (--fastest takes it).")
    if recipe.activation_offloading and on_gpu():
        beside = planning.memory(msgspec.structs.replace(real, activation_offloading=False), shape, there, True)["activations"]
        planned.notes.append(f"About {size(beside - planned.memory['activations'])} of what is remembered for the way back waits in main memory.")
    if recipe.probes:
        evaluations = 1 + ceil(recipe.epochs * recipe.evals_per_epoch)
        planned.notes.append(
            f"At each of {evaluations} evaluations up to {recipe.probes} probes are answered with at most {recipe.probe_tokens} tokens each "
            f"({evaluations * recipe.probes * recipe.probe_tokens:,} tokens written in all; probes = 0 leaves them out)."
        )
    return real


@lru_cache(maxsize=4)
def row_sizes(path: Path, changed: int, tokens_a_character: float) -> list[int]:
    """Tokens of each row, about: by its characters, with one for the end of a document, or five for what wraps a turn of dialogue
    (``<|im_start|>user\\n`` … ``<|im_end|>\\n``); of a pair with its longer reply. ``changed`` is the file's time, so that another file is
    read anew."""
    found = []
    for _, row in read_lines(path):
        if "text" in row:
            found.append(round(len(row["text"]) * tokens_a_character) + 1)
            continue
        turns = [len(message["content"]) for message in row.get("messages") or row["prompt"]]
        turns += [max(len(row[reply][0]["content"]) for reply in ("chosen", "rejected"))] if "chosen" in row else []
        found.append(round(sum(turns) * tokens_a_character) + 5 * len(turns))
    return found


def _plan_time(persona: Persona, planned: Plan, recipe: Cpt | Sft | Preference, weights: Path) -> None:
    """Time from the rate that a probe measured here, else of the newest finished run like it, else guessed from the card."""
    if planned.steps is None or planned.sequences is None:
        return
    # What is not packed holds what it holds, not whole sequences.
    packed = isinstance(recipe, Texts) and recipe.packing
    tokens = (planned.sequences * recipe.length if packed else planned.tokens or 0) * recipe.epochs
    rate, planned.seconds_from = _rate(persona, planned, recipe, weights)
    if rate and tokens:
        planned.seconds = tokens / rate


def _rate(persona: Persona, planned: Plan, recipe: Cpt | Sft | Preference, weights: Path) -> tuple[float, str]:
    """Tokens a second and where that is from; 0 where nothing is known."""
    if known := benching.probed(persona.manifest.base, planned.stage, recipe):
        return known.tokens_per_s, f"{known.steps} steps measured on {known.device}"
    here, near = benching.device_name() if on_gpu() else "", (0.0, "")
    for run in reversed(all_runs(persona)):
        if run.inputs.stage != planned.stage or run.status.state != DONE:
            continue
        seen = course(read_events(run.path))
        if not seen.rate or seen.plan.get("parameters") != planned.parameters or (here and seen.started.get("device") != here):
            continue
        past = from_toml(planned.stage, run.recipe_text)
        if not isinstance(past, Training):
            continue
        if benching.shape_of(past) == benching.shape_of(recipe):
            return seen.rate, run.id
        if not near[0] and (past.length, past.micro_batch) == (recipe.length, recipe.micro_batch):
            near = seen.rate, f"a guess: {run.id}, with other settings"
    if near[0]:
        return near
    shape, learned = planning.shape_of(weights), planned.trainable or 0
    frozen = 0 if recipe.method == "full" else shape.parameters
    flops, card = peak.flops_a_token(frozen, learned, references=isinstance(recipe, Dpo)), peak.peak(here)
    return (GUESSED_SHARE * card / flops, f"a guess: {GUESSED_SHARE:.0%} of what {here} can compute") if card and flops else (0.0, "")


def measure(persona: Persona, stage: str, recipe: Recipe, parent_id: str = "") -> benching.Probed:
    """The rate of a training here, from a few steps of it on made-up rows as long as its own; kept, and used by every later plan."""
    if not isinstance(recipe, Training):
        raise StudioError(f"Only trainings are measured ahead, not {stage}.")
    inputs = prepare(persona, stage, recipe, parent_id)
    snapshot = read_snapshot(Path(inputs.data))
    each = (snapshot.train_tokens or 0) // max(1, snapshot.train_rows)
    return benching.probe(persona.manifest.base, Path(inputs.weights_path), stage, recipe, max(16, each or 100))


def time_said(planned: Plan) -> str:
    """How long it will take and how that is known, for people."""
    if not planned.seconds:
        return "not known before a first run" + ("" if planned.stage == "quantize" else " (studio plan --measure tries a few steps)")
    how = planned.seconds_from
    return f"about {duration(planned.seconds)} ({how if how.startswith('a guess') else f'at the rate of {how}'})"


def keep_plan(run: Run, planned: Plan) -> Run:
    """Keep what was planned beside the run: afterwards it stands next to what was measured."""
    write_json(run.path / PLAN, planned)
    return run


class Outcome(msgspec.Struct, frozen=True):
    """One planned number and the measured one."""

    name: str
    planned: float
    measured: float

    @property
    def error(self) -> float:
        """By what share the plan was above (or below) what was measured."""
        return self.planned / self.measured - 1


def outcomes(run: Run) -> list[Outcome]:
    """The plan of an ended training against what was measured: bytes of memory, seconds, steps. Empty where nothing was planned."""
    try:
        planned = msgspec.json.decode((run.path / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError):
        return []
    seen = course(read_events(run.path))
    found: list[tuple[str, float | None, float | None]] = [
        ("memory", planned.memory.get("total"), seen.peak),
        ("steps", planned.steps, seen.plan.get("steps")),
    ]
    if seen.ended:
        found.append(("seconds", planned.seconds, seen.seconds))
    return [Outcome(name, float(before), float(after)) for name, before, after in found if before and after]
