"""From lore files to a frozen snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from studio.errors import StudioError
from studio.files import sha256_file
from studio.lore.measuring import works_of
from studio.lore.parallel import aligned_passages
from studio.lore.passages import Block, Passage, blocks_of, weight
from studio.lore.repeats import LIKENESS, LONG, NEAR, largest_first
from studio.lore.sources import files
from studio.near import clusters
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.snapshots import VAL_SHARE, Snapshot, choose_val, freeze
from studio.text import normal


def build(persona: Persona, val_share: float = VAL_SHARE, seed: int = 17, progress: Progress = quiet) -> Snapshot:
    """Freeze the lore as it is now.

    A row is a run of consecutive passages of one file that lie on the same side: training sees the text whole but for the held-out
    passages. A paragraph that occurs twice is read once. Passages with nearly the same paragraph, and a passage's translations, stay on one
    side. Nothing is written before the last step; what ``progress`` raises ends the work without a trace.
    """
    texts = read_blocks(persona, progress)
    if not texts:
        raise StudioError(f"There is no lore in {persona.name} yet; add some with: studio lore add PATH.")
    works = works_of(persona, texts)
    aligned = aligned_passages(texts, works)
    found, repeated = _said_once(aligned.passages)
    kept = [i for i, passage in enumerate(found) if passage.text]
    place = {old: new for new, old in enumerate(kept)}
    chosen = [found[i] for i in kept]
    groups = [[place[i] for i in group if i in place] for group in aligned.groups]
    alike = _alike(chosen, progress)
    progress("split", 0, 1)
    val = choose_val(len(chosen), [*groups, *alike], lambda i: normal(chosen[i].text), val_share, seed)
    if not val:
        raise StudioError(
            f"The lore of {persona.name} is too small to split into train and val ({len(chosen)} passage of about 200 words); add more lore."
        )
    order = {(p.file, p.first): i for i, p in enumerate(found)}
    return freeze(
        persona,
        "lore",
        {f"lore/{name}": sha256_file(persona.lore / name) for name in texts},
        _rows([p for i, p in enumerate(chosen) if i not in val], order),
        _rows([p for i, p in enumerate(chosen) if i in val], order),
        lambda row: row["text"].split("\n\n"),
        seed,
        val_share,
        {
            "passages": len(chosen),
            "repeated paragraphs left out": repeated,
            "passages kept on one side with nearly the same one": sum(map(len, alike)),
            "passages kept on one side with their translations": sum(len(group) for group in groups if len(group) > 1),
            "translations that could not be set side by side (each work as a whole on one side)": len(aligned.loose),
        },
        progress,
    )


def read_blocks(persona: Persona, progress: Progress = quiet) -> dict[str, Sequence[Block]]:
    """The paragraphs of every lore file. StudioError naming file and line of a byte that is no UTF-8."""
    texts: dict[str, Sequence[Block]] = {}
    paths = files(persona)
    for number, path in enumerate(paths):
        progress("files cut into paragraphs", number, len(paths))
        try:
            texts[str(path.relative_to(persona.lore))] = blocks_of(path.read_bytes().decode("utf-8").replace("\r\n", "\n"))
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise StudioError(f"lore/{path.name}:{line}: broken UTF-8; mend it in an editor (studio lore check lists every such place).") from error
    return texts


def _said_once(passages: list[Passage]) -> tuple[list[Passage], int]:
    """Passages without the long paragraphs that stand in a larger file, or earlier in theirs; and how many these were."""
    sizes: Counter[str] = Counter()
    for passage in passages:
        sizes[passage.file] += len(passage.text)
    rank = {file: place for place, file in enumerate(largest_first(sizes))}
    seen: set[str] = set()
    found = list(passages)
    repeated = 0
    for index in sorted(range(len(passages)), key=lambda index: (rank[passages[index].file], index)):
        parts = passages[index].text.split("\n\n")
        kept = []
        for part in parts:
            if weight(part) >= LONG:
                key = normal(part)
                if key in seen:
                    repeated += 1
                    continue
                seen.add(key)
            kept.append(part)
        if len(kept) != len(parts):
            found[index] = passages[index]._replace(text="\n\n".join(kept))
    return found, repeated


PATTERN = 0.1
"""Share of all passages above which those that are nearly the same follow a pattern (tables, item descriptions) rather than repeat each other."""

SAME = 0.95
"""Likeness asked for within a pattern."""


def _alike(passages: list[Passage], progress: Progress) -> list[list[int]]:
    """Groups of passages that share nearly the same long paragraph."""
    texts: list[str] = []
    holders: list[int] = []
    for index, passage in enumerate(passages):
        for part in passage.text.split("\n\n"):
            if weight(part) >= NEAR:
                texts.append(part)
                holders.append(index)
    most = max(5, round(PATTERN * len(passages)))
    found: list[list[int]] = []
    for group in clusters(texts, LIKENESS, progress):
        if len({holders[i] for i in group}) <= most:
            found.append(group)
        else:
            found += [[group[i] for i in closer] for closer in clusters([texts[i] for i in group], SAME, progress)]
    held = [sorted({holders[i] for i in group}) for group in found]
    return [group for group in held if len(group) > 1]


def _rows(side: list[Passage], order: dict[tuple[str, int], int]) -> list[dict[str, Any]]:
    """Neighbouring passages of a file joined into one text each."""
    numbered = [(order[p.file, p.first] - n, p) for n, p in enumerate(side)]
    rows = []
    for (_, file), run in groupby(numbered, key=lambda pair: (pair[0], pair[1].file)):
        run_passages = [passage for _, passage in run]
        rows.append({"text": "\n\n".join(p.text for p in run_passages), "source": file, "line": run_passages[0].line})
    return rows
