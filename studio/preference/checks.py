"""What the preference set is like, and what in it would teach something wrong."""

from __future__ import annotations

import re
from collections import Counter
from math import sqrt
from statistics import median
from typing import Any, NamedTuple

from studio.checkpoints.base import load_tokenizer, locate_base
from studio.dialogue import flags
from studio.dialogue.checks.litter import PLACEHOLDER
from studio.dialogue.flags import Flag, Flagged
from studio.dialogue.store import REJECTED
from studio.lore.languages import language
from studio.persona.folder import Persona
from studio.phrases import ASSISTANT, REFUSAL, Phrases
from studio.preference.build import contradictions, prompt_key
from studio.preference.editing import PairIndex
from studio.preference.store import Pair, rows, shards
from studio.progress import Progress, quiet
from studio.reports import Fault
from studio.text import normal

MODEL_NAME = re.compile(r"\b(?:chatgpt|gpt-?[345]|qwen|llama|gemma|mistral|deepseek|claude|openai|anthropic)\b|通义千问|千问|深度求索", re.IGNORECASE)
"""Names of models and their makers, which no character says of herself."""

_STOCK = (Phrases(ASSISTANT), Phrases(REFUSAL))

BIASED_SHARE = 0.65
"""From this share on (and beyond chance) that the longer reply was chosen, length itself is what will be learned."""

SHOWN = 3
"""Ids named as examples of a fault of the whole set."""

FAR = 2.0
"""In a set that is biased by length, the pairs whose one reply is so many times as long as the other are flagged."""

CHECKS = {
    "contradiction": "another pair says the opposite",
    "again": "another pair says the same",
    "length": "it leans to long (or short) replies as the whole set does",
    "cut": "a reply ended at the length limit",
    "assistant-speak": "the chosen reply speaks as an assistant",
    "names-a-model": "the chosen reply names a model or its maker",
    "names-itself": "the chosen reply says which checkpoint it is of",
    "placeholder": "an unfilled placeholder in the chosen reply",
    "lost-character": "a character that an earlier conversion lost",
    "same": "chosen and rejected say the same",
    "empty": "a reply without text",
    "shape": "not one reply on each side",
}
"""By name, what each flags."""


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


def up_to_date(persona: Persona) -> bool:
    """Whether the flags are about the pairs as they are: nothing was added or changed since."""
    made = flags.ran(persona, PairIndex.kind)
    return bool(made) and all(shard.stat().st_mtime <= min(one.t for one in made.values()) for shard in shards(persona))


def check(persona: Persona, progress: Progress = quiet) -> list[Fault]:
    """Pairs that would teach something wrong, each by its id, with the file and line it came from; then what the set as a whole would.

    Rejected pairs are not looked at. What is found is kept as flags of the rows (``studio.dialogue.flags``).
    """
    found = [row for row in rows(persona) if row.state != REJECTED]
    by_row = _flags(found, progress)
    faults = []
    for row in found:
        where = f"{row.id} ({row.origin.round})" if row.origin else row.id
        faults += [Fault(row.source, row.line, f"{where}: {flag.what}") for flag in by_row.get(row.id, [])]
    bias = _length_bias(found)
    for flag in bias.flags if bias else ():
        by_row.setdefault(flag[0], []).append(flag[1])
    texts = {row.id: flags.text_of(row) for row in found}
    for name in CHECKS:
        of_check = ((identity, [flag for flag in said if flag.check == name]) for identity, said in by_row.items())
        flags.keep(persona, name, 0.0, len(found), (Flagged(identity, texts[identity], said) for identity, said in of_check if said), PairIndex.kind)
    return [*faults, bias.fault] if bias else faults


def _flags(found: list[Pair], progress: Progress) -> dict[str, list[Flag]]:
    """What is wrong with each pair by itself and beside the others, by its id."""
    opposed = contradictions(found)
    first: dict[tuple[str, str, str], str] = {}
    by_row: dict[str, list[Flag]] = {}
    for number, row in enumerate(found):
        if number % 200 == 0:
            progress("pairs checked", number, len(found))
        wrong = row_flags(row)
        if other := opposed.get(row.id):
            what = f"contradicts {other}: there the other reply was better; both are left out of the build"
            wrong.append(Flag("contradiction", what, other=other))
        texts = prompt_key(row), normal(row.better), normal(row.worse)
        if (same := first.setdefault(texts, row.id)) != row.id:
            wrong.append(Flag("again", f"says the same as {same}, but for case and spacing", other=same))
        if wrong:
            by_row[row.id] = wrong
    return by_row


def row_flags(row: Pair) -> list[Flag]:
    """What is wrong with one pair, in words."""
    if len(row.chosen) != 1 or len(row.rejected) != 1:
        return [Flag("shape", "chosen and rejected must be one reply each")]
    chosen, rejected = len(row.prompt), len(row.prompt) + 1
    places = {"chosen": chosen, "rejected": rejected}
    wrong = [
        Flag("empty", f"the {name} reply is empty", message=places[name])
        for name, text in (("chosen", row.better), ("rejected", row.worse))
        if not text.strip()
    ]
    if normal(row.better) == normal(row.worse):
        wrong.append(Flag("same", "chosen and rejected are the same" + ("" if row.better == row.worse else ", but for case and spacing")))
    for name in row.cut:
        what = f"the {name} reply was cut off at the length limit; its last words are no end of hers"
        wrong.append(Flag("cut", what, message=places[name]))
    if spans := [span for phrases in _STOCK for span in phrases.find(row.better)]:
        start, stop = spans[0]
        wrong.append(Flag("assistant-speak", f"assistant-speak in the chosen reply: {row.better[start:stop]!r}", 0.0, chosen, start, stop))
    if found := MODEL_NAME.search(row.better):
        wrong.append(Flag("names-a-model", f"the chosen reply names a model: {found[0]!r}", 0.0, chosen, *found.span()))
    if row.origin and (named := [c for c in {row.origin.chosen, row.origin.rejected} - {"", "base"} if c in row.better]):
        wrong.append(Flag("names-itself", f"the chosen reply names itself: {named[0]!r}", message=chosen))
    if found := PLACEHOLDER.search(row.better):
        wrong.append(Flag("placeholder", f"an unfilled placeholder in the chosen reply: {found[0]}", 0.0, chosen, *found.span()))
    if "\ufffd" in row.better:
        wrong.append(Flag("lost-character", "a character of the chosen reply was lost in an earlier conversion (\ufffd)", message=chosen))
    return wrong


class Bias(NamedTuple):
    fault: Fault
    """About the whole set."""
    flags: list[tuple[str, Flag]]
    """The pairs that make it, by id."""


def _length_bias(found: list[Pair]) -> Bias | None:
    """Length bias of the set, told only where it is more than chance (two standard deviations of a fair coin)."""
    unequal = [row for row in found if len(row.better) != len(row.worse)]
    longer = sum(len(row.better) > len(row.worse) for row in unequal)
    most = max(longer, len(unequal) - longer)
    if not unequal or most / len(unequal) < BIASED_SHARE or most - len(unequal) / 2 <= sqrt(len(unequal)):
        return None
    which = "longer" if longer == most else "shorter"
    ratio = length_bias(found)["length_ratio_median"]
    extreme = sorted(unequal, key=_ratio, reverse=which == "longer")
    fault = Fault(
        "preference",
        0,
        f"length bias: the {which} reply was chosen in {most / len(unequal):.0%} of {len(unequal)} pairs (chosen is {ratio:.2f} times as long, "
        f"median), so length will be learned; most of all in {', '.join(row.id for row in extreme[:SHOWN])}",
    )
    far = [row for row in extreme if (_ratio(row) if which == "longer" else 1 / max(_ratio(row), 0.001)) >= FAR]
    what = f"the set leans to the {which} reply, and here chosen is {{:.1f}} times as long"
    return Bias(fault, [(row.id, Flag("length", what.format(_ratio(row)), _ratio(row))) for row in far])


def _ratio(row: Pair) -> float:
    return len(row.better) / max(len(row.worse), 1)
