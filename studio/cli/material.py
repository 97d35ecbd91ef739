"""``studio new | personas | lore | dialogue``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from studio.cli import output
from studio.errors import StudioError
from studio.persona.folder import Persona, create, create_from_sample, open_persona
from studio.reports import AddReport, Fault
from studio.snapshots import Snapshot, all_snapshots, card_of, find_snapshot
from studio.text import count, one_line

FAULTS_SHOWN = 20
"""Faults printed at most; ``--json`` has them all."""


def new(arguments: Namespace) -> int:
    from studio.home import samples

    parent = Path(arguments.dir) if arguments.dir else Path.cwd()
    if arguments.sample:
        sample = samples() / arguments.sample
        if not (sample / "persona.toml").is_file():
            names = ", ".join(sorted(path.name for path in samples().iterdir() if path.is_dir()))
            raise StudioError(f"There is no sample {arguments.sample!r}; there are: {names}.")
        persona = create_from_sample(sample, parent, arguments.name)
    else:
        persona = create(arguments.name, arguments.base, Path(arguments.card) if arguments.card else None, parent)
    if arguments.json:
        output.json({"name": persona.name, "path": str(persona.root), "base": persona.manifest.base})
        return 0
    output.say(f"{persona.name} lives in {persona.root}, on the base {persona.manifest.base}.")
    output.say(f"Next: cd {persona.root} && studio lore add PATH, studio dialogue add PATH; or open it with: studio")
    return 0


def personas(arguments: Namespace) -> int:
    from studio.home import known_personas

    rows = []
    for root in known_personas():
        try:
            persona = open_persona(root)
        except StudioError as error:
            output.progress(str(error))
            continue
        rows.append({"name": persona.name, "path": str(root), "base": persona.manifest.base})
    if arguments.json:
        output.json(rows)
    elif rows:
        output.table(("persona", "base", "folder"), [(row["name"], row["base"], row["path"]) for row in rows])
    else:
        output.say("No persona on this machine yet; make one with: studio new NAME, or see one made with: studio demo")
    return 0


def report(added: AddReport, as_json: bool, noun: str) -> int:
    """Tell what adding did; the exit code."""
    if as_json:
        output.json(added.as_json())
    else:
        _faults(added.faults)
        for what, number in added.changed.items():
            output.say(f"{number:,} × {what}")
        for reason, number in added.dropped.items():
            output.say(f"{number:,} dropped: {reason}")
        if added.speakers:
            output.say("speakers: " + ", ".join(f"{one_line(name)} {number:,}" for name, number in added.speakers.most_common(12)))
        output.say(f"{count(added.kept, noun)} kept of {added.read:,} read" + (f" ({added.format})." if added.format else "."))
    return 0 if added.kept or set(added.dropped) <= {"already here", "duplicate"} else 1


def _faults(faults: list[Fault]) -> None:
    for fault in faults[:FAULTS_SHOWN]:
        output.say(str(fault))
    if len(faults) > FAULTS_SHOWN:
        output.say(f"… and {len(faults) - FAULTS_SHOWN:,} more (all of them with --json)")


def checked(faults: list[Fault], as_json: bool) -> None:
    if as_json:
        output.json(faults)
        return
    _faults(faults)
    output.say(f"{count(len(faults), 'fault')} found." if faults else "Nothing obvious is wrong.")


def facts(found: Mapping[str, Any], as_json: bool) -> None:
    """Counts by name, as ``stats`` tells them; what is counted by name itself stands below, the most first."""
    if as_json:
        output.json(found)
        return
    output.table(
        ("", ""), [(name.replace("_", " "), "not known" if value is None else value) for name, value in found.items() if not isinstance(value, dict)]
    )
    for name, parts in found.items():
        if isinstance(parts, dict) and parts:
            output.say()
            output.table((name, ""), parts.items())


def built(snapshot: Snapshot, as_json: bool) -> None:
    if as_json:
        output.json(snapshot)
        return
    tokens = "" if snapshot.train_tokens is None else f", {snapshot.train_tokens:,} + {snapshot.val_tokens:,} tokens"
    output.say(f"{snapshot.id}: {snapshot.train_rows:,} rows to train on, {snapshot.val_rows:,} held out{tokens}.")
    for what, number in snapshot.notes.items():
        if number:
            output.say(f"  {what}: {number:,}")


def dialogue(arguments: Namespace, persona: Persona) -> int | None:
    from studio.cli import browsing, checking, importing
    from studio.dialogue import build, checks, store

    match arguments.action:
        case "add":
            return importing.add(arguments, persona)
        case "formats":
            importing.formats(arguments.json)
        case "build":
            from studio.cli.ticker import Ticker
            from studio.dialogue.mixing import read_ratio

            ratios = dict(read_ratio(text) for text in arguments.ratio) or None
            with Ticker(arguments.json) as progress:
                told = build.build(persona, arguments.val, arguments.seed, arguments.split, ratios, progress)
            built(told, arguments.json)
            if not arguments.json:
                output.say(f"  its data card: studio snapshots {told.id}")
        case "check" | "clean" | "judge" | "nearest":
            checking.answer(arguments, persona)
        case "stats":
            facts(checks.stats(persona), arguments.json)
        case "show":
            row = store.get_row(persona, arguments.row)
            if arguments.json:
                output.json(row)
            else:
                output.say(f"{row.id}  {row.source}:{row.line}")
                for message in row.messages:
                    output.say(f"\n{message.role}: {message.content}")
        case "preview":
            _preview(arguments, persona)
        case "synth":
            browsing.synth(arguments, persona)
        case _:
            browsing.answer(arguments, persona)
    return None


def _preview(arguments: Namespace, persona: Persona) -> None:
    from studio.dialogue.preview import preview

    seen = preview(persona, arguments.row)
    if arguments.json:
        output.json(seen)
        return
    output.say("".join(f"⟦{text}⟧" if loss else text for text, loss in seen.spans))
    output.say(
        f"\n{seen.tokens:,} tokens, {seen.loss_tokens:,} of them (in ⟦⟧) are learned from; end of turn {seen.end_of_turn!r} "
        + ("is learned." if seen.end_learned else "is NOT learned: she would not stop.")
    )


def snapshots(arguments: Namespace, persona: Persona) -> None:
    if arguments.snapshot:
        _snapshot(find_snapshot(persona, arguments.snapshot), arguments.json, persona)
        return
    found = all_snapshots(persona)
    if arguments.json:
        output.json([msgspec.to_builtins(snapshot) for snapshot in found])
        return
    rows = [(s.id, _day(persona, s), s.train_rows, s.val_rows, s.train_tokens) for s in found]
    output.table(("snapshot", "built", "train", "val", "train tokens"), rows, "llrrr")


def _day(persona: Persona, snapshot: Snapshot) -> str:
    return datetime.fromtimestamp((persona.snapshots / snapshot.id).stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def _snapshot(snapshot: Snapshot, as_json: bool, persona: Persona) -> None:
    """One snapshot: its data card, or its figures where it has none."""
    card = card_of(persona, snapshot)
    if as_json or not card:
        built(snapshot, as_json)
    else:
        output.say(card.rstrip("\n"))
