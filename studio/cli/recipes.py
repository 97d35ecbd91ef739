"""``studio recipe``: every value of a recipe in plain words, and what suits which card."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from studio import forecast, planning
from studio.checkpoints.base import require_base
from studio.cli import output
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from studio.recipes.files import allowed, explained, resolve
from studio.recipes.schema import Cpt, Preference, Sft
from studio.text import size


def recipe(arguments: Namespace, persona: Persona) -> None:
    if arguments.action == "presets":
        _presets(arguments, persona)
        return
    chosen = resolve(persona, arguments.stage)
    rows = [(key, value, allowed(chosen, key), words) for key, value, words in explained(chosen)]
    if arguments.json:
        output.json({"stage": arguments.stage, "values": [dict(zip(("key", "value", "allowed", "words"), row, strict=True)) for row in rows]})
        return
    shown = [(key, str(value).lower() if isinstance(value, bool) else value, may, words) for key, value, may, words in rows]
    output.table(("key", "value", "allowed", "what it does"), shown)


def trainable(persona: Persona, stage: str) -> Cpt | Sft | Preference:
    found = resolve(persona, stage)
    if not isinstance(found, Cpt | Sft | Preference):
        raise UsageError(f"There are presets for cpt, sft, dpo and orpo, not for {stage}.")
    return found


def settings_of(preset: planning.Preset) -> list[str]:
    """The preset as ``key=value``."""
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in preset.settings.items()]


def for_card(persona: Persona, stage: str, card: int) -> list[str]:
    """``key=value`` of the preset for a card of ``card`` GB; StudioError if nothing fits."""
    made = planning.preset(trainable(persona, stage), planning.shape_of(require_base(persona.manifest.base)), card)
    if not made.fits:
        raise StudioError(
            f"{stage} of {persona.manifest.base} does not fit on {card} GB even with {', '.join(settings_of(made))}; take a smaller base."
        )
    return settings_of(made)


def _presets(arguments: Namespace, persona: Persona) -> None:
    chosen, shape = trainable(persona, arguments.stage), planning.shape_of(require_base(persona.manifest.base))
    made = [planning.preset(chosen, shape, card) for card in planning.CARDS]
    if arguments.json:
        output.json(made)
        return
    output.say(
        f"{arguments.stage} of {persona.manifest.base}, {shape.parameters:,} parameters; take one with: studio train {arguments.stage} --card GB"
    )
    rows: list[tuple[Any, ...]] = [
        (f"{each.card} GB", size(each.bytes), ", ".join(settings_of(each)) or "as it is" if each.fits else "does not fit") for each in made
    ]
    output.table(("card", "needs about", "settings"), rows, "rr")
    there, whose = forecast.memory_there()
    if there:
        output.say(f"{whose} has {size(there)}.")
