"""Pairs looked up, judged, tagged and changed by hand, each a step that can be taken back: as conversations are (``studio.dialogue.steps``)."""

from __future__ import annotations

from typing import Any

import msgspec

from studio.dialogue.formats import tidy
from studio.dialogue.index import RowIndex
from studio.dialogue.steps import Change, RowEditor, with_fields
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.preference.store import SIDES, Pair
from studio.shards import Shard


class PairIndex(RowIndex[Pair]):
    kind = "preference"
    row_type = Pair


class PairEditor(RowEditor[Pair]):
    """Changes the preference set of a persona. A pair made of votes keeps its id, so that the votes do not bring the old one back."""

    noun = "preference pair"
    counted = "pair"
    kept_in = "undo-preference"

    def __init__(self, persona: Persona, index: RowIndex[Pair] | None = None) -> None:
        super().__init__(persona, PairIndex(persona) if index is None else index)

    def rewrite(self, identity: str, turn: int, text: str) -> str:
        """Give one of its ``messages`` (from 0: the prompt's turns, then the better and the worse reply) another text."""
        row, text = self.row(identity), tidy(text)
        if not 0 <= turn < len(row.messages):
            raise StudioError(f"{identity} has {len(row.messages)} texts, so there is none of number {turn + 1}.")
        if not text:
            raise StudioError("A pair needs all its texts; x rejects it, and it is never built.")
        side = SIDES[turn - len(row.prompt)] if turn >= len(row.prompt) else "prompt"
        texts = [text if number == turn else message.content for number, message in enumerate(row.messages)]
        if texts[-2] == texts[-1]:
            raise StudioError("Chosen and rejected would be the same text; nothing would be preferred.")
        told = [msgspec.structs.replace(message, content=said) for message, said in zip(row.messages, texts, strict=True)]
        ends = len(row.prompt)
        parts = {"prompt": told[:ends], "chosen": told[ends : ends + len(row.chosen)], "rejected": told[ends + len(row.chosen) :]}
        changed: dict[str, Any] = {side: msgspec.to_builtins(parts[side]), "edited": True}
        if side in row.cut:
            # What is written by hand ends where it was meant to.
            changed["cut"] = [name for name in row.cut if name != side] or None
        return self._write(identity, changed, f"{identity} edited")

    def swap(self, identity: str) -> str:
        """The other reply was the better one."""
        row = self.row(identity)
        other = dict(zip(SIDES, reversed(SIDES), strict=True))
        sides = {"chosen": msgspec.to_builtins(row.rejected), "rejected": msgspec.to_builtins(row.chosen)}
        return self._write(
            identity, {**sides, "cut": [other[name] for name in row.cut] or None, "edited": True}, f"the replies of {identity} swapped"
        )

    def _write(self, identity: str, changed: dict[str, Any], words: str) -> str:
        def change(shard: Shard, place: int) -> list[Change]:
            return with_fields(shard, place, changed)

        return self._each([identity], change, lambda number: words if number else "")
