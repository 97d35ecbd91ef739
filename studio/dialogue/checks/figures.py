"""What the dialogue is like, in numbers."""

from __future__ import annotations

from array import array
from collections import Counter
from statistics import mean, median
from typing import Any

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.dialogue.store import rows
from studio.lore.languages import spoken
from studio.persona.folder import Persona

GOOD_SIZE = range(4, 7)
"""Exchanges a row that role-play sets are known to be well served with."""

AT_A_TIME = 2000
"""Turns that are tokenized at a time."""


def stats(persona: Persona) -> dict[str, Any]:
    """Counts of rows, turns, lengths and languages; tokens by the base's own tokenizer (None while it is not here).

    Rows are read one after the other and not held.
    """
    base = locate_base(persona.manifest.base)
    tokenizer = load_tokenizer(base) if base else None
    exchanges, hers, asked = array("I"), array("I"), array("I")
    turns = characters = tokens = 0
    languages: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    waiting: list[str] = []

    def count_tokens() -> int:
        counted = sum(len(e.ids) for e in tokenizer.encode_batch_fast(waiting, add_special_tokens=False)) if tokenizer else 0
        waiting.clear()
        return counted

    for row in rows(persona):
        exchanges.append(sum(m.role == "assistant" for m in row.messages))
        for message in row.messages:
            turns += 1
            characters += len(message.content)
            if message.role != "system":
                (hers if message.role == "assistant" else asked).append(len(message.content))
            waiting.append(message.content)
        languages[spoken(" ".join(row.replies)[:400]) or "unclear"] += 1
        sources[row.source] += 1
        if len(waiting) >= AT_A_TIME:
            tokens += count_tokens()
    tokens += count_tokens()
    longest_first = sorted(hers, reverse=True)
    return {
        "rows": len(exchanges),
        "turns": turns,
        "exchanges_per_row": round(mean(exchanges), 2) if exchanges else 0,
        "exchanges_median": median(exchanges) if exchanges else 0,
        "rows_of_4_to_6_exchanges": round(sum(number in GOOD_SIZE for number in exchanges) / len(exchanges), 3) if exchanges else 0,
        "replies": len(hers),
        "reply_characters_median": median(hers) if hers else 0,
        "reply_characters_1_in_20_longer": longest_first[len(hers) // 20] if hers else 0,
        "reply_to_prompt_length": round(median(hers) / max(1, median(asked)), 2) if hers and asked else None,
        "characters": characters,
        "tokens": tokens if tokenizer else None,
        "languages": dict(languages.most_common()),
        "sources": dict(sources.most_common()),
    }
