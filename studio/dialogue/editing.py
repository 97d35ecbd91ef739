"""Conversations changed by hand: judged, tagged, edited, split, merged, taken out; each a step that can be taken back (``steps``)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from studio.dialogue.formats import BadRow, Message, joined, tidy
from studio.dialogue.index import Index, RowIndex
from studio.dialogue.steps import Change, RowEditor, with_fields
from studio.dialogue.store import SYNTHETIC, Row, row_id
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.shards import Shard
from studio.text import count


class Editor(RowEditor[Row]):
    """Changes the dialogue of a persona."""

    noun = "dialogue row"

    def __init__(self, persona: Persona, index: RowIndex[Row] | None = None) -> None:
        super().__init__(persona, Index(persona) if index is None else index)

    def write(self, identity: str, messages: Sequence[Message]) -> str:
        """Give a row other turns."""
        told = _whole(messages)

        def change(shard: Shard, place: int) -> list[Change]:
            return with_fields(shard, place, {"messages": msgspec.to_builtins(told), "edited": True})

        return self._each([identity], change, lambda number: f"{identity} edited" if number else "", quiet)

    def rewrite(self, identity: str, turn: int, text: str) -> str:
        """Give one turn (from 0) another text; an empty one takes the turn out."""
        row = self.row(identity)
        if not 0 <= turn < len(row.messages):
            raise StudioError(f"{identity} has {count(len(row.messages), 'turn')}, so there is no turn {turn + 1}.")
        messages = list(row.messages)
        messages[turn] = Message(messages[turn].role, tidy(text), messages[turn].name)
        return self.write(identity, [m for m in messages if m.content])

    def reword(self, texts: Mapping[str, tuple[Sequence[str], Sequence[str]]], what: str, progress: Progress = quiet) -> str:
        """Give all turns of many rows other texts, at one stroke: ``(before, after)`` by id. Rows that say something else by now stay as they are."""

        def change(shard: Shard, place: int) -> list[Change]:
            told = shard.value(place)["messages"]
            before, after = texts[shard.id_at(place)]
            if [message["content"] for message in told] != list(before):
                return []
            messages = [message | {"content": text} for message, text in zip(told, after, strict=True)]
            return with_fields(shard, place, {"messages": messages, "edited": True})

        return self._each(list(texts), change, lambda number: f"{count(number, 'row')}: {what}", progress)

    def split(self, identity: str, turn: int) -> tuple[str, list[str]]:
        """Cut a row in two before that turn (from 0); both begin with its system message. What was done, and both ids."""
        row = self.row(identity)
        system = [m for m in row.messages[:1] if m.role == "system"]
        if not len(system) < turn < len(row.messages):
            raise StudioError(f"{identity} cannot be split before its turn {turn + 1}: there would be nothing on one side.")
        try:
            first, second = _whole(row.messages[:turn]), _whole([*system, *row.messages[turn:]])
        except StudioError as error:
            raise StudioError(f"{identity} cannot be split before its turn {turn + 1}: each part needs both sides. {error}") from error
        new = self._free(row_id(second))
        ids = row.message_ids if len(row.message_ids) == len(row.messages) else []

        def change(shard: Shard, place: int) -> list[Change]:
            fields: dict[str, Any] = {"messages": msgspec.to_builtins(first)}
            other = shard.value(place) | {"id": new, "messages": msgspec.to_builtins(second), "of": [identity]}
            other.pop("time", None)
            other.pop("message_ids", None)
            if ids:
                fields["message_ids"] = ids[:turn]
                other["message_ids"] = ids[turn:]
            return [*with_fields(shard, place, fields), Change(shard.path.name, new, None, other, identity)]

        return self._each([identity], change, lambda number: f"{identity} split before turn {turn + 1}"), [identity, new]

    def merge(self, ids: Sequence[str]) -> tuple[str, str]:
        """Make one row of several, in their order; it takes the first one's place and id. What was done, and that id."""
        if len(set(ids)) < 2:
            raise StudioError("Merging takes two rows or more.")
        keys = sorted(self._keys(ids).items(), key=lambda item: item[1])
        order = [identity for identity, _ in keys]
        rows = [self.row(identity) for identity in order]
        system = [m for row in rows for m in row.messages[:1] if m.role == "system"]
        if len({m.content for m in system}) > 1:
            raise StudioError("These rows have different system messages; make them alike before they are merged.")
        told = _whole(system[:1] + [m for row in rows for m in row.messages if m.role != "system"])
        fields: dict[str, Any] = {
            "messages": msgspec.to_builtins(told),
            "of": list(dict.fromkeys(one for row in rows for one in (*row.of, row.id) if one != order[0])),
            "tags": list(dict.fromkeys(tag for row in rows for tag in row.tags)) or None,
            "made": SYNTHETIC if any(row.made == SYNTHETIC for row in rows) else rows[0].made or None,
            "state": rows[0].state if len({row.state for row in rows}) == 1 and rows[0].state else None,
            "message_ids": [one for row in rows for one in row.message_ids] or None,
            "edited": any(row.edited for row in rows) or None,
        }

        def change(shard: Shard, place: int) -> list[Change]:
            if shard.id_at(place) == order[0]:
                return with_fields(shard, place, fields)
            return [Change(shard.path.name, shard.id_at(place), shard.value(place), None, shard.id_at(place - 1))]

        return self._each(order, change, lambda number: f"{count(number, 'row')} merged into {order[0]}"), order[0]

    def _free(self, identity: str) -> str:
        """``identity``, or one like it that no row has."""
        taken = self.index.keys_of([identity, *(f"{identity}-{n}" for n in range(2, 100))])
        return next(one for one in (identity, *(f"{identity}-{n}" for n in range(2, 100))) if one not in taken)


_HEAD = re.compile(r"^### (system|user|assistant)(?: \((.*)\))?[ \t]*$", re.MULTILINE)


def as_text(row: Row) -> str:
    """A conversation to be changed in an editor: each turn under a line ``### user`` or ``### assistant``."""
    heads = [f"### {m.role} ({m.name})" if m.name else f"### {m.role}" for m in row.messages]
    # A line of a turn that looks like such a head is set off by a backslash.
    return (
        "\n\n".join(f"{head}\n{_HEAD.sub(lambda found: chr(92) + found[0], m.content)}" for head, m in zip(heads, row.messages, strict=True)) + "\n"
    )


def from_text(text: str) -> list[Message]:
    """The turns of a text as ``as_text`` writes it. StudioError if it does not begin with the head of a turn."""
    heads = list(_HEAD.finditer(text))
    if not heads or text[: heads[0].start()].strip():
        raise StudioError("The text has to begin with a line “### user”, “### assistant” or “### system”; nothing was changed.")
    ends = [*(head.start() for head in heads[1:]), len(text)]
    parts = [(head, re.sub(r"^\\(?=### )", "", text[head.end() : end], flags=re.MULTILINE)) for head, end in zip(heads, ends, strict=True)]
    return [Message(head[1], tidy(part), head[2] or "") for head, part in parts]


def _whole(messages: Iterable[Message]) -> list[Message]:
    """Turns that make a conversation: tidied, neighbours of one side joined. StudioError if one side is missing or the last word is not hers."""
    try:
        kept = joined(list(messages), Counter())
    except BadRow as bad:
        raise StudioError(f"This is no conversation: {bad}.") from bad
    if not any(m.role == "assistant" for m in kept) or not any(m.role == "user" for m in kept):
        raise StudioError("This is no conversation: it takes a turn of the user and one of hers.")
    if kept[-1].role != "assistant":
        raise StudioError("This is no conversation: the last turn has to be hers, or nothing is learned from what stands before it.")
    return kept
