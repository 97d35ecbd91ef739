"""Pairs out of files: TRL's preference rows (with or without an explicit prompt, messages or plain text), ShareGPT's and KTO's.

{"prompt": [messages], "chosen": [message], "rejected": [message]}          trl, what the studio itself stores
{"prompt": "…", "chosen": "…", "rejected": "…"}                             trl, plain text
{"chosen": [messages], "rejected": [messages]}                              trl, the prompt is what both begin with
{"conversations": [{"from", "value"}], "chosen": {…}, "rejected": {…}}      sharegpt
{"prompt": "…", "completion": "…", "label": true}                           kto: rows of one prompt with both labels make pairs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from studio.dialogue.formats import BadRow, Message, joined, message_of, messages_of, read_objects, tidy, told
from studio.preference.store import Pair, make_pair
from studio.reports import AddReport, Fault

FORMATS = ("trl", "sharegpt", "kto")


def read_file(path: Path, report: AddReport, asked: str = "") -> Iterator[Pair]:
    """The good pairs of a file; the others go into ``report`` with their reasons."""
    pairs = PairReader(report.changed)
    for line, raw in read_objects(path, report):
        try:
            kind = asked or detect(raw)
            told(report, kind)
            if pair := pairs.take(raw, line, kind):
                yield pair
        except BadRow as bad:
            report.drop(bad.reason, Fault(str(path), line, str(bad)))
    yield from (pair for pair, _ in pairs.paired())
    for line in pairs.alone():
        report.drop(ALONE, Fault(str(path), line, ALONE_TOLD))


ALONE = "no counterpart"
ALONE_TOLD = "no row of this file has the same prompt and the other label, so nothing is preferred to it"


class _Labelled(msgspec.Struct):
    """KTO's rows of one prompt."""

    prompt: list[Message]
    good: list[tuple[int, str]] = []
    """``(line, reply)``."""
    bad: list[tuple[int, str]] = []


class PairReader:
    """Pairs out of rows. KTO rows hold one reply each and become pairs when all of them are known."""

    def __init__(self, changed: Counter[str]) -> None:
        self.changed = changed
        """Where mends are counted."""
        self.labelled: dict[tuple[tuple[str, str], ...], _Labelled] = {}
        self.used: set[int] = set()

    def take(self, raw: Any, line: int, kind: str) -> Pair | None:
        """The pair of one row; None for a KTO row, which waits. Raises BadRow."""
        if kind == "kto":
            self._label(raw, line)
            return None
        prompt, chosen, rejected = _sharegpt(raw) if kind == "sharegpt" else _trl(raw)
        pair = _checked(prompt, chosen, rejected, self.changed)
        pair.line = line
        return pair

    def _label(self, raw: Any, line: int) -> None:
        label = raw.get("label") if isinstance(raw, dict) else None
        if not isinstance(label, bool):
            raise BadRow("no label", f"'label' holds {type(label).__name__} instead of true or false")
        prompt, completion = _turns(raw, "prompt", "user"), _turns(raw, "completion")
        reply = _one_reply(completion, "completion")
        kept = _checked_prompt(prompt, self.changed)
        held = self.labelled.setdefault(tuple((m.role, m.content) for m in kept), _Labelled(kept))
        (held.good if label else held.bad).append((line, reply))

    def paired(self) -> Iterator[tuple[Pair, tuple[int, int]]]:
        """KTO's pairs with the lines of both: each good reply of a prompt beats a bad one; the fewer are used again until all have theirs."""
        for held in self.labelled.values():
            for number in range(max(len(held.good), len(held.bad)) if held.good and held.bad else 0):
                (line, better), (other, worse) = held.good[number % len(held.good)], held.bad[number % len(held.bad)]
                if better != worse:
                    pair = make_pair(held.prompt, better, worse)
                    pair.line = min(line, other)
                    self.used |= {line, other}
                    yield pair, (line, other)

    def alone(self) -> list[int]:
        """Lines of KTO rows that no pair was made of; to be asked after ``paired``."""
        return sorted(line for held in self.labelled.values() for line, _ in held.good + held.bad if line not in self.used)


def detect(raw: Any) -> str:
    if isinstance(raw, dict) and "chosen" in raw and "rejected" in raw:
        return "sharegpt" if "conversations" in raw else "trl"
    if isinstance(raw, dict) and {"prompt", "completion", "label"} <= raw.keys():
        return "kto"
    raise BadRow("unknown format", "neither 'chosen' and 'rejected' nor 'completion' and 'label' in this row; TRL, ShareGPT and KTO rows are read")


def _trl(raw: Any) -> tuple[list[Message], list[Message], list[Message]]:
    chosen, rejected = (_turns(raw, key) for key in ("chosen", "rejected"))
    if raw.get("prompt") is not None:
        return _turns(raw, "prompt", "user"), chosen, rejected
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _turns(raw: Any, key: str, role: str = "assistant") -> list[Message]:
    value = raw.get(key) if isinstance(raw, dict) else None
    if isinstance(value, str):
        return [Message(role, value)]
    if not isinstance(value, list):
        raise BadRow("no messages", f"{key!r} holds {type(value).__name__} instead of messages or text")
    return [message_of(entry, "messages", {}) for entry in value]


def _sharegpt(raw: Any) -> tuple[list[Message], list[Message], list[Message]]:
    prompt = messages_of(raw, "sharegpt", {})
    chosen, rejected = (message_of(raw.get(key), "sharegpt", {}) for key in ("chosen", "rejected"))
    return prompt, [chosen], [rejected]


def _one_reply(side: list[Message], name: str) -> str:
    """The text of the one reply there has to be. Raises BadRow."""
    if len(side) != 1 or side[0].role != "assistant":
        raise BadRow("more than one reply", f"{name!r} is not one reply of hers: preference compares two replies to the same prompt")
    reply = tidy(side[0].content)
    if not reply:
        raise BadRow("empty reply", f"the {name} reply has no text")
    return reply


def _checked_prompt(prompt: list[Message], changed: Counter[str]) -> list[Message]:
    """The turns before the replies, tidied. Raises BadRow."""
    kept = joined(prompt, changed)
    if not kept:
        raise BadRow("no prompt", "there is no turn before the replies; both need the same prompt")
    if kept[-1].role != "user":
        raise BadRow("prompt without the user's turn", "the prompt does not end with a turn of the user, so neither reply answers anything")
    return kept


def _checked(prompt: list[Message], chosen: list[Message], rejected: list[Message], changed: Counter[str]) -> Pair:
    """The pair these messages make. Raises BadRow."""
    better, worse = _one_reply(chosen, "chosen"), _one_reply(rejected, "rejected")
    if better == worse:
        raise BadRow("identical replies", "chosen and rejected are the same text; nothing is preferred")
    return make_pair(_checked_prompt(prompt, changed), better, worse)
