"""``studio lore …``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from studio.cli import output
from studio.cli.ticker import Ticker
from studio.text import clean as cleaned
from studio.text import count, one_line

if TYPE_CHECKING:
    from studio.lore.measuring import Lore
    from studio.lore.mending import Plan
    from studio.persona.folder import Persona

SHOWN = 5
"""Changes of one kind shown in a dry run; ``--json`` has them all."""


def parsers(command: Callable[..., ArgumentParser], lore: Any, split: Callable[[ArgumentParser], None]) -> None:
    """What can be said after ``studio lore``."""
    add = command("add", "Add books, pages, subtitles, scripts, wikis, lorebooks and cards: files, folders, zip files.", lore)
    add.add_argument("paths", nargs="+", metavar="PATH")
    add.add_argument("--as-is", action="store_true", help="mend nothing that reading the format does not: no unwrapping, no frames cut")
    add.add_argument("--probes", action="store_true", help="append the cloze questions that lorebook entries make to the persona's probes")
    for name, help_ in (
        ("list", "The files."),
        ("stats", "Languages, tokens, repetitions and junk by file; coverage by language."),
        ("check", "What is obviously wrong, with file and line."),
    ):
        command(name, help_, lore)
    clean = command("clean", "Show what cleaning would change; with --apply, do it. What stood there is kept in sources/.", lore)
    clean.add_argument("files", nargs="*", metavar="FILE", help="lore files (default: all)")
    clean.add_argument("--apply", action="store_true", help="do it")
    clean.add_argument("--only", default="", metavar="STEP,…", help="these steps and no others")
    clean.add_argument("--also", default="", metavar="STEP,…", help="the usual steps and these: links, near")
    clean.add_argument("--without", default="", metavar="STEP,…", help="the usual steps but these")
    changes = command("changes", "What was changed in a file since it came, before and after.", lore)
    changes.add_argument("file", metavar="FILE")
    drop = command("drop", "Take files out of the lore; what they held stays in sources/.", lore)
    drop.add_argument("files", nargs="+", metavar="FILE")
    parallel = command("parallel", "Say that files are translations of each other; without files: which are known to be.", lore)
    parallel.add_argument("files", nargs="*", metavar="FILE")
    parallel.add_argument("--apart", action="store_true", help="say that they are not")
    split(command("build", "Freeze a snapshot, split into train and val.", lore))


def lore(arguments: Namespace, persona: Persona) -> int | None:
    try:
        return _answer(arguments, persona)
    except KeyboardInterrupt:
        done = "files that were finished are whole, the rest is as it was" if arguments.action in ("add", "clean") else "nothing was changed"
        output.progress(f"studio: stopped; {done}.")
        return 130


def _answer(arguments: Namespace, persona: Persona) -> int | None:
    from studio.cli.material import built, checked, report

    with Ticker() as ticker:
        match arguments.action:
            case "add":
                from studio.lore.sources import add

                added = add(persona, [Path(path) for path in arguments.paths], ticker, arguments.as_is, arguments.probes)
                ticker.__exit__()
                return report(added, arguments.json, "file")
            case "build":
                from studio.lore.build import build

                snapshot = build(persona, arguments.val, arguments.seed, ticker)
                ticker.__exit__()
                built(snapshot, arguments.json)
            case "check":
                from studio.lore.checking import check

                faults = check(persona, ticker)
                ticker.__exit__()
                checked(faults, arguments.json)
            case "clean":
                _clean(arguments, persona, ticker)
            case "changes":
                _changes(arguments, persona)
            case "drop":
                from studio.lore.sources import drop

                kept = drop(persona, arguments.files)
                if arguments.json:
                    output.json(dict(zip(arguments.files, kept, strict=True)))
                else:
                    for name, original in zip(arguments.files, kept, strict=True):
                        output.say(f"{name} is out of the lore; it is kept as {persona.sources.name}/{original}.")
            case "parallel":
                _parallel(arguments, persona, ticker)
            case _:
                from studio.lore.measuring import measure

                measured = measure(persona, ticker)
                ticker.__exit__()
                (_stats if arguments.action == "stats" else _list)(measured, persona, arguments.json)
    return None


def percent(share: float) -> str:
    """``0``, ``<1``, ``12``: a share in whole percents, never zero where there is something."""
    return "0 %" if not share else "<1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def languages(shares: dict[str, float]) -> str:
    """``en``, or ``en 80 % zh 20 %``."""
    if len(shares) < 2:
        return next(iter(shares), "?")
    return " ".join(f"{code} {percent(share)}" for code, share in shares.items())


def _list(found: Lore, persona: Persona, as_json: bool) -> None:
    if as_json:
        output.json([msgspec.to_builtins(row) for row in found.files])
        return
    headers = ("file", "language", "tokens", "characters", "repeated", "junk", "mended", "format")
    output.table(
        headers,
        [
            (r.file, languages(r.languages), r.tokens, r.characters, r.duplicates, percent(r.junk), r.changed, r.format or "by hand")
            for r in found.files
        ],
        "llrrrrrl",
    )
    total = sum(row.tokens or 0 for row in found.files)
    words = sum(row.words for row in found.files)
    output.say(f"{count(len(found.files), 'file')}, {words:,} words" + (f", {total:,} tokens of {persona.manifest.base}." if total else "."))


def _stats(found: Lore, persona: Persona, as_json: bool) -> None:
    if as_json:
        output.json(msgspec.to_builtins(found))
        return
    _list(found, persona, False)
    if not found.files:
        return
    output.say(f"\nCoverage by language ({found.unit}):")
    codes = list(found.languages)
    rows = []
    for work in found.works:
        cells = [work[found.unit].get(code) for code in codes]
        rows.append(
            (work["work"], *(cell if cell is not None else "–" for cell in cells), work["how"] and f"translations known by {KNOWN[work['how']]}")
        )
    whole = sum(found.languages.values())
    rows.append(("all", *found.languages.values(), ""))
    rows.append(("share", *(percent(number / max(1, whole)) for number in found.languages.values()), ""))
    output.table(("work", *(code or "?" for code in codes), ""), rows, "l" + "r" * len(codes) + "l")


KNOWN = {"name": "their names", "declared": "declaration", "recognised": "numbers and lengths"}


def _clean(arguments: Namespace, persona: Persona, ticker: Ticker) -> None:
    from studio.lore.cleaning import STEPS, USUAL
    from studio.lore.mending import apply, check_steps, counts, faults, plan

    only, also, without = ([step.strip() for step in text.split(",") if step.strip()] for text in (arguments.only, arguments.also, arguments.without))
    check_steps([*only, *also, *without])
    steps = [step for step in (only or [*USUAL, *also]) if step not in without]
    plans = plan(persona, steps, arguments.files, ticker)
    if arguments.apply:
        done = apply(persona, plans, ticker)
        ticker.__exit__()
        if arguments.json:
            output.json({"applied": True, "files": [each.file for each in plans], "changed": dict(done)})
            return
        for step, number in done.most_common():
            output.say(f"{number:,} × {STEPS[step]}")
        output.say(f"{count(len(plans), 'file')} cleaned; what stood there is kept in sources/." if plans else "Nothing to clean.")
        return
    ticker.__exit__()
    if arguments.json:
        output.json(
            {
                "applied": False,
                "changed": dict(counts(plans)),
                "files": [
                    {"file": each.file, "changed": dict(each.cleaned.counts), "changes": msgspec.to_builtins(each.cleaned.changes)} for each in plans
                ],
            }
        )
        return
    _dry(plans)
    if not plans:
        output.say("Nothing to clean.")
        return
    for step, number in counts(plans).most_common():
        output.say(f"{number:,} × {STEPS[step]}")
    places = sum(len(faults(each)) for each in plans)
    output.say(f"{count(places, 'place')} in {count(len(plans), 'file')}; nothing was changed. Do it with: studio lore clean --apply")


def _dry(plans: Sequence[Plan]) -> None:
    from studio.lore.mending import told

    for each in plans:
        shown: dict[str, int] = {}
        for change in each.cleaned.changes:
            shown[change.step] = shown.get(change.step, 0) + 1
            if shown[change.step] <= SHOWN:
                output.say(f"lore/{each.file}:{change.line}: {told(change)}")
        for step, number in shown.items():
            if number > SHOWN:
                output.say(f"lore/{each.file}: {step}: … and {number - SHOWN:,} more (all of them with --json)")


def _changes(arguments: Namespace, persona: Persona) -> None:
    from studio.lore.sources import changes_of, histories, lore_file

    name = str(lore_file(persona, arguments.file).relative_to(persona.lore))
    changes = changes_of(persona, name)
    history = histories(persona).get(name, [])
    if arguments.json:
        output.json({"file": name, "history": [msgspec.to_builtins(row) for row in history], "changes": msgspec.to_builtins(changes)})
        return
    for row in history:
        what = "; ".join(f"{number:,} × {why}" for why, number in row.changed.items()) or "nothing changed"
        output.say(f"{'came from ' + one_line(row.from_) if row.kind == 'lore' else 'cleaned'}: {what} (as it was: sources/{row.original})")
    for change in changes:
        output.say(f"\nlore/{name}:{change.at}: {change.step}")
        for line in change.before.split("\n"):
            output.say(f"  - {cleaned(line)}")
        for line in change.after.split("\n") if change.after else []:
            output.say(f"  + {cleaned(line)}")
    if not history:
        output.say(f"lore/{name} was put there by hand; nothing was changed in it.")


def _parallel(arguments: Namespace, persona: Persona, ticker: Ticker) -> None:
    from studio.lore.build import read_blocks
    from studio.lore.measuring import works_of
    from studio.lore.parallel import align, declare

    if arguments.files:
        declare(persona, arguments.files, arguments.apart)
    texts = read_blocks(persona, ticker)
    rows = []
    for work in works_of(persona, texts):
        members = list(work.files.values())
        for member in members[1:]:
            cuts = align(texts[members[0]], texts[member])
            rows.append({"a": members[0], "b": member, "known by": KNOWN.get(work.how, ""), "places to cut": len(cuts) if cuts else 0})
    ticker.__exit__()
    if arguments.json:
        output.json(rows)
        return
    if not rows:
        output.say("No translations are known. Name files like tale.en.md and tale.zh.md, or say it: studio lore parallel FILE FILE")
        return
    output.table(
        ("file", "translation", "known by", "set side by side"),
        [(r["a"], r["b"], r["known by"], f"at {r['places to cut']:,} places" if r["places to cut"] else "no: one side of the split") for r in rows],
    )
