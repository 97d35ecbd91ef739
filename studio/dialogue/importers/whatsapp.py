"""WhatsApp's exported chats: every locale writes dates its own way, and the app writes lines that look like talk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from itertools import pairwise

from studio.dialogue.importers import signal
from studio.dialogue.importers.base import Asked, Intake, Said
from studio.dialogue.importers.files import File
from studio.dialogue.importers.values import numbered, strip_marks
from studio.dialogue.importers.whatsapp_words import AFTERNOON, ATTACHED, DELETED, EDITED, MEDIA, MORNING
from studio.errors import StudioError
from studio.text import normal

ORDERS = ("dmy", "mdy", "ymd")

_M = "[\u200e\u200f\u202a-\u202e\u2066-\u2069]*"
_HALF = "|".join(sorted((re.escape(word).replace(r"\ ", r"\s?") for word in MORNING + AFTERNOON), key=len, reverse=True))
_HEAD = re.compile(
    rf"""
    [\ufeff\u200e\u200f\u202a-\u202e]*
    (?P<open>\[)?\s?
    {_M}(?P<a>\d{{1,4}}){_M}(?P<sign>[-/年]|[.년]\s?){_M}(?P<b>\d{{1,2}}){_M}(?:[-/月]|[.월]\s?){_M}(?P<c>\d{{1,4}}){_M}[.日일]?
    (?:[,،]?\s+|[,،])(?:klo\s|kl\.?\s|um\s|at\s|às\s|à\s|a\slas\s|v\s)?
    (?:(?P<before>{_HALF})\s?)?
    (?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}})(?:[:.](?P<second>\d{{2}}))?
    (?:\s?(?P<after>{_HALF}))?(?:\sUhr)?{_M}
    (?P<end>\]\s?|\s[-–]\s|[:,]\s|\s)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPEAKER = re.compile(r"(?P<name>[^\n]{1,100}?):(?:\s(?P<text>.*)|$)", re.DOTALL)
_BRACKETED = re.compile(r"<([^<>\n]{1,120})>")
_LAST_BRACKETED = re.compile(r"\s*(\u200e?)<([^<>\n]{1,120})>\s*$")
_ATTACHED = re.compile(r"\u200e?\S[^\n]{0,200}\.\w{1,8} \(" + "(?:" + "|".join(map(re.escape, ATTACHED)) + r")\)\s*(?:\n|$)", re.IGNORECASE)
_LOCATION = re.compile(r"\S{1,20}: https://(?:maps\.google\.com|www\.google\.com/maps|foursquare\.com)/\S*$")
_LONG_SPEAKER = 3
"""Words after a known speaker's name that make the whole a report of the app ("Tom changed the subject to: …") and no name."""


class AmbiguousDates(StudioError):
    """A chat whose dates can be read in more than one way."""

    def __init__(self, file: str, example: str, line: int) -> None:
        super().__init__(
            f"{file}:{line}: dates like {example} can be read as day/month or month/day, and nothing in the file tells which; "
            "say it with --dates dmy, --dates mdy or --dates ymd."
        )
        self.file, self.example = file, example


class _Line:
    """A message as it stands in the file: its head and all its lines."""

    __slots__ = ("head", "line", "lines", "rest")

    def __init__(self, head: re.Match[str], line: int) -> None:
        self.head, self.line = head, line
        self.lines = [head.string[head.end() :]]
        self.rest = ""
        """All its lines as one text, once they are known."""


def head_of(line: str) -> re.Match[str] | None:
    found = _HEAD.match(line) if line[:1] and (line[0].isdigit() or line[0] in "[\u200e\u200f\ufeff\u202a\u202b") else None
    if found and bool(found["open"]) != (found["end"][0] == "]"):
        return None
    return found


def looks(file: File) -> bool:
    """The first line is a message, and some lines have speakers."""
    if file.suffix in (".json", ".jsonl", ".csv", ".tsv"):
        return False
    if signal.looks_chat(file) and "\u200e" not in file.head and "whatsapp" not in file.base.casefold():
        return False
    lines = [line for line in file.head.split("\n") if line.strip()][:400]
    heads = [found for line in lines if (found := head_of(line))]
    return bool(heads and head_of(lines[0])) and any(_SPEAKER.match(found.string[found.end() :]) for found in heads)


def read(file: File, into: Intake, asked: Asked, roles: Mapping[str, str]) -> None:
    messages: list[_Line] = []
    bare = True
    for number, line in numbered(file.text):
        if found := head_of(line):
            messages.append(_Line(found, number))
            bare = bare and found["end"].isspace()
        elif messages:
            messages[-1].lines.append(line)
        elif line.strip():
            into.refuse("before the first message", "this line stands before the first message", number)
    if not bare:
        messages = _without_bare(messages)
    if not messages:
        return
    for message in messages:
        message.rest = "\n".join(message.lines)
    dates = [(m.head["a"], m.head["b"], m.head["c"]) for m in messages]
    order = order_of(dates)
    # In a folder of many chats the order that is said is that of those that do not tell: no chat is read by one that its dates cannot have.
    if asked.dates and (not order or all(_day(date, asked.dates) >= 0 for date in dates)):
        order = asked.dates
    if not order:
        head = messages[0].head
        raise AmbiguousDates(file.shown, f"{head['a']}{head['sign'].strip()}{head['b']}{head['sign'].strip()}{head['c']}", messages[0].line)
    confirmed = {normal(name) for name in (*asked.me, *asked.character, *asked.leave_out)}
    names, single = _speakers(messages, confirmed)
    often = _said_by_the_app(messages)
    scene = into.scene(timed=True)
    days: dict[tuple[str, str, str], int] = {}
    for message in messages:
        if said := _message(message, into, order, names, single, often, days):
            scene.append(said)


def _without_bare(messages: list[_Line]) -> list[_Line]:
    """Where heads end in ``]``, a dash or a colon, a line that only begins with a date is text of the message before it."""
    kept: list[_Line] = []
    for message in messages:
        if message.head["end"].isspace() and kept:
            kept[-1].lines += [message.head.string, *message.lines[1:]]
        else:
            kept.append(message)
    return kept


def _speakers(messages: list[_Line], confirmed: set[str]) -> tuple[set[str], set[str]]:
    """The names that are speakers, and those that may be: what stands before a colon once counts only if nobody comes back or it was confirmed."""
    counted: Counter[str] = Counter()
    for message in messages:
        if found := _SPEAKER.match(message.rest):
            counted[name_of(found["name"])] += 1
    recurring = {name for name, count in counted.items() if count > 1}
    accepted, single = set(), set()
    for name, count in counted.items():
        words = name.split()
        begun = any(" ".join(words[:end]) in (recurring or counted) for end in range(1, min(len(words) - _LONG_SPEAKER, 12) + 1))
        if normal(name) in confirmed or (not begun and (count > 1 or len(recurring) < 2)):
            accepted.add(name)
        elif not begun:
            single.add(name)
    return accepted, single


@lru_cache(maxsize=4096)
def name_of(text: str) -> str:
    """A speaker's name: without marks of direction and the ``~`` before people who are not in the address book."""
    return " ".join(strip_marks(text).replace("~", " ", 1).split()) if "~" in text[:3] else " ".join(strip_marks(text).split())


def _said_by_the_app(messages: list[_Line]) -> set[str]:
    """Whole texts in angle brackets that come again and again from more than one mouth: the app's words in a language not listed."""
    mouths: dict[str, set[str]] = {}
    counted: Counter[str] = Counter()
    for message in messages:
        found = _SPEAKER.match(message.rest)
        text = (found["text"] or "").strip() if found else ""
        if found and _BRACKETED.fullmatch(text):
            mouths.setdefault(text, set()).add(found["name"])
            counted[text] += 1
    return {text for text, names in mouths.items() if len(names) > 1 and counted[text] >= 4}


def _message(
    message: _Line, into: Intake, order: str, names: set[str], single: set[str], often: set[str], days: dict[tuple[str, str, str], int]
) -> Said | None:
    into.read()
    line = message.line
    found = _SPEAKER.match(message.rest)
    if not found:
        into.drop("system line", line, "a line of the app: it has no speaker")
        return None
    name = name_of(found["name"])
    if name not in names:
        once = "what stands before the colon is met only once; if it is a name, --me, --character or --leave-out confirms it"
        reports = "what stands before the colon is a report of the app and no name"
        into.drop(*(("speaks only once", line, once) if name in single else ("system line", line, reports)))
        return None
    at = _time(message.head, order, days)
    if at is None:
        into.drop("broken date", line, "there is no such date or time")
        return None
    text = (found["text"] or "").strip()
    why, text = _reduced(text, often, into)
    if why:
        into.drop(why, line)
        return None
    return into.said(into.speaker(name), text, line, at)


def _reduced(text: str, often: set[str], into: Intake) -> tuple[str, str]:
    """``(why it is dropped, what the person wrote)``."""
    if text[-1:] == ">" and (last := _LAST_BRACKETED.search(text)):
        word = last[2].strip().rstrip(".").casefold()
        if word in EDITED or (last[1] and last.start() > 0):
            # The app's own mark at the end: of an edit, or (on iPhones) of a file whose caption stands before it.
            text = text[: last.start()].rstrip()
            into.changed("edit mark removed" if word in EDITED or ":" not in word else "attachment left out of a message")
    bare = strip_marks(text).strip()
    word = (bare[1:-1] if _BRACKETED.fullmatch(bare) else bare).rstrip(".").casefold()
    if word in MEDIA or text in often or (bare.startswith("<") and _BRACKETED.fullmatch(bare) and ": " in bare[:40] and "\n" not in bare):
        return "media", ""
    if word in DELETED:
        return "deleted", ""
    if _LOCATION.match(bare):
        return "media", ""
    if found := _ATTACHED.match(text):
        caption = text[found.end() :].strip()
        if not caption:
            return "media", ""
        into.changed("attachment left out of a message")
        return "", caption
    if text.startswith("\u200e"):
        # iPhones put this mark before what the app wrote, never before what was typed.
        return "media" if " " in word and len(word) < 40 and "\n" not in word else "system line", ""
    return "", strip_marks(text) if "\u2068" in text or "\u200e" in text else text


def _time(head: re.Match[str], order: str, days: dict[tuple[str, str, str], int]) -> float | None:
    """Seconds of the local time as if it were UTC; None if there is no such date or time."""
    key = (head["a"], head["b"], head["c"])
    if key not in days:
        days[key] = _day(key, order)
    hour, minute, second = int(head["hour"]), int(head["minute"]), int(head["second"] or 0)
    if half := (head["before"] or head["after"]):
        # Some write 下午 13:05: there the hour already says it.
        afternoon = "".join(half.split()).casefold() in _AFTERNOON
        hour = hour if hour > 12 else hour % 12 + (12 if afternoon else 0)
        if half == "中午" and hour >= 22:
            hour -= 12  # noon, eleven o'clock
    if days[key] < 0 or hour > 23 or minute > 59 or second > 60:
        return None
    return float(days[key] * 86400 + hour * 3600 + minute * 60 + second)


_AFTERNOON = {"".join(word.split()).casefold() for word in AFTERNOON}
_EPOCH = date(1970, 1, 1).toordinal()


def _day(key: tuple[str, str, str], order: str) -> int:
    """Days since 1970; -1 if there is no such day."""
    named = dict(zip("ymd" if len(key[0]) == 4 else order, map(int, key), strict=True))
    year = named["y"]
    if year < 100:
        year += 2000
    elif 2450 < year < 2700:
        year -= 543  # the calendar of Thailand
    try:
        return max(-1, date(year, named["m"], named["d"]).toordinal() - _EPOCH)
    except ValueError:
        return -1


def order_of(dates: list[tuple[str, str, str]]) -> str:
    """``dmy``, ``mdy`` or ``ymd``; empty if the dates do not tell.

    Told by four digits in front, by values over 12, by the order in which time runs backwards, and at last by which field stands still:
    four different dates that all fall on the same day of a month are months apart in no real chat.
    """
    if not dates or len(dates[0][0]) == 4:
        return "ymd"
    numbers = [(int(a), int(b), int(c)) for a, b, c in dates]
    first, second = sum(a > 12 for a, _, _ in numbers), sum(b > 12 for _, b, _ in numbers)
    if sum(a > 31 for a, _, _ in numbers) * 2 > len(numbers):
        return "ymd"
    if first or second:
        return "dmy" if first > 20 * second else "mdy" if second > 20 * first else ""
    as_dmy, as_mdy = (_runs(numbers, order) for order in ("dmy", "mdy"))
    back_dmy, back_mdy = (sum(a > b for a, b in pairwise(keys)) for keys in (as_dmy, as_mdy))
    if min(back_dmy, back_mdy) * 10 < max(back_dmy, back_mdy):
        return "dmy" if back_dmy < back_mdy else "mdy"
    if len(set(numbers)) >= 4:
        if len({a for a, _, _ in numbers}) == 1:
            return "mdy"
        if len({b for _, b, _ in numbers}) == 1:
            return "dmy"
    return ""


def _runs(numbers: list[tuple[int, int, int]], order: str) -> list[tuple[int, int, int]]:
    return [(c, b, a) if order == "dmy" else (c, a, b) for a, b, c in numbers]
