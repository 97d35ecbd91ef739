"""Who is the character, who is "me", who is left out: said by the person, by the file, or asked."""

from __future__ import annotations

from studio.dialogue.importers.base import HER, ME, Asked, Speaker
from studio.errors import StudioError
from studio.text import count, normal, one_line

EVERYBODY = "*"
MOST_TOLD = 12
"""Speakers named in a sentence."""


class WhoIsWho(StudioError):
    """The files do not say who is the character. ``speakers`` are those found, who says most first."""

    def __init__(self, sentence: str, speakers: list[Speaker]) -> None:
        told = ", ".join(f"{one_line(s.name)} {s.count:,}" for s in speakers[:MOST_TOLD])
        more = f" and {count(len(speakers) - MOST_TOLD, 'other')}" if len(speakers) > MOST_TOLD else ""
        super().__init__(f"{sentence} The speakers are: {told}{more}.")
        self.speakers = speakers


class Cast:
    """The role of every speaker: ``assistant``, ``user`` or ``out``, and whose words carry their name."""

    def __init__(self, roles: dict[str, str], named: set[str], shown: dict[str, str], by: str) -> None:
        self.roles, self.named, self.shown, self.by = roles, named, shown, by


def cast(speakers: dict[str, Speaker], asked: Asked, persona: str, user: str, where: str) -> Cast:
    """The roles of all speakers. WhoIsWho where neither the person nor the files say it.

    ``persona`` and ``user`` are the names the persona's own manifest has for her and for the other side; ``where``: what was read, in words.
    """
    found = sorted((s for s in speakers.values() if s.count), key=lambda s: (-s.count, s.name))
    hers = _meant(asked.character, found, "--character", where)
    mine = _meant(asked.me, found, "--me", where)
    out = _meant(asked.leave_out, found, "--leave-out", where)
    _no_one_twice(hers, mine, out, found)
    elsewhere = mine | out
    by = "as was said" if asked.character or asked.me else ""
    hinted = [s.key for s in found if s.hint == HER]
    if EVERYBODY in asked.character:
        hers |= set(hinted) if hinted else {s.key for s in found if s.key not in elsewhere}
    if not hers:
        by = by or "the persona's name"
        hers = {s.key for s in found if normal(persona) in map(normal, s.names) and s.key not in elsewhere and s.hint != ME}
    if not hers and len(hinted) == 1:
        hers, by = set(hinted), "" if not asked.me else by
    if not mine:
        mine = {s.key for s in found if s.hint == ME} or {s.key for s in found if normal(user) in map(normal, s.names)}
        mine -= hers | out
    given = hers | mine | out
    rest = [s.key for s in found if s.key not in given]
    if not hers and mine and len(rest) == 1:
        hers, rest, by = set(rest), [], by if asked.me else ""
    if not hers:
        raise WhoIsWho(f"{where}: it does not say who is the character; name her with --character NAME (and yourself with --me NAME).", found)
    if not mine and len(rest) == 1:
        mine, rest = set(rest), []
    roles = dict.fromkeys(hers, "assistant") | dict.fromkeys(mine, "user") | dict.fromkeys(out, "out")
    for key in rest:
        roles[key] = "out" if EVERYBODY in asked.leave_out else "user"
    words = {"assistant": HER, "out": "out"}
    shown = {s.name: ME if s.key in mine else words.get(roles[s.key], "user") for s in reversed(found)}
    return Cast(roles, {key for key in rest if roles[key] == "user"}, dict(reversed(shown.items())), by)


def _meant(names: tuple[str, ...], speakers: list[Speaker], flag: str, where: str) -> set[str]:
    keys: set[str] = set()
    for name in names:
        if name == EVERYBODY:
            continue
        matching = {s.key for s in speakers if normal(name) in map(normal, (*s.names, s.key, s.key.partition(":")[2]))}
        if not matching:
            raise WhoIsWho(f"{where}: nobody is called {name!r} ({flag}).", speakers)
        keys |= matching
    return keys


def _no_one_twice(hers: set[str], mine: set[str], out: set[str], speakers: list[Speaker]) -> None:
    twice = (hers & mine) | (hers & out) | (mine & out)
    if twice:
        name = next(s.name for s in speakers if s.key in twice)
        raise StudioError(f"{one_line(name)!r} is named for two of --me, --character and --leave-out; each speaker is only one of them.")
