"""Snapshots: frozen, content-hashed builds, split into train and val. What a run really read.

``snapshots/<kind>-<hash>/`` holds ``train.jsonl``, ``val.jsonl`` and ``snapshot.json``. Two builds of the same input are
byte-identical and therefore one snapshot. The split is by cluster: texts that share a passage or a turn stay on one side.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.errors import StudioError
from studio.files import build_folder, sha256_bytes
from studio.near import Groups
from studio.persona.folder import Persona
from studio.progress import Progress, quiet

VAL_SHARE = 0.1
COUNTED_AT_ONCE = 2000
"""Texts given to the tokenizer in one batch."""

MOST_VAL_ROWS = 200
"""Validation never grows past this many rows or passages: it is read many times a run."""


class Snapshot(msgspec.Struct):
    """``snapshot.json``."""

    id: str
    kind: str
    """``lore``, ``dialogue`` or ``preference``."""
    inputs: dict[str, str]
    """sha256 by file name, of what was read."""
    seed: int
    val_share: float
    train_rows: int
    val_rows: int
    train_characters: int
    val_characters: int
    train_tokens: int | None
    """By the base's own tokenizer, without template tokens; None if the base was not on the machine."""
    val_tokens: int | None
    tokenizer: str = ""
    """sha256 of the tokenizer that counted."""
    notes: dict[str, int] = {}
    """What was left out or joined, by reason."""
    card: dict[str, Any] = {}
    """What the rows are, counted: of which sources and languages, how many synthetic (``card.md`` says it in words)."""


def clusters(size: int, groups: Iterable[list[int]]) -> list[list[int]]:
    """``range(size)`` in clusters such that every group lies within one."""
    found = Groups(size)
    for group in groups:
        for other in group[1:]:
            found.join(other, group[0])
    return found.lists()


def choose_val(size: int, groups: Iterable[list[int]], key: Callable[[int], str], share: float, seed: int) -> set[int]:
    """Indexes of the validation rows: whole clusters in an order given by a seeded hash, until ``share`` is reached.

    The order depends on the text and not on its place, so that adding rows moves few of the others. At least one cluster is taken;
    a cluster much larger than the share stays in train. Empty if there is only one cluster.
    """
    found = clusters(size, groups)
    if len(found) < 2:
        return set()
    wanted = max(1, min(round(size * share), MOST_VAL_ROWS))
    ordered = sorted(found, key=lambda cluster: sha256(f"{seed}:{min(key(i) for i in cluster)}".encode()).digest())
    chosen: set[int] = set()
    for cluster in ordered:
        if len(chosen) + len(cluster) <= wanted * 1.2 + 0.5:
            chosen.update(cluster)
        if len(chosen) >= wanted:
            break
    return chosen or set(sorted(ordered, key=len)[0])


def identity(kind: str, train: bytes, val: bytes) -> str:
    """What a snapshot of these rows is named by."""
    return sha256_bytes(b"\0".join((kind.encode(), train, val)))[:12]


def freeze(
    persona: Persona,
    kind: str,
    inputs: dict[str, str],
    train: Collection[dict[str, Any]],
    val: Collection[dict[str, Any]],
    texts: Callable[[dict[str, Any]], list[str]],
    seed: int,
    val_share: float,
    notes: dict[str, int],
    progress: Progress = quiet,
    card: tuple[dict[str, Any], Callable[[Snapshot], str]] | None = None,
) -> Snapshot:
    """Write a snapshot folder, or find that this very one exists. ``texts`` gives the texts of a row, for counting.

    The rows are taken one after the other and never held together, so ``train`` and ``val`` may be read from disk as they are asked for.
    ``card``: what the rows are, and how to say it in Markdown.
    """
    base = locate_base(persona.manifest.base)
    tokenizer = load_tokenizer(base) if base else None
    persona.snapshots.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".freezing-", dir=persona.snapshots))
    try:
        digest = sha256(kind.encode())  # ``identity``, without holding both sides
        done = 0

        def side(name: str, rows: Collection[dict[str, Any]]) -> tuple[int, int | None]:
            """Characters and tokens of one side, which is written on the way."""
            nonlocal done
            characters = tokens = 0
            waiting: list[str] = []
            digest.update(b"\0")
            with (scratch / f"{name}.jsonl").open("wb") as file:
                for row in rows:
                    line = msgspec.json.encode(row) + b"\n"
                    file.write(line)
                    digest.update(line)
                    waiting += texts(row)
                    done += 1
                    if len(waiting) >= COUNTED_AT_ONCE:
                        progress("rows frozen", done, len(train) + len(val))
                        characters, tokens = characters + sum(map(len, waiting)), tokens + (count_tokens(tokenizer, waiting) if tokenizer else 0)
                        waiting.clear()
            characters, tokens = characters + sum(map(len, waiting)), tokens + (count_tokens(tokenizer, waiting) if tokenizer else 0)
            return characters, tokens if tokenizer else None

        (train_characters, train_tokens), (val_characters, val_tokens) = side("train", train), side("val", val)
        folder = persona.snapshots / f"{kind}-{digest.hexdigest()[:12]}"
        snapshot = Snapshot(
            id=folder.name,
            kind=kind,
            inputs=inputs,
            seed=seed,
            val_share=val_share,
            train_rows=len(train),
            val_rows=len(val),
            train_characters=train_characters,
            val_characters=val_characters,
            train_tokens=train_tokens,
            val_tokens=val_tokens,
            tokenizer=sha256_bytes((base / "tokenizer.json").read_bytes()) if base else "",
            notes=notes,
            card=card[0] if card else {},
        )
        with persona.exclusive():
            if not folder.exists():
                with build_folder(folder) as building:
                    for name in ("train", "val"):
                        os.replace(scratch / f"{name}.jsonl", building / f"{name}.jsonl")
                    (building / "snapshot.json").write_bytes(msgspec.json.format(msgspec.json.encode(snapshot), indent=2) + b"\n")
                    if card:
                        (building / "card.md").write_text(card[1](snapshot), encoding="utf-8")
            # The newest build of a kind is what a run takes unless told otherwise; an old one built again is the newest again.
            folder.touch()
        return snapshot
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def count_tokens(tokenizer: Any, texts: Sequence[str], progress: Progress = quiet) -> int:
    """Tokens of all texts together, counted batch by batch: the tokenizer's own records of a token take a hundred bytes."""
    counted = 0
    for start in range(0, len(texts), COUNTED_AT_ONCE):
        progress("texts counted in tokens", start, len(texts))
        counted += sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts[start : start + COUNTED_AT_ONCE], add_special_tokens=False))
    return counted


def all_snapshots(persona: Persona, kind: str = "") -> list[Snapshot]:
    """Whole snapshots, the newest last."""
    folders = [p for p in persona.snapshots.glob(f"{kind or '*'}-*") if (p / "snapshot.json").is_file() and not p.name.startswith(".")]
    return [read_snapshot(path) for path in sorted(folders, key=lambda path: path.stat().st_mtime_ns)]


def read_snapshot(folder: Path) -> Snapshot:
    try:
        return msgspec.json.decode((folder / "snapshot.json").read_bytes(), type=Snapshot)
    except (OSError, msgspec.DecodeError) as error:
        raise StudioError(f"The snapshot {folder} cannot be read ({error}); build it again.") from error


def find_snapshot(persona: Persona, name: str) -> Snapshot:
    """The snapshot of this id, or the only one whose id begins so (its kind may be left out). StudioError if it is none or several."""
    found = all_snapshots(persona)
    meant = [one for one in found if one.id == name] or [one for one in found if one.id.startswith(name) or one.id.partition("-")[2].startswith(name)]
    if len(meant) != 1:
        which = "several snapshots" if meant else "no snapshot"
        raise StudioError(f"There {'are' if meant else 'is'} {which} {name!r} in {persona.name}; see them with: studio snapshots.")
    return meant[0]


def card_of(persona: Persona, snapshot: Snapshot) -> str:
    """The data card in Markdown; empty for a snapshot that has none (lore, preference, and what was built before cards were written)."""
    try:
        return (persona.snapshots / snapshot.id / "card.md").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StudioError(f"The data card of {snapshot.id} cannot be read ({error.strerror}); check its permissions.") from error


def latest_snapshot(persona: Persona, kind: str) -> Snapshot:
    found = all_snapshots(persona, kind)
    if not found:
        raise StudioError(f"There is no {kind} snapshot in {persona.name} yet; build one with: studio {kind} build.")
    return found[-1]
