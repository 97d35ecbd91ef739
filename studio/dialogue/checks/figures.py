"""What the dialogue is like, in numbers."""

from __future__ import annotations

from collections import Counter
from statistics import mean, median
from typing import Any

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.dialogue.store import rows
from studio.lore.sources import language
from studio.persona.folder import Persona

GOOD_SIZE = range(4, 7)
"""Exchanges a row that role-play sets are known to be well served with."""


def stats(persona: Persona) -> dict[str, Any]:
    """Counts of rows, turns, lengths and languages; tokens by the base's own tokenizer (None while it is not here)."""
    found = list(rows(persona))
    base = locate_base(persona.manifest.base)
    tokenizer = load_tokenizer(base) if base else None
    replies = [reply for row in found for reply in row.replies]
    asked = [m.content for row in found for m in row.messages if m.role == "user"]
    texts = [m.content for row in found for m in row.messages]
    exchanges = [len(row.replies) for row in found]
    lengths = sorted(map(len, replies))
    return {
        "rows": len(found),
        "turns": len(texts),
        "exchanges_per_row": round(mean(exchanges), 2) if found else 0,
        "exchanges_median": median(exchanges) if found else 0,
        "rows_of_4_to_6_exchanges": round(sum(number in GOOD_SIZE for number in exchanges) / len(found), 3) if found else 0,
        "replies": len(replies),
        "reply_characters_median": median(lengths) if replies else 0,
        "reply_characters_1_in_20_longer": lengths[-(len(lengths) // 20) - 1] if replies else 0,
        "reply_to_prompt_length": round(median(lengths) / max(1, median(map(len, asked))), 2) if replies and asked else None,
        "characters": sum(map(len, texts)),
        "tokens": sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)) if tokenizer else None,
        "languages": dict(Counter(language(" ".join(row.replies)) for row in found)),
        "sources": dict(Counter(row.source for row in found)),
    }
