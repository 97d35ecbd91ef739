"""Rows changed by hand, one step after the other, and every one of these taken back.

Each step is written to ``.studio/undo/`` (of preference pairs: ``.studio/undo-preference/``) before the shards are, so that one which a
crash broke off is brought to its end by the next step, and can be undone for as long as it is kept. Only the shards in which rows change
are written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Generic

import msgspec

from studio.dialogue.index import R, RowIndex
from studio.dialogue.store import ACCEPTED, REJECTED
from studio.errors import StudioError
from studio.files import fsync_folder, write_atomic
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
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


class RowEditor(Generic[R]):
    """Changes rows of one kind. ``index`` says where they stand; it is brought up to date by every step."""

    noun: ClassVar[str]
    """As one of them is named in a sentence."""
    counted = "row"
    """As several are counted."""
    kept_in = "undo"
    """Where the steps are kept, below the persona's private folder."""

    def __init__(self, persona: Persona, index: RowIndex[R]) -> None:
        self.persona = persona
        self.index = index
        self.folder = persona.private / self.kept_in

    # What can be done

    def judge(self, ids: Sequence[str], state: str, progress: Progress = quiet) -> str:
        """Accept or reject rows, or (empty ``state``) leave it open again. What was done, in words."""
        word = {ACCEPTED: "accepted", REJECTED: "rejected", "": "open again"}[state]

        def change(shard: Shard, place: int) -> list[Change]:
            return with_fields(shard, place, {"state": state or None})

        return self._each(ids, change, lambda number: f"{count(number, self.counted)} {word}", progress)

    def tag(self, ids: Sequence[str], add: Sequence[str] = (), remove: Sequence[str] = (), progress: Progress = quiet) -> str:
        """Give rows tags and take tags away. A tag is one word."""
        for name in (*add, *remove):
            if not name or name != name.strip() or any(c.isspace() or c in '",' for c in name):
                raise StudioError(f"{name!r} is no tag: a tag is one word, without commas and quotation marks.")

        def change(shard: Shard, place: int) -> list[Change]:
            tags = list(shard.value(place).get("tags", []))
            kept = [tag for tag in tags if tag not in remove] + [tag for tag in dict.fromkeys(add) if tag not in tags]
            return with_fields(shard, place, {"tags": kept or None})

        words = " ".join([*(f"+{name}" for name in add), *(f"-{name}" for name in remove)])
        return self._each(ids, change, lambda number: f"{count(number, self.counted)} tagged {words}", progress)

    def remove(self, ids: Sequence[str], progress: Progress = quiet) -> str:
        """Take rows out of the set. To keep one out of training and see it still, reject it."""

        def change(shard: Shard, place: int) -> list[Change]:
            return [Change(shard.path.name, shard.id_at(place), shard.value(place), None, shard.id_at(place - 1))]

        return self._each(ids, change, lambda number: f"{count(number, self.counted)} deleted", progress)

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

    def row(self, identity: str) -> R:
        """The row with that id. StudioError if it is not here or damaged."""
        (row,) = self.index.read([self._keys([identity])[identity]])
        if isinstance(row, StudioError) or row.id != identity:
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
            raise StudioError(f"There is no {self.noun} {missing[0]!r} in {self.persona.name}.")
        return found

    def _each(
        self,
        ids: Sequence[str],
        change: Callable[[Shard, int], list[Change]],
        words: Callable[[int], str],
        progress: Progress = quiet,
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
                    raise StudioError(f"The {self.noun} {error} stands nowhere in {self.index.folder}; look again.") from error
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
            shard = Shard(self.index.folder / name)
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

    def _apply(self, step: Step, backwards: bool = False, check: bool = False, lenient: bool = False, progress: Progress = quiet) -> None:
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
            shard = Shard(self.index.folder / name)
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


def with_fields(shard: Shard, place: int, after: dict[str, Any]) -> list[Change]:
    """The change that gives a row these fields (None: takes them away); none if it has them."""
    value = shard.value(place)
    before = {name: value.get(name) for name in after}
    # A field that holds its default is the same as none.
    if all(before[name] == new or (not before[name] and not new) for name, new in after.items()):
        return []
    return [Change(shard.path.name, shard.id_at(place), before, after)]


def _read(path: Path) -> Step:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Step)
    except (OSError, msgspec.DecodeError) as error:
        raise StudioError(f"{path} cannot be read ({error}), so this step cannot be undone; delete the file.") from error
