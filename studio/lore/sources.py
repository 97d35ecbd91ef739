"""Lore files: added, listed, checked, counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.decoding import UndecodableText, decode, keep_original, walk
from studio.files import append_line, read_lines, write_atomic
from studio.lore.passages import paragraphs, passages
from studio.persona.folder import Persona
from studio.reports import AddReport, Fault
from studio.text import normal

KINDS = (".txt", ".md")


def add(persona: Persona, paths: list[Path]) -> AddReport:
    """Copy txt and md files (of folders too) into ``lore/`` as UTF-8; originals go to ``sources/``, untouched.

    A file that cannot be read is dropped with its reason; the others are kept.
    """
    report = AddReport(format="text")
    with persona.exclusive():
        present = {normal(file.read_text(encoding="utf-8")): file.name for file in files(persona)}
        for path in walk(paths):
            report.read += 1
            report.files.append(str(path))
            raw = path.read_bytes()
            if path.suffix.lower() not in KINDS:
                report.drop("not a txt or md file", Fault(str(path), 0, f"{path.suffix or 'no ending'}: only .txt and .md are read as lore"))
                continue
            try:
                text, encoding = decode(raw)
            except UndecodableText as error:
                report.drop("not readable as text", Fault(str(path), error.line, str(error)))
                continue
            key = normal(text)
            if not key:
                report.drop("empty", Fault(str(path), 0, "the file holds no text"))
                continue
            if key in present:
                report.drop("already here", Fault(str(path), 0, f"the same text is in lore/{present[key]} already"))
                continue
            name = _free_name(persona, path.name)
            original = keep_original(persona.sources, path, raw)
            write_atomic(persona.lore / name, text)
            append_line(
                persona.sources / "index.jsonl", {"kind": "lore", "file": name, "original": original, "from": str(path), "encoding": encoding}
            )
            if encoding != "utf-8":
                report.changed[f"read as {encoding}, stored as UTF-8"] += 1
            present[key] = name
            report.kept += 1
    return report


def _free_name(persona: Persona, name: str) -> str:
    stem, dot, ending = name.partition(".")
    numbered = name
    number = 2
    while (persona.lore / numbered).exists():
        numbered = f"{stem}-{number}{dot}{ending}"
        number += 1
    return numbered


def files(persona: Persona) -> list[Path]:
    """The lore files, sorted by name."""
    return sorted(path for path in persona.lore.rglob("*") if path.suffix.lower() in KINDS and path.is_file() and not path.name.startswith("."))


def language(text: str) -> str:
    """``ja``, ``zh``, ``ko``, ``ru`` or ``latin`` by script: kana before Han, since Japanese mixes both."""
    sample = text[:20_000]
    letters = sum(character.isalpha() for character in sample) or 1
    shares = {
        "ja": len(re.findall(r"[\u3040-\u30ff]", sample)) * 5,
        "zh": len(re.findall(r"[\u4e00-\u9fff]", sample)),
        "ko": len(re.findall(r"[\uac00-\ud7af]", sample)),
        "ru": len(re.findall(r"[\u0400-\u04ff]", sample)),
    }
    best = max(shares, key=lambda key: shares[key])
    return best if shares[best] / letters > 0.3 else "latin"


def stats(persona: Persona) -> list[dict[str, Any]]:
    """Per file: characters, paragraphs, language, and tokens by the base's own tokenizer (None while the base is not here)."""
    base = locate_base(persona.manifest.base)
    tokenizer = load_tokenizer(base) if base else None
    rows = []
    for path in files(persona):
        text = path.read_text(encoding="utf-8", errors="replace")
        parts = paragraphs(text)
        tokens = sum(len(e.ids) for e in tokenizer.encode_batch_fast(parts, add_special_tokens=False)) if tokenizer else None
        rows.append(
            {
                "file": str(path.relative_to(persona.lore)),
                "characters": len(text),
                "words": len(text.split()),
                "paragraphs": len(parts),
                "language": language(text),
                "tokens": tokens,
            }
        )
    return rows


def added_from(persona: Persona) -> dict[str, dict[str, Any]]:
    """Where each lore file came from, by its name."""
    return {row["file"]: row for _, row in read_lines(persona.sources / "index.jsonl") if row.get("kind") == "lore"}


_BOILERPLATE = re.compile(r"project gutenberg|www\.gutenberg|all rights reserved|isbn[ :]|retrieved from \"|this page was last edited", re.IGNORECASE)


def check(persona: Persona) -> list[Fault]:
    """What is obviously wrong in the lore, each with file and line."""
    faults: list[Fault] = []
    seen: dict[str, tuple[str, int]] = {}
    for path in files(persona):
        name = str(path.relative_to(persona.root))
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            faults.append(Fault(name, error.object.count(b"\n", 0, error.start) + 1, "broken UTF-8; mend the byte in an editor"))
            continue
        if not text.strip():
            faults.append(Fault(name, 0, "the file is empty"))
            continue
        faults += _line_faults(name, text)
        for passage in passages(path.name, text):
            key = normal(passage.text)
            if key in seen:
                faults.append(Fault(name, passage.line, f"the same passage stands at {seen[key][0]}:{seen[key][1]}"))
            else:
                seen[key] = (name, passage.line)
    return faults


def _line_faults(name: str, text: str) -> Iterator[Fault]:
    repeated = Counter(line for line in text.split("\n") if len(line) > 20)
    for number, line in enumerate(text.split("\n"), 1):
        if "\ufffd" in line:
            yield Fault(name, number, "a character was lost in an earlier conversion (\ufffd)")
        if any(ord(c) < 32 and c not in "\t\f" for c in line):
            yield Fault(name, number, "control characters in the text")
        if _BOILERPLATE.search(line):
            yield Fault(name, number, "looks like a publisher's or wiki's boilerplate; she would learn to say it")
        if len(line) > 20_000:
            yield Fault(name, number, f"one line of {len(line):,} characters; are the line breaks lost?")
        if repeated.get(line, 0) >= 5:
            yield Fault(name, number, f"this line stands {repeated.pop(line)} times in the file")
