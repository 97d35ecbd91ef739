"""Merging: an adapter into its weights, several adapters into one, several full models into one, tensor by tensor.

Task vectors are differences to the nearest common ancestor. TIES: Yadav et al. 2023 (arXiv 2306.01708); DARE: Yu et al. 2023
(arXiv 2311.03099); spherical interpolation as Shoemake 1985 has it for quaternions, on the flattened tensor.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from studio.checkpoints.herself import Comparison, write_comparison
from studio.checkpoints.lineage import common_ancestor
from studio.checkpoints.store import Checkpoint, get_checkpoint, weights_root, write_card
from studio.errors import StudioError
from studio.files import build_folder, write_json
from studio.jobs.runs import Run
from studio.persona.folder import Persona, open_persona
from studio.recipes.schema import Herself, Merge
from studio.stages import herself as hearing
from studio.stages import model as models
from studio.stages.checkpoint import checkpoints_folder
from studio.stages.story import Story, peak_memory

Tensors = Sequence[torch.Tensor]

SHARD_BYTES = 4 * 10**9
"""Largest file of merged weights."""

LAYER = re.compile(r"\blayers\.(\d+)\.")

PARALLEL = 0.9995
"""Cosine above which two tensors are interpolated straight: the sphere is flat there and its formula divides by nearly nothing."""


def merge(run: Run, recipe: Merge, story: Story) -> str:
    """Merge the checkpoints of a run into a new one, named like the run; returns its id. StudioError where they do not fit together."""
    persona = open_persona(Path(run.inputs.persona))
    members = [get_checkpoint(persona, name) for name in recipe.checkpoints]
    shares = _normalised(recipe.weights, len(members))
    destination = checkpoints_folder(run) / run.id
    trust = run.inputs.trust_remote_code
    together = recipe.result == "adapter"
    story.event("plan", steps=1, parameters=0, trainable=0, method=recipe.method if len(members) > 1 else "fold")
    with build_folder(destination) as folder:
        if together:
            story.phase(f"Merging {len(members)} adapters by {recipe.method}")
            _adapters(persona, members, shares, recipe, folder, trust)
        elif len(members) == 1:
            story.phase(f"Folding {members[0].id} into its weights")
            _fold(persona, members[0], folder, trust)
        else:
            _full(persona, members, recipe, folder, trust, story)
        speaker = next((c for c in reversed(members) if c.stage not in ("base", "cpt")), members[-1])
        models.save_speech(folder, Path(speaker.path), keep_own=True)
        story.phase("Checking the merged model")
        root = Path(weights_root(persona, members[0]).path)
        comparison = _check(persona, run, members[0], folder, root if together else folder, together, trust)
        metrics = dict(comparison.metrics)
        write_comparison(folder, comparison)
        for file in folder.iterdir():
            file.chmod(0o600)
        card = Checkpoint(
            id=run.id,
            name=f"{recipe.method if len(members) > 1 else 'fold'} of {', '.join(recipe.checkpoints)}",
            stage="merge",
            parent=members[0].id,
            merged=recipe.checkpoints,
            base=run.inputs.base,
            kind="adapter" if together else "full",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            run=run.id,
            recipe=run.recipe_text,
            metrics=metrics,
        )
        write_card(folder, card)
    story.event("checkpoint", id=run.id, path=str(destination), epoch=0, **metrics)
    story.event("memory", peak_bytes=peak_memory())
    return run.id


def _normalised(weights: list[float], count: int) -> list[float]:
    return [weight / sum(weights) for weight in weights] if weights else [1 / count] * count


def _load(persona: Persona, checkpoint: Checkpoint, trust: bool) -> Any:
    """The model of a checkpoint with full-precision weights, its adapter folded in."""
    root = weights_root(persona, checkpoint)
    model = models.load_model(Path(root.path), "float32", "sdpa", trust)
    if checkpoint.kind == "adapter":
        model = models.load_adapter(model, checkpoint.path, trainable=False).merge_and_unload()
    return model


def _fold(persona: Persona, checkpoint: Checkpoint, folder: Path, trust: bool) -> None:
    whole = _load(persona, checkpoint, trust)
    models.save_weights(whole, models.whole_weights(whole), folder)


def _adapters(persona: Persona, members: list[Checkpoint], shares: list[float], recipe: Merge, folder: Path, trust: bool) -> None:
    """Several adapters of the same weights as one, through PEFT."""
    from peft import PeftModel

    root = Path(weights_root(persona, members[0]).path)
    model = PeftModel.from_pretrained(models.load_model(root, "float32", "sdpa", trust), members[0].path, adapter_name="m0")
    for number, member in enumerate(members[1:], 1):
        model.load_adapter(member.path, adapter_name=f"m{number}")
    names = [f"m{number}" for number in range(len(members))]
    density = {"density": recipe.density} if "ties" in recipe.method or "dare" in recipe.method else {}
    torch.manual_seed(recipe.seed)
    try:
        model.add_weighted_adapter(names, shares, "default", combination_type=recipe.method.replace("-", "_"), **density)
    except ValueError as error:
        raise StudioError(f"{recipe.method} cannot merge these adapters ({str(error).splitlines()[0]}); cat and svd take any ranks.") from error
    model.set_adapter("default")
    for name in names:
        model.delete_adapter(name)
    models.save_adapter(model, folder, root)


def _full(persona: Persona, members: list[Checkpoint], recipe: Merge, folder: Path, trust: bool, story: Story) -> None:
    """Several models tensor by tensor; only one tensor of each is in memory. Adapters among them are folded first, beside the result."""
    ancestor = common_ancestor(persona, members) if recipe.method in NEEDS_ANCESTOR else None
    with tempfile.TemporaryDirectory(prefix=".folded-", dir=folder.parent) as beside:
        folders = []
        for number, member in enumerate([*members, *([ancestor] if ancestor else [])]):
            place = Path(member.path)
            if member.kind == "adapter":
                story.phase(f"Folding {member.id} into its weights")
                place = Path(beside) / str(number)
                place.mkdir()
                _fold(persona, member, place, trust)
            folders.append(place)
        story.phase(f"Merging {len(members)} models by {recipe.method}")
        chance = torch.Generator().manual_seed(recipe.seed)
        _write_merged(folders, members, recipe, folder, chance)
        shutil.copyfile(folders[0] / "config.json", folder / "config.json")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "bfloat16"
    write_json(folder / "config.json", config)


def _write_merged(folders: list[Path], members: list[Checkpoint], recipe: Merge, folder: Path, chance: torch.Generator) -> None:
    from safetensors.torch import save_file

    combine = METHODS[recipe.method]
    with ExitStack() as stack:
        sources = [_tensors(place, stack) for place in folders]
        names = set(sources[0])
        for source, place in zip(sources[1:], folders[1:], strict=True):
            if set(source) != names:
                odd = sorted(names ^ set(source))
                raise StudioError(f"{members[0].id} and what lies in {place.name} do not have the same layers ({odd[0]} and {len(odd) - 1} more).")
        shares_of = _by_layer(recipe, len(members), names)
        shard: dict[str, torch.Tensor] = {}
        place_of: dict[str, str] = {}
        held, files = 0, 0

        def flush() -> None:
            nonlocal shard, held, files
            if shard:
                files += 1
                save_file(shard, folder / f"model-{files:05}.safetensors", metadata={"format": "pt"})
                place_of.update(dict.fromkeys(shard, f"model-{files:05}.safetensors"))
            shard, held = {}, 0

        for name in sorted(names):
            tensors = [source[name]() for source in sources]
            if len({tuple(t.shape) for t in tensors}) > 1:
                raise StudioError(f"{', '.join(c.id for c in members)} differ in the shape of {name}; only models of one family can be merged.")
            kind = tensors[0].dtype
            if not kind.is_floating_point:
                shard[name] = tensors[0]
                continue
            floats = [t.float() for t in tensors]
            base = floats.pop() if len(floats) > len(members) else torch.zeros(())
            shard[name] = combine(floats, base, shares_of(name), recipe.density, chance).to(torch.bfloat16).contiguous()
            held += shard[name].nbytes
            if held > SHARD_BYTES:
                flush()
        flush()
    if files == 1:
        (folder / "model-00001.safetensors").rename(folder / "model.safetensors")
    else:
        total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": place_of})


def _by_layer(recipe: Merge, count: int, names: set[str]) -> Callable[[str], list[float]]:
    """The share of each model in a tensor: from ``weights`` in the first layer (and the embeddings) evenly to ``late`` in the last (and the
    head)."""
    first, last = _normalised(recipe.weights, count), _normalised(recipe.late or recipe.weights, count)
    numbers = {name: int(found[1]) for name in names if (found := LAYER.search(name))}
    most = max(1, max(numbers.values(), default=0))

    def shares(name: str) -> list[float]:
        way = numbers[name] / most if name in numbers else 0.0 if "embed" in name else 1.0
        return [early + way * (late - early) for early, late in zip(first, last, strict=True)]

    return shares


def _tensors(folder: Path, stack: ExitStack) -> dict[str, Callable[[], torch.Tensor]]:
    """Every tensor of a model's folder, read from the disk when it is called for."""
    from safetensors import safe_open

    found: dict[str, Callable[[], torch.Tensor]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        file = stack.enter_context(safe_open(path, framework="pt"))
        for name in file.keys():  # noqa: SIM118  not a dict

            def read(file: Any = file, name: str = name) -> torch.Tensor:
                tensor: torch.Tensor = file.get_tensor(name)
                return tensor

            found[name] = read
    return found


def linear(tensors: Tensors, base: torch.Tensor, shares: Sequence[float], density: float, chance: torch.Generator) -> torch.Tensor:
    """The weighted mean."""
    return torch.stack([share * tensor for share, tensor in zip(shares, tensors, strict=True)]).sum(0)


def slerp(tensors: Tensors, base: torch.Tensor, shares: Sequence[float], density: float, chance: torch.Generator) -> torch.Tensor:
    """Between two, along the arc: keeps the length that a mean of unlike tensors loses."""
    first, second = tensors
    a, b = first.flatten(), second.flatten()
    cosine = float(torch.dot(a, b) / (a.norm() * b.norm()).clamp_min(1e-12))
    if abs(cosine) > PARALLEL:
        return linear(tensors, base, shares, density, chance)
    angle = torch.arccos(torch.tensor(cosine))
    return (torch.sin(shares[0] * angle) * first + torch.sin(shares[1] * angle) * second) / torch.sin(angle)


def _trimmed(delta: torch.Tensor, density: float) -> torch.Tensor:
    """The largest ``density`` share of the changes, by size; the rest is zero."""
    keep = max(1, round(density * delta.numel()))
    if keep >= delta.numel():
        return delta
    smallest = delta.abs().flatten().kthvalue(delta.numel() - keep + 1).values
    return torch.where(delta.abs() >= smallest, delta, 0.0)


def _dropped(delta: torch.Tensor, density: float, chance: torch.Generator) -> torch.Tensor:
    """A random ``density`` share of the changes, made larger by as much as was left out."""
    return delta * (torch.rand(delta.shape, generator=chance) < density) / density


def _elected(deltas: Tensors, shares: Sequence[float]) -> torch.Tensor:
    """Where changes disagree in sign the heavier side wins, and only its own are averaged."""
    weighted = torch.stack([share * delta for share, delta in zip(shares, deltas, strict=True)])
    agree = torch.sign(weighted) == torch.sign(weighted.sum(0))
    weights = torch.tensor(shares).reshape(-1, *[1] * deltas[0].dim())
    mass = (agree * (weighted != 0) * weights).sum(0)
    return torch.where(mass > 0, (weighted * agree).sum(0) / mass.clamp_min(1e-12), 0.0)


def ties(tensors: Tensors, base: torch.Tensor, shares: Sequence[float], density: float, chance: torch.Generator) -> torch.Tensor:
    """Trim, elect, merge."""
    return base + _elected([_trimmed(tensor - base, density) for tensor in tensors], shares)


def dare_linear(tensors: Tensors, base: torch.Tensor, shares: Sequence[float], density: float, chance: torch.Generator) -> torch.Tensor:
    """Drop at random, rescale, average."""
    return base + linear([_dropped(tensor - base, density, chance) for tensor in tensors], base, shares, density, chance)


def dare_ties(tensors: Tensors, base: torch.Tensor, shares: Sequence[float], density: float, chance: torch.Generator) -> torch.Tensor:
    """Drop at random, rescale, elect, merge."""
    return base + _elected([_dropped(tensor - base, density, chance) for tensor in tensors], shares)


METHODS = {"linear": linear, "slerp": slerp, "ties": ties, "dare-linear": dare_linear, "dare-ties": dare_ties}
NEEDS_ANCESTOR = ("ties", "dare-linear", "dare-ties")


def _check(persona: Persona, run: Run, parent: Checkpoint, folder: Path, weights: Path, adapter: bool, trust: bool) -> Comparison:
    """The merged model against its first parent. StudioError if it cannot speak at all."""
    tokenizer = models.load_transformers_tokenizer(folder, trust)
    before = _load(persona, parent, trust)
    wanted = Herself()
    asked = hearing.asked_of(run.inputs.data, folder, persona, tokenizer, int(before.config.get_text_config().vocab_size), wanted)
    with hearing.listening(before):
        seen = hearing.look(before, asked, wanted.reply_tokens)
    del before
    after = models.load_model(weights, "float32", "sdpa", trust)
    if adapter:
        after = models.load_adapter(after, str(folder), trainable=False)
    with hearing.listening(after):
        metrics, replies = hearing.compare(seen, after, asked, tokenizer, wanted.reply_tokens)
    if not metrics["finite"]:
        raise StudioError("The merged model is broken: its probabilities are not numbers. Try another method, or a higher density than was set.")
    return Comparison(parent.id, asked.material, metrics, replies)
