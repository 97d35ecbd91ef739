"""What the preference set is like, and what in it would teach something wrong."""

from __future__ import annotations

import re
from collections import Counter
from math import sqrt
from statistics import median
from typing import Any

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.dialogue.checks.litter import PLACEHOLDER
from studio.lore.languages import language
from studio.persona.folder import Persona
from studio.phrases import ASSISTANT, REFUSAL, Phrases
from studio.preference.build import contradictions, prompt_key
from studio.preference.store import Pair, rows
from studio.reports import Fault
from studio.text import normal

MODEL_NAME = re.compile(r"\b(?:chatgpt|gpt-?[345]|qwen|llama|gemma|mistral|deepseek|claude|openai|anthropic)\b|通义千问|千问|深度求索", re.IGNORECASE)
"""Names of models and their makers, which no character says of herself."""

_STOCK = (Phrases(ASSISTANT), Phrases(REFUSAL))

BIASED_SHARE = 0.65
"""From this share on (and beyond chance) that the longer reply was chosen, length itself is what will be learned."""

SHOWN = 3
"""Ids named as examples of a fault of the whole set."""


def stats(persona: Persona) -> dict[str, Any]:
    """Counts of pairs, prompts, lengths, languages and where they came from; tokens by the base's own tokenizer (None without it)."""
    found = list(rows(persona))
    base = locate_base(persona.manifest.base)
    tokenizer = load_tokenizer(base) if base else None
    texts = [text for row in found for text in (*(m.content for m in row.prompt), row.better, row.worse)]
    return {
        "pairs": len(found),
        "prompts": len({prompt_key(row) for row in found}),
        "prompt_turns_median": median(len(row.prompt) for row in found) if found else 0,
        "chosen_characters_median": median(len(row.better) for row in found) if found else 0,
        "rejected_characters_median": median(len(row.worse) for row in found) if found else 0,
        **length_bias(found),
        "contradictions": len(contradictions(found)),
        "cut_off": sum(bool(row.cut) for row in found),
        "characters": sum(map(len, texts)),
        "tokens": sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)) if tokenizer else None,
        "languages": dict(Counter(language(row.better) for row in found)),
        "sources": dict(Counter(row.source for row in found)),
        "made_by": dict(Counter(row.origin.how if row.origin else "file" for row in found)),
        "blind": sum(row.origin.blind for row in found if row.origin),
    }


def length_bias(found: list[Pair]) -> dict[str, float | None]:
    """How often the longer reply was chosen (None without pairs of unequal length), and how many times as long the chosen one is, median."""
    unequal = [(len(row.better), len(row.worse)) for row in found if len(row.better) != len(row.worse)]
    return {
        "longer_chosen": round(sum(a > b for a, b in unequal) / len(unequal), 3) if unequal else None,
        "length_ratio_median": round(median(len(row.better) / max(len(row.worse), 1) for row in found), 3) if found else None,
    }


def check(persona: Persona) -> list[Fault]:
    """Pairs that would teach something wrong, each by its id, with the file and line it came from; then what the set as a whole would."""
    found = list(rows(persona))
    opposed = contradictions(found)
    first: dict[tuple[str, str, str], str] = {}
    faults: list[Fault] = []
    for row in found:
        wrong = row_faults(row)
        if other := opposed.get(row.id):
            wrong.append(f"contradicts {other}: there the other reply was better; both are left out of the build")
        texts = prompt_key(row), normal(row.better), normal(row.worse)
        if (same := first.setdefault(texts, row.id)) != row.id:
            wrong.append(f"says the same as {same}, but for case and spacing")
        where = f"{row.id} ({row.origin.round})" if row.origin else row.id
        faults += [Fault(row.source, row.line, f"{where}: {what}") for what in wrong]
    return faults + _whole(found)


def row_faults(row: Pair) -> list[str]:
    """What is wrong with one pair, in words."""
    if len(row.chosen) != 1 or len(row.rejected) != 1:
        return ["chosen and rejected must be one reply each"]
    wrong = [f"the {name} reply is empty" for name, text in (("chosen", row.better), ("rejected", row.worse)) if not text.strip()]
    if normal(row.better) == normal(row.worse):
        wrong.append("chosen and rejected are the same" + ("" if row.better == row.worse else ", but for case and spacing"))
    for name in row.cut:
        wrong.append(f"the {name} reply was cut off at the length limit; its last words are no end of hers")
    if spans := [span for phrases in _STOCK for span in phrases.find(row.better)]:
        wrong.append(f"assistant-speak in the chosen reply: {row.better[slice(*spans[0])]!r}")
    if found := MODEL_NAME.search(row.better):
        wrong.append(f"the chosen reply names a model: {found[0]!r}")
    if row.origin and (named := [c for c in {row.origin.chosen, row.origin.rejected} - {"", "base"} if c in row.better]):
        wrong.append(f"the chosen reply names itself: {named[0]!r}")
    if found := PLACEHOLDER.search(row.better):
        wrong.append(f"an unfilled placeholder in the chosen reply: {found[0]}")
    if "\ufffd" in row.better:
        wrong.append("a character of the chosen reply was lost in an earlier conversion (\ufffd)")
    return wrong


def _whole(found: list[Pair]) -> list[Fault]:
    """Length bias of the set, told only where it is more than chance (two standard deviations of a fair coin)."""
    unequal = [row for row in found if len(row.better) != len(row.worse)]
    longer = sum(len(row.better) > len(row.worse) for row in unequal)
    most = max(longer, len(unequal) - longer)
    if not unequal or most / len(unequal) < BIASED_SHARE or most - len(unequal) / 2 <= sqrt(len(unequal)):
        return []
    which = "longer" if longer == most else "shorter"
    ratio = length_bias(found)["length_ratio_median"]
    extreme = sorted(unequal, key=lambda row: len(row.better) / len(row.worse), reverse=which == "longer")[:SHOWN]
    return [
        Fault(
            "preference",
            0,
            f"length bias: the {which} reply was chosen in {most / len(unequal):.0%} of {len(unequal)} pairs (chosen is {ratio:.2f} times as long, "
            f"median), so length will be learned; most of all in {', '.join(row.id for row in extreme)}",
        )
    ]
