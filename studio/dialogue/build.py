"""From dialogue rows to a frozen snapshot."""

from __future__ import annotations

from typing import Any

import msgspec

from studio.dialogue.store import Row, rows, shards
from studio.errors import StudioError
from studio.files import sha256_file
from studio.lore.passages import weight
from studio.persona.folder import Persona
from studio.snapshots import VAL_SHARE, Snapshot, choose_val, freeze
from studio.text import normal

SHARED_TURN = 30
"""Turns at least this heavy (Han characters count three) tie the rows that share them to one side of the split; ``Yes.`` does not."""


def build(persona: Persona, val_share: float = VAL_SHARE, seed: int = 17) -> Snapshot:
    """Freeze the dialogue as it is now. The persona's system prompt, if it has one, is put before every conversation."""
    found = list(rows(persona))
    if not found:
        raise StudioError(f"There is no dialogue in {persona.name} yet; add some with: studio dialogue add PATH.")
    holders: dict[str, list[int]] = {}
    for index, row in enumerate(found):
        for turn in {normal(m.content) for m in row.messages if m.role != "system"}:
            if weight(turn) >= SHARED_TURN:
                holders.setdefault(turn, []).append(index)
    shared = [indexes for indexes in holders.values() if len(indexes) > 1]
    val = choose_val(len(found), shared, lambda i: found[i].id, val_share, seed)
    if not val:
        raise StudioError(f"The dialogue of {persona.name} cannot be split: all its {len(found)} rows share turns; add other conversations.")
    return freeze(
        persona,
        "dialogue",
        {f"dialogue/{shard.name}": sha256_file(shard) for shard in shards(persona)},
        [_frozen(persona, row) for i, row in enumerate(found) if i not in val],
        [_frozen(persona, row) for i, row in enumerate(found) if i in val],
        lambda row: [message["content"] for message in row["messages"]],
        seed,
        val_share,
        {"rows that share turns": sum(map(len, shared))},
    )


def _frozen(persona: Persona, row: Row) -> dict[str, Any]:
    messages = [{"role": m.role, "content": m.content} for m in row.messages]
    prompt = persona.manifest.character.system_prompt
    if prompt and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": prompt})
    return {"messages": messages, "id": row.id, "source": row.source, "line": row.line, "tags": msgspec.to_builtins(row.tags)}
