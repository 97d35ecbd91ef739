"""What is in the lore: languages, characters, tokens, repetitions and junk by file; coverage by language.

A file is measured once: its figures are kept in ``.studio/lore-facts.json`` under its size and time, and measured again when these change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.errors import StudioError
from studio.files import write_atomic
from studio.lore.languages import languages_of
from studio.lore.litter import LINK, is_symbols
from studio.lore.names import CODES
from studio.lore.parallel import Family, Traits, anchors, declared, families, traits_of
from studio.lore.passages import Block, blocks_of, weight
from studio.lore.repeats import LONG, largest_first
from studio.lore.sources import files, histories, read_text
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.snapshots import count_tokens
from studio.text import normal

VERSION = 2
"""Of the figures kept; older ones are measured again."""


class Facts(msgspec.Struct):
    """What is kept of one file."""

    characters: int
    words: int
    paragraphs: int
    tokens: int | None
    languages: dict[str, float]
    """Share of the characters by language, the largest first; ``""`` is not among them."""
    junk: dict[str, int]
    """Characters of paragraphs that teach nothing, by why: ``symbols``, ``links``, ``lost`` characters, ``boilerplate``."""
    keys: bytes
    """8 bytes for each long paragraph: what it is recognised by in other files."""
    weights: list[int]
    """Characters of each of these."""
    traits: Traits
    """What translations are recognised by."""


class _Kept(msgspec.Struct):
    version: int
    tokenizer: str
    files: dict[str, tuple[int, int, Facts]]
    """Size, time in nanoseconds, figures."""


class Measured(msgspec.Struct):
    """One file, as it is shown."""

    file: str
    characters: int
    words: int
    paragraphs: int
    tokens: int | None
    language: str
    """The one that most of it is in; empty where that cannot be told."""
    languages: dict[str, float]
    duplicates: int
    """Long paragraphs that stand earlier in the lore, too."""
    junk: float
    """Share of the characters in paragraphs that teach nothing or stand earlier, 0 to 1."""
    junk_by: dict[str, int]
    """The same in characters, by why."""
    changed: int = 0
    """Places that were mended since it came."""
    format: str = ""
    source: str = ""
    """Where it came from."""


class Lore(msgspec.Struct):
    """All of it."""

    files: list[Measured]
    works: list[dict[str, Any]]
    """One for each work: its name, its file and tokens (characters without a tokenizer) by language, how translations are known."""
    languages: dict[str, int]
    """Tokens (else characters) by language over all works, the largest first."""
    unit: str
    """``tokens`` or ``characters``."""


def measure(persona: Persona, progress: Progress = quiet) -> Lore:
    """The figures of every file; only what changed is read."""
    facts = _facts(persona, progress)
    seen: set[bytes] = set()
    past = histories(persona)
    found: dict[str, Measured] = {}
    for name in largest_first({name: known.characters for name, known in facts.items()}):
        known = facts[name]
        keys = [known.keys[i : i + 8] for i in range(0, len(known.keys), 8)]
        again = []
        for key in keys:
            again.append(key in seen)
            seen.add(key)
        junk = dict(known.junk)
        if repeated := sum(size for size, twice in zip(known.weights, again, strict=True) if twice):
            junk["duplicates"] = repeated
        history = past.get(name, [])
        found[name] = Measured(
            name,
            known.characters,
            known.words,
            known.paragraphs,
            known.tokens,
            next(iter(known.languages), ""),
            known.languages,
            sum(again),
            min(1.0, sum(junk.values()) / max(1, known.characters)),
            junk,
            sum(sum(row.changed.values()) for row in history),
            history[0].format if history else "",
            history[0].from_ if history else "",
        )
    return _with_works(persona, [found[name] for name in facts], facts)


def _facts(persona: Persona, progress: Progress) -> dict[str, Facts]:
    base = locate_base(persona.manifest.base)
    identity = f"{base}:{(base / 'tokenizer.json').stat().st_mtime_ns}" if base and (base / "tokenizer.json").is_file() else ""
    store = persona.private / "lore-facts.json"
    kept = _read(store)
    if kept is None or kept.version != VERSION or kept.tokenizer != identity:
        kept = _Kept(VERSION, identity, {})
    tokenizer: Any = None
    facts: dict[str, Facts] = {}
    stored: dict[str, tuple[int, int, Facts]] = {}
    paths = files(persona)
    sizes = [path.stat() for path in paths]
    whole = sum(stat.st_size for stat in sizes)
    done = 0
    for path, stat in zip(paths, sizes, strict=True):
        progress("measured", done, whole)
        done += stat.st_size
        name = str(path.relative_to(persona.lore))
        old = kept.files.get(name)
        if old and old[:2] == (stat.st_size, stat.st_mtime_ns):
            facts[name] = old[2]
        else:
            if tokenizer is None and identity and base:
                tokenizer = load_tokenizer(base)
            text = read_text(path)
            facts[name] = _measured(text, blocks_of(text), tokenizer)
        stored[name] = (stat.st_size, stat.st_mtime_ns, facts[name])
    if stored != kept.files or not store.is_file():
        try:
            write_atomic(store, msgspec.json.encode(_Kept(VERSION, identity, stored)))
        except StudioError:
            pass  # figures are only kept to be quick; a folder that cannot be written is measured each time
    return facts


def _read(store: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(store.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None


def _measured(text: str, blocks: Sequence[Block], tokenizer: Any) -> Facts:
    junk: Counter[str] = Counter()
    keys = []
    weights = []
    told: list[str] = []
    for block in blocks:
        if why := junk_of(block.text):
            junk[why] += len(block.text)
            continue
        told.append(block.text)
        if weight(block.text) >= LONG:
            keys.append(key_of(block.text))
            weights.append(len(block.text))
    texts = [block.text for block in blocks]
    return Facts(
        len(text),
        sum(len(part.split()) for part in texts),
        len(blocks),
        count_tokens(tokenizer, texts) if tokenizer else None,
        languages_of(told),
        dict(junk),
        b"".join(keys),
        weights,
        Traits(anchors(blocks), sum(map(weight, texts)), len(blocks)),
    )


def key_of(text: str) -> bytes:
    return blake2b(normal(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def junk_of(text: str) -> str:
    """Why a paragraph teaches nothing: ``lost``, ``symbols``, ``links``; empty if it is not junk."""
    if "\ufffd" in text:
        return "lost"
    if is_symbols(text):
        return "symbols"
    if ("http" in text or "www." in text) and sum(len(link) for link in LINK.findall(text)) > 0.5 * len(text):
        return "links"
    return ""


def works_of(persona: Persona, texts: Mapping[str, Sequence[Block]]) -> list[Family]:
    """The works that these files tell, each in one language or several."""
    return families({file: traits_of(blocks) for file, blocks in texts.items()}, declared(persona), lambda file: main_language(texts[file]))


def main_language(blocks: Sequence[Block]) -> str:
    return next(iter(languages_of([block.text for block in blocks])), "")


def _with_works(persona: Persona, rows: list[Measured], facts: dict[str, Facts]) -> Lore:
    unit = "tokens" if rows and all(row.tokens is not None for row in rows) else "characters"
    size = {row.file: int((row.tokens if unit == "tokens" else row.characters) or 0) for row in rows}
    spoken = {row.file: row.language for row in rows}
    works = [
        {
            "work": work.name,
            "how": work.how,
            "files": {code if code in CODES else spoken.get(file, ""): file for code, file in work.files.items()},
            unit: {code if code in CODES else spoken.get(file, ""): size[file] for code, file in work.files.items()},
        }
        for work in families({file: known.traits for file, known in facts.items()}, declared(persona), lambda file: spoken[file])
    ]
    totals: Counter[str] = Counter()
    for row in rows:
        for code, share in (row.languages or {"": 1.0}).items():
            totals[code] += round(size[row.file] * share)
    return Lore(rows, works, dict(totals.most_common()), unit)
