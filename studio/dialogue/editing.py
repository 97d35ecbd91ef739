"""Conversations changed by hand: accepted, rejected, tagged, edited, split, merged, taken out; and every one of these taken back.

Each step is written to ``.studio/undo/`` before the shards are, so that one which a crash broke off is brought to its end by the next
step, and can be undone for as long as it is kept. Only the shards in which rows change are written.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from studio.dialogue.formats import BadRow, Message, joined, tidy
from studio.dialogue.index import Index, Progress
from studio.dialogue.store import ACCEPTED, REJECTED, SYNTHETIC, Row, row_id
from studio.errors import StudioError
from studio.files import fsync_folder, write_atomic
from studio.persona.folder import Persona
from studio.shards import Shard
from studio.text import count

KEPT_STEPS = 500
"""Steps that can be taken back; older ones are forgotten."""

_TODO, _DONE, _UNDOING, _UNDONE = ".todo", ".json", ".undoing", ".undone"


class Change(msgspec.Struct, omit_defaults=True):
    """What becomes of one row."""

    shard: str
    id: str
    before: dict[str, Any] | None
    """Fields as they were (null: not there); of a row that goes, the whole row; None for a row that comes."""
    after: dict[str, Any] | None
    behind: str = ""
    """Id of the row before it in the shard, for one that comes or goes; empty: it is the first."""


class Step(msgspec.Struct):
    """What was done at one stroke, in words, and its changes, by shard."""

    what: str
    t: float
    changes: list[Change]


def _silent(what: str, done: int, whole: int) -> None:
    pass


class Editor:
    """Changes the dialogue of a persona. ``index`` says where rows stand; it is brought up to date by every step."""

    def __init__(self, persona: Persona, index: Index | None = None) -> None:
        self.persona = persona
        self.index = Index(persona) if index is None else index
        self.folder = persona.private / "undo"

    # What can be done

    def judge(self, ids: Sequence[str], state: str, progress: Progress = _silent) -> str:
        """Accept or reject rows, or (empty ``state``) leave it open again. What was done, in words."""
        word = {ACCEPTED: "accepted", REJECTED: "rejected", "": "open again"}[state]

        def change(shard: Shard, place: int) -> list[Change]:
            return _fields(shard, place, {"state": state or None})

        return self._each(ids, change, lambda number: f"{count(number, 'row')} {word}", progress)

    def tag(self, ids: Sequence[str], add: Sequence[str] = (), remove: Sequence[str] = (), progress: Progress = _silent) -> str:
        """Give rows tags and take tags away. A tag is one word."""
        for name in (*add, *remove):
            if not name or name != name.strip() or any(c.isspace() or c in '",' for c in name):
                raise StudioError(f"{name!r} is no tag: a tag is one word, without commas and quotation marks.")

        def change(shard: Shard, place: int) -> list[Change]:
            tags = list(shard.value(place).get("tags", []))
            kept = [tag for tag in tags if tag not in remove] + [tag for tag in dict.fromkeys(add) if tag not in tags]
            return _fields(shard, place, {"tags": kept or None})

        words = " ".join([*(f"+{name}" for name in add), *(f"-{name}" for name in remove)])
        return self._each(ids, change, lambda number: f"{count(number, 'row')} tagged {words}", progress)

    def remove(self, ids: Sequence[str], progress: Progress = _silent) -> str:
        """Take rows out of the dialogue. To keep one out of training and see it still, reject it."""

        def change(shard: Shard, place: int) -> list[Change]:
            return [Change(shard.path.name, shard.id_at(place), shard.value(place), None, shard.id_at(place - 1))]

        return self._each(ids, change, lambda number: f"{count(number, 'row')} deleted", progress)

    def write(self, identity: str, messages: Sequence[Message]) -> str:
        """Give a row other turns."""
        told = _whole(messages)

        def change(shard: Shard, place: int) -> list[Change]:
            return _fields(shard, place, {"messages": msgspec.to_builtins(told), "edited": True})

        return self._each([identity], change, lambda number: f"{identity} edited" if number else "", _silent)

    def rewrite(self, identity: str, turn: int, text: str) -> str:
        """Give one turn (from 0) another text; an empty one takes the turn out."""
        row = self.row(identity)
        if not 0 <= turn < len(row.messages):
            raise StudioError(f"{identity} has {count(len(row.messages), 'turn')}, so there is no turn {turn + 1}.")
        messages = list(row.messages)
        messages[turn] = Message(messages[turn].role, tidy(text), messages[turn].name)
        return self.write(identity, [m for m in messages if m.content])

    def reword(self, texts: Mapping[str, tuple[Sequence[str], Sequence[str]]], what: str, progress: Progress = _silent) -> str:
        """Give all turns of many rows other texts, at one stroke: ``(before, after)`` by id. Rows that say something else by now stay as they are."""

        def change(shard: Shard, place: int) -> list[Change]:
            told = shard.value(place)["messages"]
            before, after = texts[shard.id_at(place)]
            if [message["content"] for message in told] != list(before):
                return []
            messages = [message | {"content": text} for message, text in zip(told, after, strict=True)]
            return _fields(shard, place, {"messages": messages, "edited": True})

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
            return [*_fields(shard, place, fields), Change(shard.path.name, new, None, other, identity)]

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
                return _fields(shard, place, fields)
            return [Change(shard.path.name, shard.id_at(place), shard.value(place), None, shard.id_at(place - 1))]

        return self._each(order, change, lambda number: f"{count(number, 'row')} merged into {order[0]}"), order[0]

    def undo(self) -> str:
        """Take the last step back. What it was, in words. StudioError if there is none, or a row was changed by other means since."""
        with self.persona.exclusive():
            self._mend()
            done = self._steps(_DONE)
            if not done:
                raise StudioError("There is nothing to undo.")
            step = _read(done[-1])
            self._apply(step, backwards=True, check=True)
            path = done[-1].rename(done[-1].with_suffix(_UNDOING))
            self._apply(step, backwards=True)
            path.rename(path.with_suffix(_UNDONE))
            fsync_folder(self.folder)
        return step.what

    def redo(self) -> str:
        """Do again what was undone last, as long as nothing else was done since."""
        with self.persona.exclusive():
            self._mend()
            undone = self._steps(_UNDONE)
            if not undone:
                raise StudioError("There is nothing to do again.")
            step = _read(undone[0])
            self._apply(step, check=True)
            path = undone[0].rename(undone[0].with_suffix(_TODO))
            self._apply(step)
            path.rename(path.with_suffix(_DONE))
            fsync_folder(self.folder)
        return step.what

    def last(self) -> str:
        """What ``undo`` would take back, in words; empty if nothing."""
        done = self._steps(_DONE)
        return _read(done[-1]).what if done else ""

    def row(self, identity: str) -> Row:
        """The row with that id. StudioError if it is not here or damaged."""
        (row,) = self.index.read([self._keys([identity])[identity]])
        if not isinstance(row, Row) or row.id != identity:
            self.index.refresh()
            (row,) = self.index.read([self._keys([identity])[identity]])
        if isinstance(row, StudioError):
            raise row
        return row

    # How it is done

    def _keys(self, ids: Sequence[str]) -> dict[str, int]:
        found = self.index.keys_of(ids) if len(self.index) else {}
        if len(found) < len(set(ids)):
            self.index.refresh()
            found = self.index.keys_of(ids)
        if missing := [identity for identity in ids if identity not in found]:
            raise StudioError(f"There is no dialogue row {missing[0]!r} in {self.persona.name}.")
        return found

    def _free(self, identity: str) -> str:
        """``identity``, or one like it that no row has."""
        taken = self.index.keys_of([identity, *(f"{identity}-{n}" for n in range(2, 100))])
        return next(one for one in (identity, *(f"{identity}-{n}" for n in range(2, 100))) if one not in taken)

    def _each(
        self,
        ids: Sequence[str],
        change: Callable[[Shard, int], list[Change]],
        words: Callable[[int], str],
        progress: Progress = _silent,
    ) -> str:
        """Find the rows, write down what becomes of them, do it. Rows that are so already are not touched."""
        with self.persona.exclusive():
            self._mend()
            try:
                changes = self._changes(ids, change)
            except LookupError:  # the shards were changed by other means since the index looked at them
                self.index.refresh()
                try:
                    changes = self._changes(ids, change)
                except LookupError as error:
                    raise StudioError(f"The dialogue row {error} stands nowhere in {self.persona.dialogue}; look again.") from error
            touched = len({one.id for one in changes if one.before is not None})
            step = Step(words(touched), time.time(), changes)
            if not changes:
                return step.what
            for undone in self._steps(_UNDONE):
                undone.unlink()
            steps = self._steps(_DONE)
            path = self.folder / f"{int(steps[-1].stem) + 1 if steps else 1:08}{_TODO}"
            write_atomic(path, msgspec.json.encode(step))
            self._apply(step, progress=progress)
            path.rename(path.with_suffix(_DONE))
            fsync_folder(self.folder)
            for old in steps[: max(0, len(steps) + 1 - KEPT_STEPS)]:
                old.unlink()
        return step.what

    def _changes(self, ids: Sequence[str], change: Callable[[Shard, int], list[Change]]) -> list[Change]:
        """What becomes of the rows, shard by shard. LookupError if one is not where the index has it."""
        keys = sorted((key, identity) for identity, key in self._keys(ids).items())
        layout = self.index.layout
        changes: list[Change] = []
        for name, group in groupby(keys, key=lambda item: layout.place(item[0])[0]):
            shard = Shard(self.persona.dialogue / name)
            for _, identity in group:
                if (place := shard.find(identity)) < 0:
                    raise LookupError(identity)
                changes += change(shard, place)
        return changes

    def _steps(self, ending: str) -> list[Path]:
        try:
            names = [entry.name for entry in os.scandir(self.folder) if entry.name.endswith(ending) and not entry.name.startswith(".")]
        except FileNotFoundError:
            return []
        return [self.folder / name for name in sorted(names)]

    def _mend(self) -> None:
        """Bring a step that was broken off to its end."""
        for path in self._steps(_TODO):
            self._apply(_read(path), lenient=True)
            path.rename(path.with_suffix(_DONE))
        for path in self._steps(_UNDOING):
            self._apply(_read(path), backwards=True, lenient=True)
            path.rename(path.with_suffix(_UNDONE))

    def _apply(self, step: Step, backwards: bool = False, check: bool = False, lenient: bool = False, progress: Progress = _silent) -> None:
        """Make the changes, one shard after the other; those that are made already stay. ``check``: only see whether that can be done.

        StudioError if a row is neither as it was before nor as it is to be; ``lenient``: such a row is left as it is.
        """
        ordered = step.changes[::-1] if backwards else step.changes
        names = list(dict.fromkeys(change.shard for change in ordered))
        by_shard: dict[str, list[Change]] = {name: [] for name in names}
        for change in ordered:
            by_shard[change.shard].append(change)
        for done, (name, changes) in enumerate(by_shard.items()):
            if len(names) > 20 and not check:
                progress("shards written", done, len(names))
            shard = Shard(self.persona.dialogue / name)
            for change in changes:
                old, new = (change.after, change.before) if backwards else (change.before, change.after)
                if not _change(shard, change, old, new) and not lenient:
                    raise StudioError(f"{change.id} was changed by other means since ({step.what}); nothing was taken back.")
            if not check:
                shard.save()
        if not check:
            self.index.refresh(only=names)


def _change(shard: Shard, change: Change, old: dict[str, Any] | None, new: dict[str, Any] | None) -> bool:
    """Make one change in memory. Whether the row is now as it is to be."""
    place = shard.find(change.id)
    if old is None:
        if place < 0 and new is not None:
            behind = shard.find(change.behind) if change.behind else -1
            shard.insert(behind + 1 if behind >= 0 or not change.behind else len(shard.lines), new)
        return True
    if new is None:
        if place >= 0:
            shard.remove(place)
        return True
    if place < 0:
        return False
    value = shard.value(place)
    if all(value.get(name) == wanted for name, wanted in new.items()):
        return True
    if not all(value.get(name) == wanted for name, wanted in old.items()):
        return False
    shard.replace(place, {name: kept for name, kept in (value | new).items() if kept is not None})
    return True


def _fields(shard: Shard, place: int, after: dict[str, Any]) -> list[Change]:
    """The change that gives a row these fields (None: takes them away); none if it has them."""
    value = shard.value(place)
    before = {name: value.get(name) for name in after}
    # A field that holds its default is the same as none.
    if all(before[name] == new or (not before[name] and not new) for name, new in after.items()):
        return []
    return [Change(shard.path.name, shard.id_at(place), before, after)]


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


def _read(path: Path) -> Step:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Step)
    except (OSError, msgspec.DecodeError) as error:
        raise StudioError(f"{path} cannot be read ({error}), so this step cannot be undone; delete the file.") from error


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
