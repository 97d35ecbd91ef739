"""What the dialogue is like, and what in it would teach something wrong: named checks, each with a threshold that can be moved."""

from __future__ import annotations

from studio.dialogue.checks.base import Check, Context, Settings, load_settings, read_change, save_settings
from studio.dialogue.checks.figures import stats
from studio.dialogue.checks.litter import PLACEHOLDER
from studio.dialogue.checks.running import CHECKS, Finding, Offender, Outcome, faults, run
from studio.persona.folder import Persona
from studio.reports import Fault

__all__ = [
    "CHECKS",
    "PLACEHOLDER",
    "Check",
    "Context",
    "Finding",
    "Offender",
    "Outcome",
    "Settings",
    "check",
    "faults",
    "load_settings",
    "read_change",
    "run",
    "save_settings",
    "stats",
]


def check(persona: Persona) -> list[Fault]:
    """Rows that would teach something wrong, each with the file and line it came from. The flags are kept as well."""
    return faults(run(persona))
