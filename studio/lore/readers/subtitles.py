"""Subtitles: srt, vtt, ass. Cues become sentences, silences become breaks between paragraphs."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from studio.lore.readers import Reading, Unreadable, ending
from studio.lore.readers.plain import decoded

SILENCE = 4.0
"""Seconds without a cue that end a paragraph."""

LONGEST_PARAGRAPH = 1200
"""Characters after which the next sentence begins a paragraph even without a silence."""

_TIMES = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})")
_TAGS = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<\d[\d:.]{0,12}>|\{\\[^{}]{0,400}\}|\{[a-zA-Z]:[^{}]{0,80}\}")
_CREDIT = re.compile(
    r"(?:subtitles?|subs|captions?|captioning|sync(?:ed|ed and corrected)?|synchro|ripped|encoded|transcript|translat(?:ed|ion)"
    r"|untertitel|sous-titres|字幕|翻译)"
    r"\s*(?:组|組|by|von|par|:|：)|opensubtitles|addic7ed|subscene|podnapisi|www\.[\w-]+\.(?:com|org|net)|https?://",
    re.IGNORECASE,
)
_SOUND = re.compile(r"[\[(（♪#][^\])）]{0,80}[\])）♪#]?")
_ENDS = (".", "!", "?", "…", "。", "！", "？", "”", '"', "」", "』", "♪", "-", "—")


class Cue(NamedTuple):
    begin: float
    end: float
    lines: list[str]
    speaker: str = ""


def read(raw: bytes, name: str) -> Reading:
    text, encoding = decoded(raw)
    kind = ending(name)[1:]
    reading = Reading("", {"vtt": "WebVTT", "srt": "SubRip"}.get(kind, "ASS"), encoding)
    cues = _ass(text, reading) if kind in ("ass", "ssa") else _timed(text, reading)
    if not cues:
        raise Unreadable("no text in it", "there is no line with times and text in it; is it really a subtitle file?", 1)
    reading.text = _told(cues, reading.changed)
    if not reading.text.strip():
        raise Unreadable("no text in it", "its cues hold nothing but credits and tags")
    reading.changed = +reading.changed
    return reading


def _timed(text: str, reading: Reading) -> list[Cue]:
    """The cues of srt and vtt: a line of times, then text until a blank line."""
    cues: list[Cue] = []
    current: list[str] | None = None
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if "-->" in line:
            times = _TIMES.search(line)
            if not times:
                if len(reading.unread) < 1000:
                    reading.unread.append((number, "times that cannot be read"))
                reading.changed["cues without readable times left out"] += 1
                current = None
                continue
            current = []
            cues.append(Cue(_seconds(times.group(1, 2, 3, 4)), _seconds(times.group(5, 6, 7, 8)), current))
        elif not line.strip():
            current = None
        elif current is not None:
            current.append(line.strip())
    return cues


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours[:6]) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _ass(text: str, reading: Reading) -> list[Cue]:
    order: list[str] = []
    cues: list[Cue] = []
    for number, line in enumerate(text.split("\n"), 1):
        key, _, rest = line.partition(":")
        if key.strip() == "Format" and "Text" in rest:
            order = [field.strip() for field in rest.split(",")]
        elif key.strip() == "Comment":
            reading.changed["comments left out"] += 1
        elif key.strip() == "Dialogue":
            names = order or ["Layer", "Start", "End", "Style", "Name", "MarginL", "MarginR", "MarginV", "Effect", "Text"]
            fields = dict(zip(names, rest.strip().split(",", len(names) - 1), strict=False))
            begin, end = (re.fullmatch(r"\s*(\d+):(\d+):(\d+)[.:](\d+)\s*", fields.get(at, "")) for at in ("Start", "End"))
            if not begin or not end or "Text" not in fields:
                reading.unread.append((number, "a line of dialogue without times or text")) if len(reading.unread) < 1000 else None
                reading.changed["cues without readable times left out"] += 1
                continue
            if re.search(r"\\p[1-9]", fields["Text"]):
                reading.changed["drawings left out"] += 1
                continue
            said = fields["Text"].replace("\\h", " ")
            parts = [part.strip() for part in re.split(r"\\[Nn]", said)]
            cues.append(Cue(_hundredths(begin), _hundredths(end), parts, fields.get("Name", fields.get("Actor", "")).strip()))
    return sorted(cues, key=lambda cue: cue.begin)


def _hundredths(times: re.Match[str]) -> float:
    hours, minutes, seconds, fraction = times.groups()
    return int(hours[:6]) * 3600 + int(minutes[:6]) * 60 + int(seconds[:6]) + int(fraction[:3]) / 10 ** min(3, len(fraction))


def _told(cues: list[Cue], changed: Counter[str]) -> str:
    """Cues as running text."""
    paragraphs: list[list[str]] = []
    length = 0
    last_end = None
    last_speaker = ""
    before: list[str] = []
    for cue in cues:
        lines = []
        for line in cue.lines:
            plain, tags = _TAGS.subn("", line)
            changed["tags left out"] += tags
            plain = plain.replace("&nbsp;", " ").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").strip()
            if _CREDIT.search(plain):
                changed["credits left out"] += 1
            elif plain in before:
                changed["lines said again by the next cue left out"] += 1
            elif plain:
                lines.append(plain)
        before = [*lines] or before
        if not lines:
            continue
        silence = last_end is not None and cue.begin - last_end > SILENCE
        last_end = max(cue.end, last_end or 0.0)
        full = length > LONGEST_PARAGRAPH and bool(paragraphs) and paragraphs[-1][-1].endswith(_ENDS)
        if not paragraphs or silence or full:
            paragraphs.append([])
            length = 0
        for line in lines:
            said = (
                f"{cue.speaker}: {line}"
                if cue.speaker and (cue.speaker != last_speaker or not paragraphs[-1]) and not _SOUND.fullmatch(line)
                else line
            )
            last_speaker = cue.speaker
            current = paragraphs[-1]
            spoken = re.match(r"[-–—]\s*\S", said)
            if current and not spoken and said is line and not current[-1].endswith(_ENDS) and not _SOUND.fullmatch(line):
                glue = "" if re.match(r"[\u3040-\u9fff]", line) and re.search(r"[\u3000-\u9fff]$", current[-1]) else " "
                current[-1] += glue + said
            else:
                current.append(said)
            length += len(said)
    return "\n\n".join("\n".join(lines) for lines in paragraphs) + "\n"
