"""From a recipe to a queued run: what it starts from, what it reads, what it will need."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from math import ceil
from pathlib import Path

import msgspec

from studio import benching, peak, planning
from studio.checkpoints import schemes
from studio.checkpoints.base import check_tokenizer, context_length, count_parameters, require_base
from studio.checkpoints.store import all_checkpoints, get_checkpoint, weights_root
from studio.errors import StudioError
from studio.files import read_lines, write_atomic, write_json
from studio.jobs import control, device
from studio.jobs.runs import DONE, Inputs, Run, all_runs, read_events, read_run
from studio.persona.folder import Persona, open_persona
from studio.recipes.files import from_toml, to_toml
from studio.recipes.schema import MATERIAL, Ahead, Cpt, Dpo, Merge, Preference, Quantize, Recipe, Serve, Sft, Texts, Training
from studio.seeing.course import course
from studio.snapshots import Snapshot, latest_snapshot, read_snapshot
from studio.text import duration, size

PLAN = "plan.json"
"""In a run folder: what it was planned to need."""

DISK_FLOOR = 1_000_000_000
"""Bytes that stay free after everything a run writes."""

DISK_LEAST = 16_000_000
"""Bytes that must be free for anything to be started at all."""

FEW_STEPS = 20
"""Steps of a preference training below which its small step size hardly changes anything (published runs take hundreds)."""


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


def default_parent(persona: Persona, stage: str) -> str:
    """Where a stage starts from when nobody says: CPT from the base, the rest from the newest checkpoint that leads there."""
    wanted = {"cpt": (), "sft": ("cpt",), "dpo": ("sft",), "orpo": ("sft", "cpt"), "quantize": ("dpo", "orpo", "sft", "cpt")}[stage]
    for earlier in wanted:
        try:
            return get_checkpoint(persona, earlier).id
        except StudioError:
            continue
    if stage == "dpo":
        raise StudioError(
            "There is no SFT checkpoint to start dpo from: it only moves what she can say already. First: studio train sft (or --from)."
        )
    return "base"


def prepare(persona: Persona, stage: str, recipe: Recipe, parent_id: str = "", snapshot_id: str = "") -> Inputs:
    """Everything a run reads, checked as far as that is possible without loading it. Raises StudioError with what is missing."""
    parent = get_checkpoint(persona, parent_id or default_parent(persona, stage))
    if parent.stage == "base":
        parent.path = str(require_base(persona.manifest.base))
    if parent.kind == "external":
        raise StudioError(f"{parent.id} is an outside endpoint without weights here; {stage} starts from a checkpoint of your own.")
    if parent.scheme and stage != "serve":
        raise StudioError(f"{parent.id} is quantized ({parent.scheme}) and cannot be the start of {stage}; take its parent {parent.parent}.")
    if stage == "cpt" and parent.kind == "adapter":
        raise StudioError(f"{parent.id} is an adapter; CPT trains all weights and starts from a full checkpoint.")
    root = weights_root(persona, parent)
    if root.stage == "base":
        root.path = str(require_base(persona.manifest.base))
    check_tokenizer(Path(root.path))
    count = recipe.devices if isinstance(recipe, Training) else 1
    if isinstance(recipe, Training) and recipe.batch % count:
        raise StudioError(f"batch is {recipe.batch} and cannot be shared evenly by {count} devices; take a batch that is a multiple of {count}.")
    snapshot = read_snapshot(persona.snapshots / snapshot_id) if snapshot_id else material(persona, stage, recipe)
    if isinstance(recipe, Training) and recipe.length > context_length(Path(root.path)):
        raise StudioError(
            f"length is {recipe.length:,} but {persona.manifest.base} reads at most {context_length(Path(root.path)):,} tokens; lower length."
        )
    if isinstance(recipe, Quantize) and (persona.checkpoints / f"{parent.id}-{recipe.scheme}").exists():
        made = f"{parent.id}-{recipe.scheme}"
        raise StudioError(f"{made} exists already; delete it first with: studio checkpoints delete {made}.")
    if isinstance(recipe, Quantize) and (found := quantized_layers(recipe, Path(root.path))).unfit and not found.groups:
        raise StudioError(schemes.refusal(schemes.SCHEMES[recipe.scheme], found))
    character = persona.manifest.character
    return Inputs(
        stage=stage,
        persona=str(persona.root),
        parent=parent.id,
        parent_path=parent.path,
        parent_kind=parent.kind,
        weights_path=root.path,
        base=persona.manifest.base,
        snapshot=snapshot.id if snapshot else "",
        data=str(persona.snapshots / snapshot.id) if snapshot else "",
        character=character.name,
        system_prompt=character.system_prompt,
        trust_remote_code=persona.manifest.base in persona.manifest.trust.remote_code,
        devices=count,
    )


def material(persona: Persona, stage: str, recipe: Recipe) -> Snapshot | None:
    """The newest snapshot the stage reads; None for one that reads none. Data-free quantization takes one only to check itself against."""
    if stage not in MATERIAL:
        return None
    try:
        return latest_snapshot(persona, MATERIAL[stage])
    except StudioError:
        if isinstance(recipe, Quantize) and not schemes.SCHEMES[recipe.scheme].calibrated:
            return None
        raise


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
    if isinstance(recipe, Quantize):
        _plan_quantizing(persona, planned, recipe, weights)
    elif isinstance(recipe, Cpt | Sft | Preference):
        _plan_training(persona, planned, recipe, snapshot, weights, Path(inputs.data))
        _plan_time(persona, planned, recipe, weights)
    if isinstance(recipe, Preference) and planned.steps is not None and planned.steps < FEW_STEPS:
        planned.warnings.append(
            f"{planned.rows:,} pairs make {planned.steps} steps, too few to move her much: vote on more, raise epochs or lower batch."
        )
    planned.memory["total"] = sum(planned.memory.values())
    there, whose = memory_there()
    if there and planned.memory["total"] > there:
        told = f"It will want about {size(planned.memory['total'])} of memory and {whose} has {size(there)}; "
        planned.change = (
            planning.nearest_fit(recipe, planning.shape_of(weights), there, on_gpu()) if isinstance(recipe, Cpt | Sft | Preference) else None
        )
        planned.warnings.append(
            told + (f"it fits with {planned.change.said} (about {size(planned.change.bytes)})." if planned.change else "take a smaller base.")
        )
    if planned.disk + DISK_FLOOR > planned.disk_free:
        planned.warnings.append(
            f"It will write about {size(planned.disk)} and only {size(planned.disk_free)} are free; free some space or lower keep_states and epochs."
        )
    return planned


def quantized_layers(recipe: Quantize, weights: Path) -> schemes.Layers:
    """What the recipe would make of the layers of a model, from the headers of its files."""
    return schemes.layers(schemes.SCHEMES[recipe.scheme], recipe.group_size, schemes.linear_layers(weights, recipe.ignore))


def quantized_bytes(recipe: Quantize, weights: Path) -> int:
    """Bytes a quantized checkpoint of these weights takes."""
    fit = {leaf for leaves in quantized_layers(recipe, weights).groups.values() for leaf in leaves}
    small = sum(inputs * outputs for name, inputs, outputs in schemes.linear_layers(weights, recipe.ignore) if name.rpartition(".")[2] in fit)
    return schemes.bytes_of(schemes.SCHEMES[recipe.scheme], small, count_parameters(weights) - small)


def _plan_quantizing(persona: Persona, planned: Plan, recipe: Quantize, weights: Path) -> None:
    """Size before and after, which cards can serve it, and what stays as it is."""
    scheme, found = schemes.SCHEMES[recipe.scheme], quantized_layers(recipe, weights)
    capability = schemes.gpu_capability()
    planned.memory = {"weights": planned.parameters * 2}
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


def base_parameters(persona: Persona) -> int:
    return count_parameters(require_base(persona.manifest.base))


def check_engine(recipe: Serve) -> None:
    """StudioError if the engine could not be started when its turn comes."""
    if recipe.engine == "vllm":
        from studio.engines import environment

        environment.require()


def on_gpu() -> bool:
    """Whether runs of this machine have a GPU."""
    reading = device.read()
    return reading is not None and bool(reading.total)


def memory_there() -> tuple[int, str]:
    """Bytes a run can have, and whose: the GPU's whole memory, else what this machine has available."""
    reading = device.read()
    if reading is not None and reading.total:
        return reading.total, reading.name or "the GPU"
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0, ""
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0), "this machine, without a GPU,"


def _plan_training(persona: Persona, planned: Plan, recipe: Cpt | Sft | Preference, snapshot: Snapshot | None, weights: Path, data: Path) -> None:
    if snapshot and isinstance(recipe, Preference):
        planned.sequences = planned.rows
    elif snapshot and planned.tokens is not None:
        path = data / "train.jsonl"
        sizes = row_sizes(path, path.stat().st_mtime_ns, planned.tokens / max(1, snapshot.train_characters))
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
    planned.memory = planning.memory(recipe, shape, there, on_gpu())
    if recipe.method == "full":
        states = 12 if planning.in_float32(recipe, shape, there, on_gpu()) else 8
        planned.disk = ceil(recipe.epochs) * planned.parameters * 2 + (recipe.keep_states + 1) * planned.parameters * states
    else:
        planned.disk = ceil(recipe.epochs) * planned.trainable * 4 + (recipe.keep_states + 1) * planned.trainable * 12
    picked = benching.fastest(persona.manifest.base, planned.stage)
    if picked and any(getattr(recipe, key) != value for key, value in picked[0].items()):
        better = ", ".join(f"{key} = {str(value).lower()}" for key, value in picked[0].items())
        planned.notes.append(f"Measured on this machine: {picked[1]:.1f} times as fast with {better} (--fastest takes it).")
    if recipe.probes:
        evaluations = 1 + ceil(recipe.epochs * recipe.evals_per_epoch)
        planned.notes.append(
            f"At each of {evaluations} evaluations up to {recipe.probes} probes are answered with at most {recipe.probe_tokens} tokens each "
            f"({evaluations * recipe.probes * recipe.probe_tokens:,} tokens written in all; probes = 0 leaves them out)."
        )


@lru_cache(maxsize=4)
def row_sizes(path: Path, changed: int, tokens_a_character: float) -> list[int]:
    """Tokens of each row, about: by its characters, with one for the end of a document, or five for what wraps a turn of dialogue
    (``<|im_start|>user\\n`` … ``<|im_end|>\\n``). ``changed`` is the file's time, so that another file is read anew."""
    found = []
    for _, row in read_lines(path):
        texts = [message["content"] for message in row["messages"]] if "messages" in row else [row.get("text", "")]
        found.append(round(sum(map(len, texts)) * tokens_a_character) + (5 * len(texts) if "messages" in row else 1))
    return found


GUESSED_SHARE = 0.3
"""Of a card's arithmetic, where nothing was measured: between what small models and large ones reach with packing and bf16."""


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
        return "not known before a first run (studio plan --measure tries a few steps)"
    how = planned.seconds_from
    return f"about {duration(planned.seconds)} ({how if how.startswith('a guess') else f'at the rate of {how}'})"


def start_ahead(persona: Persona, review: str, engine: str) -> Run:
    """Queue the writing of a review's missing replies. An engine that runs meanwhile is used where it serves the checkpoints."""
    inputs = Inputs(stage="ahead", persona=str(persona.root), parent=review, parent_path="")
    return control.submit(persona, inputs, to_toml(Ahead(review=review, engine="vllm" if engine == "vllm" else "embedded")))


def why_not_now(run: Run) -> tuple[str, bool]:
    """What a queued run lacks at this moment, in one sentence, and whether waiting cannot mend it; ("", False) if it can start.

    For a run that waited for another this is where its parent checkpoint is found and written into its inputs.
    """
    inputs = run.inputs
    if inputs.after and not inputs.parent_path:
        try:
            inputs = follow_on(run)
        except StudioError as error:
            return str(error), True
    for what, place in (("parent checkpoint", inputs.parent_path), ("weights", inputs.weights_path), ("snapshot", inputs.data)):
        if place and not Path(place).exists():
            return f"Its {what} {place} is not there any more; put it back or queue the run anew.", True
    try:
        free = shutil.disk_usage(run.path).free
    except OSError as error:
        return f"{run.path} cannot be looked at: {error.strerror}.", False
    needed = inputs.disk + DISK_FLOOR if inputs.disk and not run.status.attempts else DISK_LEAST
    if free < needed:
        return f"Waiting for room on the disk: it needs {size(needed)} and {size(free)} are free; it starts when there is enough.", False
    return "", False


def follow_on(run: Run) -> Inputs:
    """The inputs of a run that waited for another, its parent the last checkpoint that one made."""
    other = read_run(run.path.parent / run.inputs.after)
    if not other.status.checkpoints:
        raise StudioError(f"{other.id} made no checkpoint that {run.id} could start from.")
    persona, parent = open_persona(run.path.parent.parent), other.status.checkpoints[-1]
    recipe = from_toml(run.inputs.stage, run.recipe_text)
    if isinstance(recipe, Merge):
        recipe = msgspec.structs.replace(recipe, checkpoints=[parent])
        write_atomic(run.path / "recipe.toml", to_toml(recipe))
    found = prepare(persona, run.inputs.stage, recipe, parent, run.inputs.snapshot)
    found = msgspec.structs.replace(found, after=run.inputs.after, disk=run.inputs.disk, give_way=run.inputs.give_way, on=run.inputs.on)
    write_json(run.path / "inputs.json", found)
    return found


def start(persona: Persona, stage: str, recipe: Recipe, parent_id: str = "", snapshot_id: str = "", give_way: bool = False, on: str = "") -> Run:
    """Queue a run. Refused in words when it could not end well: no room on the disk, a file or base missing."""
    planned = plan(persona, stage, recipe, parent_id)
    inputs = prepare(persona, stage, recipe, parent_id, snapshot_id)
    inputs.give_way, inputs.on = give_way, on
    if not os.environ.get("STUDIO_IGNORE_DISK"):
        inputs.disk = planned.disk
        if planned.disk + DISK_FLOOR > planned.disk_free:
            raise StudioError(f"{stage} was not started. {planned.warnings[-1]}")
    return keep_plan(control.submit(persona, inputs, to_toml(recipe)), planned)


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
