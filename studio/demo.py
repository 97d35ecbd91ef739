"""``studio demo``: the whole way on the sample persona, unattended: material, CPT, SFT, quantize, serve, probes, side by side."""

from __future__ import annotations

import select
import sys
import time
from argparse import Namespace
from pathlib import Path

from studio import launch
from studio.checkpoints.fetch import fetch_base, hub_answers
from studio.checkpoints.store import BASE, all_checkpoints, get_checkpoint
from studio.cli import models, output, training
from studio.dialogue import adding
from studio.dialogue import build as dialogue_build
from studio.errors import StudioError
from studio.home import samples
from studio.jobs.lease import gpu
from studio.lore import build as lore_build
from studio.lore import sources
from studio.persona.folder import Persona, create_from_sample, open_persona, save_manifest
from studio.recipes.files import resolve
from studio.text import duration

SAMPLE = "wen"
OPEN_PROBES = 4
REAL_BASE = "Qwen/Qwen3-0.6B-Base"
"""A small real base that fits any GPU; offered to people who have one."""

ANSWER_SECONDS = 20.0


def demo(parent: Path | None = None, base: str = "", engine: str = "embedded") -> int:
    """Make a new persona from the sample and take it all the way. Exit code 0 when every step ended well."""
    base = base or _offered()
    began = time.monotonic()
    persona = _persona(parent or Path.cwd(), base)
    output.progress(f"{persona.name}: a new persona in {persona.root}")
    path = fetch_base(persona.manifest.base, output.progress)
    output.progress(f"The base {persona.manifest.base} is in {path}.")
    _material(persona)
    for stage in ("cpt", "sft"):
        _run(persona, stage, [])
    _run(persona, "quantize", ["scheme=int4-rtn"])
    compared = [BASE, get_checkpoint(persona, "cpt").id, get_checkpoint(persona, "sft").id]
    output.progress(f"Serving {', '.join(compared)} ({engine}) …")
    models.probe(Namespace(checkpoints=compared, limit=OPEN_PROBES, engine=engine, temperature=0.7, max_tokens=60, seed=7, json=False), persona)
    output.say("\nThe family tree")
    models.print_tree(all_checkpoints(persona))
    if persona.manifest.base == "pocket":
        output.say("\nThe pocket base is tiny and babbles; what it shows is the way, not the destination.")
    output.say(f"\nDone in {duration(time.monotonic() - began)}. Open it with:  studio -p {persona.root}")
    output.say(f"Compare blind:  studio -p {persona.root} review {compared[1]} {compared[2]}")
    return 0


def _offered() -> str:
    """A real base, if this machine has a GPU, reaches the hub, and somebody is there who takes it; else empty: the embedded one."""
    if not gpu() or not hub_answers():
        return ""
    question = f"This machine has a GPU. Take the real base {REAL_BASE} (1.2 GB from the hub, no account) instead of the embedded one?"
    if not sys.stdin.isatty():
        output.progress(f"{question} Then: studio demo --base {REAL_BASE}")
        return ""
    print(f"{question} [y/N] ", end="", flush=True, file=sys.stderr)
    # Nobody there is a no: the demo runs unattended.
    answered, _, _ = select.select([sys.stdin], [], [], ANSWER_SECONDS)
    if not answered:
        print("no answer: the embedded one", file=sys.stderr)
        return ""
    return REAL_BASE if sys.stdin.readline().strip().lower() in ("y", "yes") else ""


def _persona(parent: Path, base: str) -> Persona:
    """A new folder ``wen``, or ``wen-2`` and so on where there is one: nothing is ever overwritten."""
    number = 1
    while (parent / (name := SAMPLE if number == 1 else f"{SAMPLE}-{number}")).exists():
        number += 1
    persona = create_from_sample(samples() / SAMPLE, parent, name)
    if base:
        from studio.checkpoints.base import check_base_name

        persona.manifest.base = check_base_name(base)
        save_manifest(persona.root, persona.manifest)
        for recipe in persona.recipes.glob("*.toml"):  # they are cut to the pocket base's size
            recipe.unlink()
    return open_persona(persona.root)


def _material(persona: Persona) -> None:
    sample = samples() / SAMPLE
    lore = sources.add(persona, [sample / "lore"])
    dialogue = adding.add(persona, [sample / "dialogue"])
    for name, report, snapshot in (("lore", lore, lore_build.build(persona)), ("dialogue", dialogue, dialogue_build.build(persona))):
        if report.faults:
            raise StudioError(f"The sample's {name} is damaged: {report.faults[0]}")
        output.progress(
            f"{snapshot.id}: {report.kept:,} added, {snapshot.train_rows:,} rows to train on, {snapshot.val_rows:,} held out, "
            f"{(snapshot.train_tokens or 0) + (snapshot.val_tokens or 0):,} tokens"
        )


def _run(persona: Persona, stage: str, settings: list[str]) -> None:
    started = launch.start(persona, stage, resolve(persona, stage, settings=settings))
    if training.follow(started) == 130:
        raise KeyboardInterrupt
    training.require_done(started)
