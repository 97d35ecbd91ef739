"""Lore files: added from what people have, listed, dropped; where each came from and what was changed on the way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from studio.decoding import keep_original
from studio.errors import StudioError
from studio.files import append_line, read_lines, sha256_bytes, sha256_file, write_atomic
from studio.folders import readable
from studio.lore.cleaning import STEPS, clean
from studio.lore.draft import Change, Cleaned
from studio.lore.gathering import Found, Gathering
from studio.lore.names import lore_name, sayable
from studio.lore.readers import APART, MARKDOWN, Reading, Unreadable, read_here, reader_of
from studio.lore.readers.apart import Apart
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.reports import AddReport, Fault

KINDS = (".txt", ".md")


class Source(msgspec.Struct, omit_defaults=True):
    """A row of ``sources/index.jsonl``: one thing that happened to one lore file."""

    kind: str
    """``lore`` when it was added, ``lore-clean`` when it was cleaned, ``lore-drop`` when it was taken out."""
    file: str
    original: str
    """What stood there before, in ``sources/``: the file as it came, or the archive it came in."""
    from_: str = msgspec.field(default="", name="from")
    member: str = ""
    encoding: str = ""
    format: str = ""
    changed: dict[str, int] = {}
    """What was left out or mended, in words."""
    changes: str = ""
    """File in ``sources/changes/`` with every change, before and after."""
    sha256: str = ""
    """Of the lore file as it was written."""
    t: float = 0.0


def add(
    persona: Persona,
    paths: list[Path],
    progress: Progress = quiet,
    as_is: bool = False,
    probes: bool = False,
) -> AddReport:
    """Read files, folders and zip files into ``lore/`` as UTF-8 text; originals go to ``sources/``, untouched.

    A file that cannot be read is dropped with its reason; the others are kept. ``as_is`` mends nothing that the reader does not. ``probes``:
    cloze questions that lorebooks make are appended to the persona's probes. Stopped in the middle, what was added so far is whole.
    """
    report = AddReport()
    formats: Counter[str] = Counter()
    with persona.exclusive(), Gathering() as gathering:
        found, refused = gathering.files(paths)
        for no in refused:
            report.read += 1
            report.files.append(no.shown)
            report.drop(no.reason, Fault(no.shown, 0, no.sentence))
        present = {_key(read_text(path)): path.name for path in files(persona)}
        whole = sum(file.size for file in found)
        done = 0
        with Apart(meanwhile=lambda: progress("read", done, whole)) as apart:
            for file in found:
                progress("read", done, whole)
                done += file.size
                report.read += 1
                report.files.append(file.shown)
                try:
                    raw = gathering.read(file)
                    reader = reader_of(file.name, raw)
                    reading = apart.read(reader, raw, file.name) if reader in APART else read_here(reader, raw, file.name)
                    if reader in ("plain", "markdown") and not as_is:
                        _refuse_chat(file, reading)
                except Unreadable as error:
                    report.drop(error.reason, Fault(file.shown, error.line, str(error)))
                    continue
                if _keep(persona, file, raw, reader, reading, present, report, as_is):
                    formats[reading.format] += 1
                if reading.probes:
                    _probes(persona, reading, report, probes)
        progress("read", whole, whole)
    for path in paths if not report.read else ():
        report.read += 1
        report.drop("nothing to read", Fault(readable(path), 0, "there is no file in it"))
    report.format = ", ".join(format_ for format_, _ in formats.most_common())
    return report


def _refuse_chat(file: Found, reading: Reading) -> None:
    """Chats that lie among texts: their talk is no lore, and private."""
    from studio.dialogue.importers.files import HEAD, File
    from studio.dialogue.importers.registry import chat_of

    if chat := chat_of(File(file.name, reading.text[:HEAD].encode("utf-8", "replace"))):
        raise Unreadable("dialogue, not lore", f"it is a chat ({chat}); add it with: studio dialogue add (or, as lore all the same, with --as-is)")


def _keep(
    persona: Persona, file: Found, raw: bytes, reader: str, reading: Reading, present: dict[bytes, str], report: AddReport, as_is: bool
) -> bool:
    """Clean and store what was read. Whether it is kept."""
    user = persona.manifest.character
    text = reading.text.replace("{{user}}", user.user).replace("{{char}}", user.name) if reader in ("books", "rows") else reading.text
    cleaned = Cleaned(text, [], Counter()) if as_is else clean(text)
    key = _key(cleaned.text)
    if not cleaned.text.strip():
        report.drop("empty", Fault(file.shown, 0, "the file holds no text"))
        return False
    if key in present:
        report.drop("already here", Fault(file.shown, 0, f"the same text is in lore/{present[key]} already"))
        return False
    name = _free_name(persona, lore_name(file.name, file.folders, ".md" if reader in MARKDOWN else ".txt"))
    original = keep_original(persona.sources, Path(_short(file.path)), raw) if not file.member else _keep_archive(persona, file.path)
    stored = cleaned.text.encode("utf-8", "replace")
    changed = Counter(reading.changed)
    if reading.encoding != "utf-8":
        changed[f"read as {reading.encoding}, stored as UTF-8"] += 1
    changed.update({STEPS[step]: number for step, number in cleaned.counts.items()})
    changes = _store_changes(persona, name, stored, cleaned.changes)
    write_atomic(persona.lore / name, stored)
    row = Source("lore", name, original, file.shown, file.member, reading.encoding, reading.format, dict(changed), changes)
    _remember(persona, msgspec.structs.replace(row, sha256=sha256_bytes(stored)))
    present[key] = name
    report.kept += 1
    report.changed.update(changed)
    report.faults += [Fault(file.shown, line, why) for line, why in reading.unread]
    return True


def _short(path: Path) -> str:
    """A file's own name as the copy in ``sources/`` has it."""
    return sayable(path.stem) + sayable(path.suffix)


def _key(text: str) -> bytes:
    """What a text is known by: its words, however they are spaced."""
    return blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _keep_archive(persona: Persona, path: Path) -> str:
    """The archive once, however many of its members become lore."""
    stat = path.stat()
    known = (path, stat.st_size, stat.st_mtime_ns)
    name = _archives.get((persona.root, *known))
    if name is None or not (persona.sources / name).exists():
        name = _archives[persona.root, *known] = keep_original(persona.sources, Path(_short(path)), path.read_bytes())
    return name


_archives: dict[tuple[Path, Path, int, int], str] = {}


def _store_changes(persona: Persona, name: str, stored: bytes, changes: list[Change]) -> str:
    if not changes:
        return ""
    kept = f"{sha256_bytes(stored)[:12]}-{Path(name).name}.jsonl"
    write_atomic(persona.sources / "changes" / kept, b"".join(msgspec.json.encode(change) + b"\n" for change in changes))
    return kept


def _remember(persona: Persona, row: Source) -> None:
    append_line(persona.sources / "index.jsonl", msgspec.structs.replace(row, t=time.time()))


def _probes(persona: Persona, reading: Reading, report: AddReport, wanted: bool) -> None:
    """Append the cloze questions of a lorebook that are not there yet, or say how many there would be."""
    if not wanted:
        report.changed["cloze questions could be made of lorebook entries (studio lore add --probes makes them)"] += len(reading.probes)
        return
    there = [row for _, row in read_lines(persona.probes)]
    known = {row.get("prompt") for row in there if isinstance(row, dict)}
    taken = {row.get("id") for row in there if isinstance(row, dict)}
    new = [probe for probe in reading.probes if probe["prompt"] not in known]
    number = len(taken)
    for probe in new:
        number += 1
        while f"lore-{number}" in taken:
            number += 1
        append_line(persona.probes, {"id": f"lore-{number}", **probe})
    report.changed["cloze questions added to the probes"] += len(new)


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


def read_text(path: Path) -> str:
    """A lore file; bytes that are no UTF-8 come as ``\\ufffd``."""
    return path.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n")


def lore_file(persona: Persona, name: str) -> Path:
    """The lore file of this name (``book.md`` or ``lore/book.md``); StudioError when there is none."""
    known = {str(path.relative_to(persona.lore)): path for path in files(persona)}
    wanted = name.removeprefix("lore/")
    if wanted not in known:
        near = [other for other in known if wanted.casefold() in other.casefold()][:3]
        hint = f"; did you mean {' or '.join(near)}?" if near else "; studio lore list shows what there is."
        raise StudioError(f"There is no lore file {name} in {persona.name}{hint}")
    return known[wanted]


def _history(persona: Persona) -> Iterator[Source]:
    for _, row in read_lines(persona.sources / "index.jsonl"):
        if isinstance(row, dict) and str(row.get("kind", "")).startswith("lore"):
            try:
                yield msgspec.convert(row, Source, strict=False)
            except msgspec.ValidationError:
                continue


def histories(persona: Persona) -> dict[str, list[Source]]:
    """What happened to each lore file since it was last added, oldest first."""
    found: dict[str, list[Source]] = {}
    for row in _history(persona):
        if row.kind in ("lore", "lore-drop"):
            found.pop(row.file, None)
        if row.kind != "lore-drop":
            found.setdefault(row.file, []).append(row)
    return found


def added_from(persona: Persona) -> dict[str, dict[str, Any]]:
    """Where each lore file came from, by its name."""
    return {file: msgspec.to_builtins(rows[0]) for file, rows in histories(persona).items()}


def changes_of(persona: Persona, name: str) -> list[Change]:
    """Every change that was made to a lore file since it was added, in the order of its text, places by the file as it is now.

    A file edited by hand since moves its places; a change whose text is nowhere any more is left at the place it had.
    """
    found: list[Change] = []
    for row in histories(persona).get(name, []):
        path = persona.sources / "changes" / row.changes
        if row.changes and path.is_file():
            for _, value in read_lines(path):
                try:
                    found.append(msgspec.convert(value, Change))
                except msgspec.ValidationError:
                    continue
    path = persona.lore / name
    if not found or not path.is_file():
        return found
    lines = read_text(path).split("\n")
    where: dict[str, list[int]] = {}
    for number, line in enumerate(lines, 1):
        if line:
            where.setdefault(line, []).append(number)

    def now(change: Change) -> int:
        first = change.after.split("\n", 1)[0]
        places = where.get(first)
        return min(places, key=lambda place: abs(place - change.at)) if first and places else min(change.at, len(lines))

    return sorted((msgspec.structs.replace(change, at=now(change)) for change in found), key=lambda change: change.at)


def replace(persona: Persona, name: str, before: bytes, cleaned: Cleaned) -> None:
    """Store a cleaned lore file; what stood there goes to ``sources/``. StudioError if the file is not ``before`` any more."""
    path = persona.lore / name
    if not path.is_file() or path.read_bytes() != before:
        raise StudioError(f"lore/{name} changed while it was being cleaned; it was left as it is. Clean again.")
    original = keep_original(persona.sources, path, before)
    stored = cleaned.text.encode("utf-8")
    changes = _store_changes(persona, name, stored, cleaned.changes)
    changed = {STEPS[step]: number for step, number in cleaned.counts.items()}
    if cleaned.text.strip():
        write_atomic(path, stored)
    else:
        path.unlink()
    _remember(persona, Source("lore-clean", name, original, changed=changed, changes=changes, sha256=sha256_bytes(stored), encoding="utf-8"))


def drop(persona: Persona, names: list[str]) -> list[str]:
    """Take files out of the lore; what they held stays in ``sources/``. Returns the names they have there."""
    with persona.exclusive():
        paths = [lore_file(persona, name) for name in names]
        past = histories(persona)
        kept = []
        for path in paths:
            name = str(path.relative_to(persona.lore))
            rows = past.get(name, [])
            untouched = rows and rows[-1].sha256 == sha256_file(path)
            original = rows[0].original if untouched and len(rows) == 1 else keep_original(persona.sources, path, path.read_bytes())
            path.unlink()
            _remember(persona, Source("lore-drop", name, original))
            kept.append(original)
    return kept
