"""What the dialogue is like, and what is obviously wrong in it."""

from __future__ import annotations

import re
from collections import Counter
from statistics import mean, median
from typing import Any

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.dialogue.store import Row, rows
from studio.lore.sources import language
from studio.persona.folder import Persona
from studio.reports import Fault
from studio.text import normal

ASSISTANT_SPEAK = re.compile(
    r"as an ai|language model|i'm sorry to hear|i cannot assist|feel free to|is there anything else|作为一个?(?:ai|人工智能|语言模型)", re.IGNORECASE
)
"""Phrases that belong to an assistant and to no character."""

PLACEHOLDER = re.compile(r"\{\{(?:char|user)\}\}|<(?:BOT|USER|START)>", re.IGNORECASE)

SAME_REPLY = 3
"""From this many rows on, one reply given word for word is reported."""


def stats(persona: Persona) -> dict[str, Any]:
    """Counts of rows, turns, lengths and languages; tokens by the base's own tokenizer (None while it is not here)."""
    found = list(rows(persona))
    base = locate_base(persona.manifest.base)
    tokenizer = load_tokenizer(base) if base else None
    replies = [reply for row in found for reply in row.replies]
    texts = [m.content for row in found for m in row.messages]
    return {
        "rows": len(found),
        "turns": len(texts),
        "exchanges_per_row": round(mean(len(row.replies) for row in found), 2) if found else 0,
        "replies": len(replies),
        "reply_characters_median": median(map(len, replies)) if replies else 0,
        "characters": sum(map(len, texts)),
        "tokens": sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)) if tokenizer else None,
        "languages": dict(Counter(language(" ".join(row.replies)) for row in found)),
        "sources": dict(Counter(row.source for row in found)),
    }


def check(persona: Persona) -> list[Fault]:
    """Rows that would teach something wrong, each with the file and line it came from."""
    found = list(rows(persona))
    repeated = Counter(normal(reply) for row in found for reply in row.replies if len(reply) > 20)
    faults: list[Fault] = []
    for row in found:
        faults += [Fault(row.source, row.line, f"{row.id}: {what}") for what in row_faults(row, repeated)]
    return faults


def row_faults(row: Row, repeated: Counter[str]) -> list[str]:
    """What is wrong with one row, in words."""
    wrong = []
    if row.messages[0].role == "assistant":
        wrong.append("she speaks first; some templates cannot place that")
    for reply in row.replies:
        if found := ASSISTANT_SPEAK.search(reply):
            wrong.append(f"assistant-speak in her reply: {found[0]!r}")
        if found := PLACEHOLDER.search(reply):
            wrong.append(f"an unfilled placeholder in her reply: {found[0]}")
        if "\ufffd" in reply:
            wrong.append("a character of her reply was lost in an earlier conversion (\ufffd)")
        if (times := repeated[normal(reply)]) >= SAME_REPLY:
            wrong.append(f"this reply stands {times} times word for word: {reply[:40]!r}")
    return wrong
