"""From lore files to a frozen snapshot."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from studio.errors import StudioError
from studio.files import sha256_file
from studio.lore.passages import Passage, aligned_passages
from studio.lore.sources import files
from studio.persona.folder import Persona
from studio.snapshots import VAL_SHARE, Snapshot, choose_val, freeze
from studio.text import normal


def build(persona: Persona, val_share: float = VAL_SHARE, seed: int = 17) -> Snapshot:
    """Freeze the lore as it is now.

    A row is a run of consecutive passages of one file that lie on the same side: training sees the text whole but for the held-out
    passages. A passage that occurs twice is read once.
    """
    paths = files(persona)
    if not paths:
        raise StudioError(f"There is no lore in {persona.name} yet; add some with: studio lore add PATH.")
    texts = {}
    for path in paths:
        try:
            texts[str(path.relative_to(persona.lore))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise StudioError(f"lore/{path.name}:{line}: broken UTF-8; mend it in an editor (studio lore check lists every such place).") from error
    found, groups = aligned_passages(texts)
    unique: dict[str, int] = {}
    for index, passage in enumerate(found):
        unique.setdefault(normal(passage.text), index)
    kept = sorted(unique.values())
    place = {old: new for new, old in enumerate(kept)}
    moved = [[place[unique[normal(found[i].text)]] for i in group] for group in groups]
    chosen = [found[i] for i in kept]
    val = choose_val(len(chosen), moved, lambda i: normal(chosen[i].text), val_share, seed)
    if not val:
        raise StudioError(
            f"The lore of {persona.name} is too small to split into train and val ({len(chosen)} passage of about 200 words); add more lore."
        )
    return freeze(
        persona,
        "lore",
        {f"lore/{name}": sha256_file(persona.lore / name) for name in texts},
        _rows([p for i, p in enumerate(chosen) if i not in val], found),
        _rows([p for i, p in enumerate(chosen) if i in val], found),
        lambda row: row["text"].split("\n\n"),
        seed,
        val_share,
        {"passages": len(found), "repeated passages left out": len(found) - len(chosen)},
    )


def _rows(side: list[Passage], everything: list[Passage]) -> list[dict[str, Any]]:
    """Neighbouring passages of a file joined into one text each."""
    order = {(p.file, p.first): i for i, p in enumerate(everything)}
    numbered = [(order[p.file, p.first] - n, p) for n, p in enumerate(side)]
    rows = []
    for (_, file), run in groupby(numbered, key=lambda pair: (pair[0], pair[1].file)):
        run_passages = [passage for _, passage in run]
        rows.append({"text": "\n\n".join(p.text for p in run_passages), "source": file, "line": run_passages[0].line})
    return rows
