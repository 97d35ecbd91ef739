"""``lore check``: what is obviously wrong in the lore, each with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from studio.lore.cleaning import ALWAYS, clean
from studio.lore.litter import LINK, is_symbols
from studio.lore.measuring import works_of
from studio.lore.parallel import aligned_passages
from studio.lore.passages import Block, blocks_of
from studio.lore.repeats import Repeats, find
from studio.lore.sources import files
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.reports import Fault

LONGEST_LINE = 20_000

FIXED_BY = {
    "mojibake": "garbled characters that can be repaired (lore clean does it)",
    "controls": "invisible or control characters (lore clean takes them out)",
    "frame": "looks like a publisher's frame; she would learn to say it (lore clean cuts it)",
    "wiki": "looks like wiki boilerplate; she would learn to say it (lore clean cuts it)",
    "pages": "looks like a page number in the text (lore clean cuts it)",
    "furigana": "a reading in brackets (lore clean leaves them out)",
    "paragraphs": "every line is a paragraph here (lore clean puts blank lines between)",
}
"""What a cleaning step finds, as a fault. Hard wraps and spaces are no faults: building sees through them."""


def check(persona: Persona, progress: Progress = quiet) -> list[Fault]:
    """Everything that looks wrong, file by file."""
    texts: dict[str, list[Block]] = {}
    faults: list[Fault] = []
    paths = files(persona)
    for number, path in enumerate(paths):
        progress("files looked through", number, len(paths))
        name = str(path.relative_to(persona.lore))
        try:
            text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            faults.append(Fault(f"lore/{name}", line, "broken UTF-8; mend the byte in an editor"))
            continue
        if not text.strip():
            faults.append(Fault(f"lore/{name}", 0, "the file is empty"))
            continue
        texts[name] = blocks_of(text)
        faults += _faults_in(f"lore/{name}", text, texts[name])
    faults += _repeated(find(texts, progress=progress))
    aligned = aligned_passages(texts, works := works_of(persona, texts))
    for work in works:
        if work.name in aligned.loose:
            faults.append(
                Fault(
                    f"lore/{next(iter(work.files.values()))}",
                    0,
                    f"its translations ({', '.join(list(work.files.values())[1:])}) do not go with it paragraph by paragraph: "
                    "the split keeps all of it on one side",
                )
            )
    return faults


def _faults_in(name: str, text: str, blocks: list[Block]) -> Iterator[Fault]:
    cleaned = clean(text, [step for step in ALWAYS if step in FIXED_BY])
    told: Counter[str] = Counter()
    for change in cleaned.changes:
        told[change.step] += 1
        if told[change.step] <= 20:
            yield Fault(name, change.line, FIXED_BY[change.step])
    for step, number in told.items():
        if number > 20:
            yield Fault(name, 0, f"… and {number - 20:,} more places with {FIXED_BY[step].split(' (')[0]}")
    repeated = Counter(line for line in text.split("\n") if len(line) > 20)
    for number, line in enumerate(text.split("\n"), 1):
        if "\ufffd" in line:
            yield Fault(name, number, "a character was lost in an earlier conversion (\ufffd)")
        if len(line) > LONGEST_LINE:
            yield Fault(name, number, f"one line of {len(line):,} characters; are the line breaks lost?")
        if repeated.get(line, 0) >= 5:
            yield Fault(name, number, f"this line stands {repeated.pop(line)} times in the file")
        if ("http" in line or "www." in line) and (links := LINK.findall(line)):
            yield Fault(name, number, f"a link: {links[0][:60]} (lore clean --also links cuts them)")
        folded = line.casefold()
        if "all rights reserved" in folded or "isbn" in folded or "project gutenberg" in folded:
            yield Fault(name, number, "looks like a publisher's or wiki's boilerplate; she would learn to say it")
    for block in blocks:
        if is_symbols(block.text):
            yield Fault(name, block.line, "a paragraph of symbols (lore clean leaves it out)")


def _repeated(found: Repeats) -> Iterator[Fault]:
    for place, first in found.exact.items():
        yield Fault(f"lore/{place.file}", place.line, f"the same paragraph stands at lore/{first.file}:{first.line}")
    for place, first in found.near.items():
        yield Fault(f"lore/{place.file}", place.line, f"nearly the same paragraph stands at lore/{first.file}:{first.line}")
    for line, number in found.boilerplate.items():
        yield Fault(f"lore/{line.file}", line.line, f"this line stands in {number} files; she would learn to say it")
    for one, other in found.documents:
        yield Fault(f"lore/{other}", 0, f"most of it stands in lore/{one}, too")
