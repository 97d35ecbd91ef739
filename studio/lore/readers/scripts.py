"""Scripts: Fountain screenplays, Ren'Py games, tables with a text column. All become ``NAME: line``."""

from __future__ import annotations

import csv
import re
from collections import Counter

from studio.lore.readers import Reading, Unreadable, ending
from studio.lore.readers.plain import decoded

TEXT = ("text", "line", "dialogue", "dialog", "content", "body", "sentence", "台词", "对白", "セリフ", "texto", "texte")
SPEAKER = ("speaker", "character", "name", "actor", "who", "role", "角色", "说话人", "話者", "キャラ")
BREAK = ("scene", "chapter", "episode", "quest", "conversation", "file")


def read(raw: bytes, name: str) -> Reading:
    text, encoding = decoded(raw)
    kind = ending(name)
    if kind == ".fountain":
        reading = _fountain(text)
    elif kind == ".rpy":
        reading = _renpy(text)
    else:
        reading = _table(text, "\t" if kind == ".tsv" else "")
    reading.encoding = encoding
    reading.changed = +reading.changed
    if not reading.text.strip():
        raise Unreadable("no text in it", "no spoken line was found in it")
    return reading


def _fountain(text: str) -> Reading:
    changed: Counter[str] = Counter()
    text, boneyards = re.subn(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text, notes = re.subn(r"\[\[.*?\]\]", "", text, flags=re.DOTALL)
    changed["notes left out"] += boneyards + notes
    blocks = [block.strip("\n") for block in re.split(r"\n[ \t]*\n", text.strip("\n"))]
    if blocks and re.match(r"[A-Z][\w ]{0,30}:", blocks[0]):
        changed["title page left out"] += 1
        blocks = blocks[1:]
    found = []
    for block in blocks:
        lines = [line.strip() for line in block.split("\n") if line.strip()]
        if not lines or re.fullmatch(r"={3,}", lines[0]):
            continue
        first = lines[0]
        if re.match(r"(?:INT|EXT|EST|I/E)[./ ]|\.[A-Za-z0-9]", first, re.IGNORECASE):
            found.append("## " + first.lstrip("."))
            lines = lines[1:]
        elif re.match(r"#{1,6}\s*\S", first):
            found.append(first)
            lines = lines[1:]
        if len(lines) > 1 and (lines[0].startswith("@") or _is_cue(lines[0])):
            speaker = re.sub(r"\s*\(.*?\)\s*|\s*\^$", "", lines[0].lstrip("@")).strip()
            found.append(f"{speaker}: {' '.join(lines[1:])}")
        elif lines:
            found.append("\n".join(line.lstrip("!>~").rstrip("<").strip() for line in lines))
    return Reading("\n\n".join(found) + "\n", "Fountain script", changed=changed)


def _is_cue(line: str) -> bool:
    plain = re.sub(r"\(.*?\)", "", line).strip(" ^")
    return bool(plain) and any(c.isalpha() for c in plain) and plain == plain.upper() and plain != plain.lower() and len(plain) < 40


_SAYS = re.compile(
    r'\s*(?:([A-Za-z_]\w*)(?:\s+[a-z_]\w*){0,6}\s+)?("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')(:)?(?:\s+(?:with|nointeract|if)\b.*)?\s*$'
)
_CHARACTER = re.compile(r"\s*(?:define|default|\$)\s+(\w+)\s*=\s*(?:Dynamic)?Character\(\s*_?\(?[\"']([^\"']+)[\"']")
_RENPY_WORDS = {
    "label", "jump", "call", "scene", "show", "hide", "play", "stop", "queue", "voice", "image", "define", "default", "init", "python", "menu",
    "if", "elif", "else", "return", "with", "window", "pause", "style", "screen", "transform", "text", "use", "add", "key", "action", "translate",
    "old", "import", "from", "font", "background", "color", "textbutton", "imagebutton", "tooltip",
}  # fmt: skip


def _renpy(text: str) -> Reading:
    changed: Counter[str] = Counter()
    names = {found[1]: found[2] for line in text.split("\n") if (found := _CHARACTER.match(line))}
    scenes: list[list[str]] = [[]]
    for line in text.split("\n"):
        if re.match(r"\s*label\s+\w+", line):
            scenes.append([])
        if line.lstrip().startswith("#"):
            changed["comments left out"] += 1
            continue
        says = _SAYS.match(line) if len(line) < 20_000 else None
        if not says or (says[1] in _RENPY_WORDS and says[1] not in names):
            continue
        said = re.sub(r"\\(.)", lambda escaped: {"n": " "}.get(escaped[1], escaped[1]), says[2][1:-1])
        said, tags = re.subn(r"\{[^{}]{0,80}\}", "", said)
        changed["tags left out"] += tags
        if not said.strip():
            continue
        if says[3]:
            scenes[-1].append(f"> {said.strip()}")
        elif says[1] and says[1] not in ("extend", "centered", "narrator"):
            scenes[-1].append(f"{names.get(says[1], says[1])}: {said.strip()}")
        else:
            scenes[-1].append(said.strip())
    return Reading("\n\n".join("\n".join(scene) for scene in scenes if scene) + "\n", "Ren'Py script", changed=changed)


def _table(text: str, delimiter: str) -> Reading:
    """A table with a header: its text column, its speaker column before each line, a blank line where the scene changes."""
    if not delimiter:
        head = text.split("\n", 1)[0]
        delimiter = max(",;\t|", key=head.count)
    csv.field_size_limit(4 * 2**20)
    changed: Counter[str] = Counter()
    unread: list[tuple[int, str]] = []
    scenes: list[list[str]] = [[]]
    rows = csv.reader(text.replace("\0", "").split("\n"), delimiter=delimiter)
    try:
        header = [field.strip().casefold() for field in next(rows, [])]
        said, speaker, scene = (next((header.index(name) for name in names if name in header), -1) for names in (TEXT, SPEAKER, BREAK))
        if said < 0:
            columns = ", ".join(header[:8]) or "none"
            raise Unreadable("no text column", f"no column is called text, line or dialogue (there are: {columns[:200]}); rename one", 1)
        last = None
        for row in rows:
            if not any(row):
                continue
            if len(row) <= said:
                changed["rows without text left out"] += 1
                if len(unread) < 1000:
                    unread.append((rows.line_num, "a row that is too short"))
                continue
            line = " ".join(row[said].split())
            if not line:
                changed["rows without text left out"] += 1
                continue
            if 0 <= scene < len(row) and row[scene] != last:
                last = row[scene]
                scenes.append([])
            who = row[speaker].strip() if 0 <= speaker < len(row) else ""
            scenes[-1].append(f"{who}: {line}" if who else line)
    except csv.Error as error:
        raise Unreadable("damaged table", f"the table cannot be read further ({error}); save it anew as CSV in UTF-8", rows.line_num) from error
    joiner = "\n" if speaker >= 0 and scene >= 0 else "\n\n"
    return Reading("\n\n".join(joiner.join(lines) for lines in scenes if lines) + "\n", "table", changed=changed, unread=unread)
