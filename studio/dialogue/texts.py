"""The texts of all rows in one file, for searching, in the form in which texts count as the same.

``.studio/dialogue-….texts`` holds a block for each shard: its rows' texts, a line break after each turn and a zero byte after each row. Where
a block lies is in the index. Blocks of shards that changed are written anew at the end, and all of them once half the file is of the past.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from studio.dialogue.layout import PLACES
from studio.dialogue.scanning import Words, scan
from studio.errors import StudioError
from studio.progress import Progress
from studio.text import normal

AT_A_TIME = 100
"""Shards whose texts are written between two looks at whether to go on."""

Said = Callable[[str], Iterable[tuple[int, list[str]]]]
"""Of each row of the shard of that name that can be read: its place in it, and its texts."""


class Texts:
    """What is searched in beside one index; its methods are called with the index's database."""

    def __init__(self, index: Path) -> None:
        self.index = index

    def write(self, base: sqlite3.Connection, said: Said, progress: Progress) -> None:
        """Write the blocks of the shards that have none yet."""
        waiting = base.execute("SELECT number, name FROM shard WHERE text_at IS NULL ORDER BY number").fetchall()
        whole = base.execute("SELECT count(*) FROM shard").fetchone()[0]
        if not waiting:
            return
        path = self._path(base)
        kept = base.execute("SELECT coalesce(sum(text_size), 0) FROM shard").fetchone()[0]
        if path is None or not path.exists() or path.stat().st_size > 2 * kept + (64 << 20):
            # Half of it is of rows that changed since: begun anew.
            if path is not None:
                path.unlink(missing_ok=True)
            path = self._anew(base)
            waiting = base.execute("SELECT number, name FROM shard ORDER BY number").fetchall()
        for first in range(0, len(waiting), AT_A_TIME):
            if len(waiting) > AT_A_TIME:
                progress("texts read", whole - len(waiting) + first, whole)
            base.execute("BEGIN IMMEDIATE")
            try:
                with path.open("ab") as file:
                    for number, name in waiting[first : first + AT_A_TIME]:
                        block = _block(said(name))
                        at = file.seek(0, os.SEEK_END)
                        file.write(block)
                        base.execute("UPDATE shard SET text_at = ?, text_size = ? WHERE number = ?", (at, len(block), number))
                base.execute("COMMIT")
            except BaseException:
                base.execute("ROLLBACK")
                raise

    def containing(
        self, base: sqlite3.Connection, held: Sequence[str], absent: Sequence[str], progress: Progress, within: Collection[int] | None = None
    ) -> array[int]:
        """Keys of the rows that contain all of ``held`` and none of ``absent``, in their order.

        ``within``: numbers of the shards that are worth looking into.
        """
        words = Words([_coded(text) for text in held], [_coded(text) for text in absent])
        path = self._path(base)
        blocks = base.execute("SELECT number, text_at, text_size FROM shard WHERE text_size ORDER BY number").fetchall() if path else []
        wanted = [(number * PLACES, start, size) for number, start, size in blocks if within is None or number in within]
        if path is None or not wanted or any(b"\0" in word for word in words.held):
            return array("Q")
        try:
            return scan(path, wanted, words, lambda done: progress("searched", done, len(wanted)))
        except (OSError, ValueError) as error:
            raise sqlite3.DatabaseError("the texts are gone or cut off") from error

    def _path(self, base: sqlite3.Connection) -> Path | None:
        """The file the texts lie in. Another name each time it is begun anew: another studio may still be reading the old one."""
        found = base.execute("SELECT value FROM known WHERE name = 'texts'").fetchone()
        return self.index.with_name(found[0]) if found else None

    def _anew(self, base: sqlite3.Connection) -> Path:
        for old in self.index.parent.glob(f"{self.index.stem}-*.texts"):
            old.unlink(missing_ok=True)
        path = self.index.with_name(f"{self.index.stem}-{os.urandom(4).hex()}.texts")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            raise StudioError(f"The texts cannot be searched: {path} could not be written ({error.strerror}).") from error
        base.execute("UPDATE shard SET text_at = NULL, text_size = NULL")
        base.execute("INSERT OR REPLACE INTO known VALUES ('texts', ?)", (path.name,))
        return path


def _coded(text: str) -> bytes:
    return normal(text).encode("utf-8", "replace")


def _block(said: Iterable[tuple[int, list[str]]]) -> bytes:
    parts: list[str] = []
    for place, texts in said:
        parts += [""] * (place - len(parts))
        parts.append("\n".join(map(normal, texts)).replace("\0", " "))
    return ("\0".join(parts) + "\0").encode("utf-8", "replace")
