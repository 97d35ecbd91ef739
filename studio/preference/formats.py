"""Pairs out of files: TRL's preference rows (with or without an explicit prompt, messages or plain text) and ShareGPT's.

{"prompt": [messages], "chosen": [message], "rejected": [message]}          trl, what the studio itself stores
{"prompt": "…", "chosen": "…", "rejected": "…"}                             trl, plain text
{"chosen": [messages], "rejected": [messages]}                              trl, the prompt is what both begin with
{"conversations": [{"from", "value"}], "chosen": {…}, "rejected": {…}}      sharegpt
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.dialogue.formats import BadRow, Message, joined, message_of, messages_of, read_objects, tidy, told
from studio.preference.store import Pair, make_pair
from studio.reports import AddReport, Fault

FORMATS = ("trl", "sharegpt")


def read_file(path: Path, report: AddReport, asked: str = "") -> Iterator[Pair]:
    """The good pairs of a file; the others go into ``report`` with their reasons."""
    for line, raw in read_objects(path, report):
        try:
            kind = asked or detect(raw)
            told(report, kind)
            prompt, chosen, rejected = _sharegpt(raw) if kind == "sharegpt" else _trl(raw)
            pair = _checked(prompt, chosen, rejected, report)
            pair.line = line
            yield pair
        except BadRow as bad:
            report.drop(bad.reason, Fault(str(path), line, str(bad)))


def detect(raw: Any) -> str:
    if isinstance(raw, dict) and "chosen" in raw and "rejected" in raw:
        return "sharegpt" if "conversations" in raw else "trl"
    raise BadRow("unknown format", "no 'chosen' and 'rejected' in this row; only TRL and ShareGPT preference rows are read")


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


def _checked(prompt: list[Message], chosen: list[Message], rejected: list[Message], report: AddReport) -> Pair:
    """The pair these messages make. Raises BadRow."""
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if len(side) != 1 or side[0].role != "assistant":
            raise BadRow("more than one reply", f"{name!r} is not one reply of hers: preference compares two replies to the same prompt")
    better, worse = tidy(chosen[0].content), tidy(rejected[0].content)
    if not better or not worse:
        raise BadRow("empty reply", f"the {'chosen' if not better else 'rejected'} reply has no text")
    if better == worse:
        raise BadRow("identical replies", "chosen and rejected are the same text; nothing is preferred")
    kept = joined(prompt, report)
    if not kept:
        raise BadRow("no prompt", "there is no turn before the replies; both need the same prompt")
    if kept[-1].role != "user":
        raise BadRow("prompt without the user's turn", "the prompt does not end with a turn of the user, so neither reply answers anything")
    return make_pair(kept, better, worse)
