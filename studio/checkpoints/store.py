"""Checkpoint folders, their cards, and the tree.

A folder under ``checkpoints/`` holds safetensors, tokenizer, chat template and ``checkpoint.toml``. It is built beside its place
and renamed in, so that what is listed is whole. The base is a checkpoint too: id ``base``, no folder of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from studio.errors import StudioError
from studio.files import folder_size, sha256_bytes, sha256_file
from studio.persona.folder import Persona

BASE = "base"
"""Id of the checkpoint that has no parent."""


class Checkpoint(msgspec.Struct, omit_defaults=False):
    """``checkpoint.toml``."""

    id: str
    name: str
    stage: str
    """``base cpt sft dpo orpo merge quantize``; ``external`` for an outside endpoint."""
    parent: str = ""
    """Id of the checkpoint it was made from; of a merge the first of them."""
    merged: list[str] = []
    """Ids of all checkpoints a merge was made from."""
    base: str = ""
    """Name of the base at the root of its family (hub id, folder or ``pocket``)."""
    kind: str = "full"
    """``full`` (all weights, quantized ones included), ``adapter`` (LoRA on ``parent``) or ``external`` (an endpoint; ``path`` is its address)."""
    created: str = ""
    run: str = ""
    recipe: str = ""
    """The resolved recipe, as TOML text."""
    snapshot: str = ""
    tokens_seen: int = 0
    scheme: str = ""
    """Quantization scheme, empty for unquantized weights."""
    metrics: dict[str, float] = {}
    """Measured at its making: ``val_loss``, ``train_loss``, ``gap`` (fraction), ``seconds``, ``bytes`` …"""
    digests: dict[str, str] = {}
    """sha256 by file name, of the weights, the tokenizer and the template."""
    path: str = ""
    """Where it lies; filled in on reading, never stored."""


def write_card(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint.toml`` into a folder being built, with digests of the files that make the model."""
    checkpoint.digests = {
        file.name: sha256_file(file)
        for file in sorted(folder.iterdir())
        if file.suffix == ".safetensors" or file.name in ("tokenizer.json", "config.json", "adapter_config.json", "chat_template.jinja")
    }
    checkpoint.metrics["bytes"] = folder_size(folder)
    fields = msgspec.to_builtins(checkpoint)
    del fields["path"]
    (folder / "checkpoint.toml").write_text(tomli_w.dumps(fields, multiline_strings=True), encoding="utf-8")


def add_metrics(folder: Path, metrics: dict[str, float]) -> None:
    """Write what was measured of a checkpoint later on into its card; nothing else of it changes."""
    from studio.files import write_atomic

    checkpoint = read_checkpoint(folder)
    fields = msgspec.to_builtins(checkpoint)
    del fields["path"]
    fields["metrics"] = checkpoint.metrics | metrics
    write_atomic(folder / "checkpoint.toml", tomli_w.dumps(fields, multiline_strings=True))


def read_checkpoint(folder: Path) -> Checkpoint:
    path = folder / "checkpoint.toml"
    try:
        checkpoint = msgspec.toml.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError as error:
        raise StudioError(f"{folder} is no checkpoint (no checkpoint.toml).") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} cannot be read ({error}); the weights beside it are untouched.") from error
    checkpoint.path = str(folder)
    return checkpoint


def base_checkpoint(persona: Persona) -> Checkpoint:
    """The base as a checkpoint. Its path is empty while it is not on this machine."""
    from studio.checkpoints.base import locate_base

    path = locate_base(persona.manifest.base)
    return Checkpoint(id=BASE, name=persona.manifest.base, stage="base", base=persona.manifest.base, path=str(path or ""))


def external_checkpoints(persona: Persona) -> list[Checkpoint]:
    """The outside endpoints named in ``persona.toml``."""
    return [
        Checkpoint(name, end.model, "external", kind="external", digests={"endpoint": sha256_bytes(f"{end.url} {end.model}".encode())}, path=end.url)
        for name, end in persona.manifest.external.items()
    ]


def all_checkpoints(persona: Persona) -> list[Checkpoint]:
    """The base, every whole checkpoint in the order of creation, the outside endpoints. Folders that cannot be read are left out."""
    found = []
    for folder in _folders(persona):
        try:
            found.append(read_checkpoint(folder))
        except StudioError:
            continue
    return [base_checkpoint(persona), *sorted(found, key=lambda c: (c.created, c.id)), *external_checkpoints(persona)]


def _folders(persona: Persona) -> Iterator[Path]:
    if persona.checkpoints.is_dir():
        yield from (path for path in persona.checkpoints.iterdir() if not path.name.startswith(".") and path.is_dir())


def get_checkpoint(persona: Persona, asked: str) -> Checkpoint:
    """The checkpoint with that id, or the newest one of a run or stage (``cpt-1``, ``sft``), or the one that uniquely begins so."""
    known = all_checkpoints(persona)
    for checkpoint in known:
        if asked in (checkpoint.id, checkpoint.path):
            return checkpoint
    newest = [c for c in known if asked in (c.run, c.stage)] or [c for c in known if c.id.startswith(asked)]
    if asked and newest and (len({c.run for c in newest}) == 1 or asked == newest[-1].stage):
        return newest[-1]
    names = ", ".join(c.id for c in known)
    raise StudioError(f"There is no checkpoint {asked!r} in {persona.name}; there are: {names}.")


def depends_on(persona: Persona, checkpoint_id: str) -> list[Checkpoint]:
    """Checkpoints that were made from this one."""
    return [c for c in all_checkpoints(persona) if c.parent == checkpoint_id or checkpoint_id in c.merged]


def in_use(persona: Persona, checkpoint: Checkpoint) -> str:
    """Who needs a checkpoint at this moment, in words: a run that waits, is paused or runs, or a server; empty if nobody does."""
    from studio.engines.giving_way import returning
    from studio.engines.servers import running
    from studio.jobs.runs import PAUSED, QUEUED, RUNNING, all_runs

    for run in all_runs(persona):
        if run.status.state not in (QUEUED, RUNNING, PAUSED):
            continue
        reads = {run.inputs.parent, Path(run.inputs.parent_path).name, Path(run.inputs.weights_path).name}
        if checkpoint.id in reads or f'"{checkpoint.id}"' in run.recipe_text:
            return f"{run.id} ({run.status.state}) starts from it; let it end or cancel it first"
        if run.inputs.after and run.inputs.after == checkpoint.run and not run.inputs.parent:
            return f"{run.id} waits for {checkpoint.run} and starts from what it makes; let it end or cancel it first"
    for server in running(persona):
        if checkpoint.id in server.models:
            return f"{server.name} serves it; stop that first: studio serve stop {server.name}"
    for note in returning():
        if note.persona == str(persona.root) and checkpoint.id in note.checkpoints:
            return f"{note.name} gave way to a run and comes back with it; stop the server for good first"
    return ""


def delete_checkpoint(persona: Persona, checkpoint_id: str) -> Checkpoint:
    """Remove a checkpoint that nothing sits on and nobody uses. Its card stays in ``checkpoints/deleted.jsonl``."""
    from studio.files import append_line

    with persona.exclusive():
        checkpoint = get_checkpoint(persona, checkpoint_id)
        if checkpoint.stage == "base":
            raise StudioError("The base is not deleted from here: it belongs to this machine and not to one persona.")
        if checkpoint.kind == "external":
            raise StudioError(f"{checkpoint.id} is an outside endpoint; take it away with: studio external remove {checkpoint.id}.")
        if children := depends_on(persona, checkpoint.id):
            raise StudioError(f"{checkpoint.id} is not deleted: {', '.join(c.id for c in children)} was made from it; delete that first.")
        if user := in_use(persona, checkpoint):
            raise StudioError(f"{checkpoint.id} is not deleted: {user}.")
        append_line(persona.checkpoints / "deleted.jsonl", checkpoint)
        doomed = Path(checkpoint.path)
        hidden = doomed.with_name(f".deleted-{doomed.name}")
        doomed.rename(hidden)
        shutil.rmtree(hidden)
    return checkpoint


def weights_root(persona: Persona, checkpoint: Checkpoint) -> Checkpoint:
    """The full checkpoint whose weights this one needs: itself, or what an adapter finally sits on."""
    seen = {checkpoint.id}
    while checkpoint.kind == "adapter":
        checkpoint = get_checkpoint(persona, checkpoint.parent)
        if checkpoint.id in seen:
            raise StudioError(f"{checkpoint.id} is its own ancestor; its checkpoint.toml is damaged.")
        seen.add(checkpoint.id)
    return checkpoint


def tree(checkpoints: list[Checkpoint]) -> list[tuple[int, Checkpoint]]:
    """``(depth, checkpoint)`` in drawing order; orphans (their parent is gone) stand at depth 0."""
    ids = {c.id for c in checkpoints}
    children: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        children.setdefault(checkpoint.parent if checkpoint.parent in ids else "", []).append(checkpoint)
    drawn: list[tuple[int, Checkpoint]] = []

    def draw(parent: str, depth: int) -> None:
        for child in children.get(parent, []):
            drawn.append((depth, child))
            draw(child.id, depth + 1)

    draw("", 0)
    return drawn


def listing(persona: Persona) -> list[dict[str, Any]]:
    """What ``studio checkpoints list --json`` prints."""
    keys = ("id", "name", "stage", "parent", "base", "path", "created", "metrics", "kind", "scheme", "run", "snapshot", "tokens_seen")
    return [{key: getattr(c, key) for key in keys} for c in all_checkpoints(persona)]
