"""``lore clean``: what would be changed in the lore as it is now, and the doing of it. Planned first, looked at, then done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from studio.errors import StudioError
from studio.lore.cleaning import STEPS, USUAL, run
from studio.lore.draft import Change, Cleaned, Draft
from studio.lore.passages import Block
from studio.lore.repeats import find
from studio.lore.sources import files, lore_file, replace
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.reports import Fault


class Plan(NamedTuple):
    """What cleaning would do to one file."""

    file: str
    before: bytes
    cleaned: Cleaned


def check_steps(steps: Collection[str]) -> list[str]:
    """The steps in their order; StudioError naming one that is none."""
    for step in steps:
        if step not in STEPS:
            raise StudioError(f"There is no cleaning step {step!r}; there are: {', '.join(STEPS)}.")
    return [step for step in STEPS if step in steps]


def plan(persona: Persona, steps: Collection[str] = USUAL, only: Sequence[str] = (), progress: Progress = quiet) -> list[Plan]:
    """What cleaning would change, file by file; nothing is written. ``only`` names the files (all are looked at for repetitions)."""
    wanted = check_steps(steps)
    chosen = {lore_file(persona, name) for name in only} or set(files(persona))
    drafts: dict[str, tuple[bytes, Draft]] = {}
    paths = files(persona)
    for number, path in enumerate(paths):
        progress("files looked through", number, len(paths))
        before = path.read_bytes()
        try:
            draft = Draft(before.decode("utf-8").replace("\r\n", "\n"))
        except UnicodeDecodeError:
            continue  # ``lore check`` names the place; a person has to mend it
        if path in chosen:
            run(draft, wanted)
        drafts[str(path.relative_to(persona.lore))] = (before, draft)
    if {"repeated", "duplicates", "near"} & set(wanted):
        _repeats(drafts, {str(path.relative_to(persona.lore)) for path in chosen}, wanted, progress)
    plans = []
    for name, (before, draft) in drafts.items():
        if draft.counts:
            plans.append(Plan(name, before, draft.done()))
    return plans


def _repeats(drafts: dict[str, tuple[bytes, Draft]], chosen: set[str], steps: Collection[str], progress: Progress) -> None:
    """Leave out of the drafts what stands elsewhere too."""
    spans = {name: draft.blocks() for name, (_, draft) in drafts.items()}
    texts = {
        name: [Block(draft.origin[first], "\n".join(draft.lines[first:end])) for first, end in spans[name]] for name, (_, draft) in drafts.items()
    }
    found = find(texts, "near" in steps, progress)
    why: dict[tuple[str, int], str] = {}
    for step, places in (("near", found.near), ("duplicates", found.exact), ("repeated", found.boilerplate)):
        if step in steps:
            why |= {(place.file, place.number): step for place in places}
    for (name, index), step in sorted(why.items(), reverse=True):
        if name in chosen:
            drafts[name][1].drop(*spans[name][index], step)


def apply(persona: Persona, plans: Sequence[Plan], progress: Progress = quiet) -> Counter[str]:
    """Do what was planned, file by file, each as a whole; what stood there goes to ``sources/``. Changes by step."""
    done: Counter[str] = Counter()
    with persona.exclusive():
        for number, each in enumerate(plans):
            progress("files cleaned", number, len(plans))
            replace(persona, each.file, each.before, each.cleaned)
            done.update(each.cleaned.counts)
    return done


def counts(plans: Sequence[Plan]) -> Counter[str]:
    """Changes by step over all files."""
    found: Counter[str] = Counter()
    for each in plans:
        found.update(each.cleaned.counts)
    return found


def faults(plan_: Plan, most: int = 1000) -> list[Fault]:
    """The changes as places to look at."""
    return [Fault(f"lore/{plan_.file}", change.line, told(change)) for change in plan_.cleaned.changes[:most]]


def told(change: Change, width: int = 60) -> str:
    """One change in a line: ``duplicates: ✗ The ferry of Orm …``."""
    before, after = (" ".join(text.split()) for text in (change.before, change.after))
    if not after:
        return f"{change.step}: ✗ {_short(before, width)}"
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    begin = max(0, start - 12)
    dots = "…" if begin else ""
    return f"{change.step}: {dots}{_short(before[begin:], width // 2)} → {dots}{_short(after[begin:], width // 2)}"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
