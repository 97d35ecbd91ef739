"""One line that says which conversations are meant: ``src:chat flag:near lang:hu len>400 tag:keep -is:rejected "late again"``."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from studio.errors import UsageError

STATES = ("", "accepted", "rejected")
"""States of a row, by the number they have in the index."""

KINDS = ("open", "accepted", "rejected", "edited", "synthetic")
"""What ``is:`` can ask for; ``open`` is what nobody has judged."""

HELP = (
    ("src:chat", "the name of its source contains this"),
    ("tag:keep", "it has this tag"),
    ("flag:near", "the last check found this wrong with it"),
    ("lang:hu", "the language of her replies"),
    ("is:rejected", "one of: " + ", ".join(KINDS)),
    ("len>400", "characters of all its turns (also < >= <= =)"),
    ("turns>=4", "replies in it"),
    ("time>2024-05", "when it began, as far as the source knew"),
    ("id:d03f", "its id begins so"),
    ('"late again"', "a text in it, whatever its case, width or spacing; so does a bare word"),
    ("-tag:keep", "a minus before any of them: not this"),
    ("src:a,b", "a comma: one of these"),
)

_TERM = re.compile(r'(-?)(?:([a-z]+)(:|>=|<=|>|<|=))?(?:"([^"]*)"?|(\S+))')
_WORDS = {"src": ":", "tag": ":", "flag": ":", "lang": ":", "is": ":", "id": ":", "len": "", "turns": "", "time": ""}
"""The keys, and what may stand behind each: a colon, or (empty) a comparison."""


class Term(NamedTuple):
    key: str
    """``src tag flag lang is len turns time id`` or ``text``."""
    sign: str
    """``:`` or a comparison."""
    value: str
    negated: bool = False

    @property
    def choices(self) -> list[str]:
        return [part for part in self.value.split(",") if part]


class Filter(NamedTuple):
    terms: tuple[Term, ...] = ()

    def of(self, *keys: str) -> list[Term]:
        return [term for term in self.terms if term.key in keys]

    @property
    def texts(self) -> list[Term]:
        return self.of("text")


def parse(line: str) -> Filter:
    """The terms of a line, all of which must hold. UsageError in one sentence if one of them cannot be meant."""
    terms = []
    for minus, key, sign, quoted, bare in _TERM.findall(line):
        value = quoted or bare
        if key and (key not in _WORDS or (_WORDS[key] == ":") != (sign == ":")):
            if key in _WORDS:
                hint = f"{key}:…" if _WORDS[key] else f"{key}>…, {key}<… or {key}=…"
                raise UsageError(f"“{key}{sign}{value}” is not understood; it is written {hint}")
            key, sign, value = "", "", f"{key}{sign}{value}"  # https://… is a text
        if not key and not quoted and value.rstrip(":<>=") in _WORDS and value[-1] in ":<>=":
            raise UsageError(f"There is nothing behind “{value}”.")
        if not value:
            continue
        if key in ("len", "turns") and not value.replace("_", "").isdecimal():
            raise UsageError(f"“{key}{sign}{value}”: {value!r} is not a number.")
        if key == "is" and (unknown := [part for part in value.split(",") if part not in KINDS]):
            raise UsageError(f"“is:{unknown[0]}” is not known; there are: {', '.join(KINDS)}.")
        if key == "time" and not re.fullmatch(r"\d{4}(-\d\d(-\d\d(T[\d:]*)?)?)?", value):
            raise UsageError(f"“time{sign}{value}”: a time is written 2024, 2024-05 or 2024-05-31.")
        terms.append(Term(key or "text", sign, value, bool(minus)))
    return Filter(tuple(terms))


def conditions(asked: Filter) -> tuple[str, list[Any]]:
    """The terms that stand in columns of the index, as SQL over ``row`` with its values. ``flag``, ``text`` and ``-tag`` do not."""
    parts: list[str] = []
    values: list[Any] = []
    for term in asked.terms:
        one, given = _condition(term)
        if one:
            parts.append(f"NOT ({one})" if term.negated else one)
            values += given
    return " AND ".join(parts), values


def without_tags(asked: Filter) -> list[Term]:
    """Tags that are not meant. Few rows have one, and asking every other row costs as much as all else."""
    return [term for term in asked.of("tag") if term.negated]


def _condition(term: Term) -> tuple[str, list[Any]]:
    marks = ",".join("?" * len(term.choices))
    match term.key:
        case "src":
            likes = " OR ".join("instr(lower(name), ?)" for _ in term.choices)
            return f"source IN (SELECT number FROM source WHERE {likes})", [choice.lower() for choice in term.choices]
        case "tag" if not term.negated:
            return f"key IN (SELECT key FROM tag WHERE name IN ({marks}))", term.choices
        case "lang":
            return f"coalesce(language, '') IN ({marks})", term.choices
        case "id":
            return " OR ".join("id >= ? AND id < ?" for _ in term.choices), [v for c in term.choices for v in (c, c + "\uffff")]
        case "is":
            tests = {"open": "state = 0", "accepted": "state = 1", "rejected": "state = 2", "edited": "edited = 1", "synthetic": "made = 1"}
            return " OR ".join(tests[choice] for choice in term.choices), []
        case "len" | "turns":
            column = "length" if term.key == "len" else "turns"
            return f"{column} {term.sign} ?", [int(term.value)]
        case "time":
            return _time(term)
    return "", []


def _time(term: Term) -> tuple[str, list[Any]]:
    """Times are compared as far as they were given: ``time=2024-05`` is all of May, ``time>2024-05`` what came after it."""
    begins, ends = term.value, term.value + "\uffff"
    match term.sign:
        case "=":
            return "time >= ? AND time < ?", [begins, ends]
        case ">":
            return "time >= ?", [ends]
        case ">=":
            return "time >= ?", [begins]
        case "<":
            return "time <> '' AND time < ?", [begins]
    return "time <> '' AND time < ?", [ends]
