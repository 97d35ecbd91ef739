"""From pairs to a frozen snapshot."""

from __future__ import annotations

from typing import Any

import msgspec

from studio.dialogue.store import REJECTED
from studio.errors import StudioError
from studio.files import sha256_file
from studio.lore.passages import weight
from studio.persona.folder import Persona
from studio.preference.store import Pair, rows, shards
from studio.snapshots import VAL_SHARE, Snapshot, choose_val, freeze
from studio.text import normal

SHARED_TURN = 30
"""Replies at least this heavy (Han characters count three) tie the pairs that share them to one side of the split."""

MOST_TIED = 4
"""Pairs a shared reply ties at least, however small the set."""


def prompt_key(pair: Pair) -> str:
    """The form in which two prompts are the same one."""
    return "\0".join(f"{m.role}\1{normal(m.content)}" for m in pair.prompt if m.role != "system")


def contradictions(found: list[Pair]) -> dict[str, str]:
    """Pairs of which another one says the opposite: their ids, each with the other's."""
    seen: dict[tuple[str, str, str], str] = {}
    opposed: dict[str, str] = {}
    for pair in found:
        key, better, worse = prompt_key(pair), normal(pair.better), normal(pair.worse)
        seen[key, better, worse] = pair.id
        if better != worse and (other := seen.get((key, worse, better))):
            opposed[pair.id], opposed[other] = other, pair.id
    return opposed


def build(persona: Persona, val_share: float = VAL_SHARE, seed: int = 17) -> Snapshot:
    """Freeze the pairs as they are now. Rejected ones and those that contradict each other are left out and counted; one prompt is never on
    both sides."""
    every = list(rows(persona))
    if not every:
        raise StudioError(f"There is no preference in {persona.name} yet; vote, then: studio review pairs (or: studio preference add PATH).")
    stored = [pair for pair in every if pair.state != REJECTED]
    opposed = contradictions(stored)
    found = [pair for pair in stored if pair.id not in opposed]
    prompts, tied, common = _shared(found, val_share)
    val = choose_val(len(found), [*prompts, *tied], lambda i: found[i].id, val_share, seed)
    if not val:
        raise StudioError(
            f"The preference of {persona.name} cannot be split: its {len(found)} usable pairs all belong to one prompt or share replies; "
            "vote on other prompts."
        )
    return freeze(
        persona,
        "preference",
        {f"preference/{shard.name}": sha256_file(shard) for shard in shards(persona)},
        [_frozen(persona, row) for i, row in enumerate(found) if i not in val],
        [_frozen(persona, row) for i, row in enumerate(found) if i in val],
        # What a training reads: the prompt goes before both replies.
        lambda row: [m["content"] for m in [*row["prompt"], *row["prompt"], *row["chosen"], *row["rejected"]]],
        seed,
        val_share,
        {
            "pairs left out that were rejected": len(every) - len(stored),
            "pairs left out that contradict each other": len(opposed),
            "pairs with a reply too common to keep on one side (the validation flatters them)": len(common),
        },
    )


def _shared(found: list[Pair], val_share: float) -> tuple[list[list[int]], list[list[int]], set[int]]:
    """Groups of pairs that must stay together: of one prompt; and where a reply of one stands in another, as reply or in its prompt.

    What stands in prompts alone (a greeting every talk begins with) ties nothing. Nor does a reply that more pairs share than are held out
    (the same refusal, rejected a hundred times): tied, they would leave nothing to hold out. These pairs come last.
    """
    prompts: dict[str, list[int]] = {}
    holders: dict[str, set[int]] = {}
    replies: set[str] = set()
    for index, pair in enumerate(found):
        prompts.setdefault(prompt_key(pair), []).append(index)
        said = {normal(pair.better), normal(pair.worse)}
        replies |= said
        for text in said | {normal(m.content) for m in pair.prompt if m.role == "assistant"}:
            if weight(text) >= SHARED_TURN:
                holders.setdefault(text, set()).add(index)
    groups = [sorted(holders[text]) for text in sorted(replies & holders.keys())]
    most = max(MOST_TIED, round(len(found) * val_share))
    common = {index for group in groups if len(group) > most for index in group}
    return list(prompts.values()), [group for group in groups if len(group) <= most], common


def _frozen(persona: Persona, pair: Pair) -> dict[str, Any]:
    def plain(messages: list[Any]) -> list[dict[str, str]]:
        return [{"role": m.role, "content": m.content} for m in messages]

    prompt = plain(pair.prompt)
    system = persona.manifest.character.system_prompt
    if system and prompt[0]["role"] != "system":
        prompt.insert(0, {"role": "system", "content": system})
    frozen = {"prompt": prompt, "chosen": plain(pair.chosen), "rejected": plain(pair.rejected), "id": pair.id, "source": pair.source}
    more = {"line": pair.line, "cut": pair.cut, "origin": msgspec.to_builtins(pair.origin), "tags": pair.tags}
    return frozen | more | ({"edited": True} if pair.edited else {})
