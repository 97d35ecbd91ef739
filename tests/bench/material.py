"""What becomes of material: every importer on its fixtures, what the searches find of what was planted, and a walk from files to snapshots.

    python -m tests.bench.material [LORE DIALOGUE] > docs/material.md

Everything is counted in this run. The walk goes through the two paths named, by the commands that a person would type.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from studio import near
from studio.cli.main import main as run
from studio.dialogue.adding import add
from studio.dialogue.importers.base import Asked
from studio.persona.folder import create
from studio.snapshots import all_snapshots
from tests.dialogue.checks import test_privacy as privacy
from tests.dialogue.importers.conftest import FIXTURES
from tests.dialogue.importers.test_formats import CASES
from tests.test_near import jaccard, planted


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print("|", " | ".join(head), "|")
    print("|", " | ".join("---" for _ in head), "|")
    for row in rows:
        print("|", " | ".join(str(cell).replace("|", "\\|") for cell in row), "|")
    print()


def importers(place: Path) -> Iterable[Sequence[object]]:
    for number, case in enumerate(CASES):
        persona = create("Mira", parent=place / str(number))
        persona.manifest.character.user = "Tom"
        asked = Asked(character=(case.character,) if case.character else (), dates=case.dates)
        report = add(persona, [FIXTURES / case.file], asked)
        dropped = ", ".join(f"{reason} {count}" for reason, count in report.dropped.items())
        yield case.file, report.format, report.read, report.used, report.kept, report.pairs or "", dropped


def copies() -> Iterable[Sequence[object]]:
    for han in (False, True):
        for threshold in (0.5, 0.7, 0.85):
            texts, made = planted(1600, 11, han)
            wanted = {pair for pair in made if jaccard(texts[pair[0]], texts[pair[1]]) >= threshold}
            found = {(i, j) for i, j, _ in near.pairs(texts, threshold)}
            right = sum(jaccard(texts[i], texts[j]) >= threshold for i, j in found)
            yield (
                "Han" if han else "Latin",
                threshold,
                len(wanted),
                f"{len(wanted & found) / len(wanted):.1%}",
                len(found),
                f"{right / len(found):.1%}",
            )


def personal() -> Iterable[Sequence[object]]:
    looking = privacy.finder()
    wrong = [one.kind for text in privacy.FINE for one in looking.find(text)]
    for kind, values in privacy.planted().items():
        texts = [f"{privacy.SAID[at % len(privacy.SAID)]} So, {value}, if you must." for at, value in enumerate(values)]
        found = sum(any(one.kind == kind for one in looking.find(text)) for text in texts)
        false = wrong.count(kind) + sum(one.kind != kind for text in texts for one in looking.find(text))
        yield kind, len(values), f"{found / len(values):.1%}", false


STEPS = (
    "lore add {lore}",
    "lore list",
    "lore check",
    "lore changes {text}",
    "lore build",
    "dialogue add {dialogue}",
    "dialogue check",
    "dialogue clean --reject broken-off,language --apply",
    "dialogue build",
    "snapshots {snapshot}",
)
LONGEST, WIDEST = 24, 150
"""Lines of an answer that are shown, and characters of a line."""


def walk(place: Path, lore: Path, dialogue: Path) -> None:
    """The commands and what they answer."""
    persona = create("Holmes", parent=place)
    names = {"lore": lore, "dialogue": dialogue}
    for step in STEPS:
        if "{snapshot}" in step:
            names["snapshot"] = Path(all_snapshots(persona)[-1].id)
        if "{text}" in step:
            names["text"] = Path(next(path.name for path in persona.lore.iterdir() if path.is_file()))
        answer = io.StringIO()
        with redirect_stdout(answer):
            run(["-p", str(persona.root), *(part.format(**names) for part in step.split())])
        shown = {name: path.name for name, path in names.items()}
        lines = answer.getvalue().replace(str(lore.parent) + "/", "").replace(str(dialogue.parent) + "/", "").rstrip().split("\n")
        more = [f"… {len(lines) - LONGEST:,} lines more"] if len(lines) > LONGEST + 1 else []
        print(
            "```text",
            f"$ studio {step.format(**shown)}",
            *(line[:WIDEST] for line in lines[: LONGEST if more else None]),
            *more,
            "```",
            sep="\n",
            end="\n\n",
        )


def main() -> None:
    print("# What becomes of material\n\nWritten by `python -m tests.bench.material`; its tables are the same on every machine.\n")
    print("## Importers on their fixtures\n")
    print("Every record read is in a kept row or dropped under a reason: *read = in rows + dropped*.\n")
    with tempfile.TemporaryDirectory() as place:
        table(("file or folder", "taken for", "read", "in rows", "rows", "pairs", "dropped, by reason"), importers(Path(place)))
    print("## Near duplicates\n")
    print("1,600 texts, and copies of half of them with up to an eighth of their words changed; the truth is the exact Jaccard index.\n")
    table(("script", "likeness", "planted", "recall", "found", "precision"), copies())
    print("## Personal data\n")
    print(f"Planted in sentences, and {len(privacy.FINE)} texts full of numbers, versions and reserved examples that are nobody's.\n")
    table(("kind", "planted", "recall", "false alarms"), personal())
    if len(sys.argv) > 2:
        print("## From files to snapshots\n")
        with tempfile.TemporaryDirectory() as place:
            walk(Path(place), *map(Path, sys.argv[1:3]))
        print("The same by keyboard, in pictures: [walk.md](walk.md).")


if __name__ == "__main__":
    main()
