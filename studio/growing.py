"""Files of JSON lines that only grow, read once: what stood is kept, and only what was added since is parsed.

Five thousand rounds are a dozen megabytes, and every vote asks for all of them.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_KEPT = 8
"""Files kept at a time, the least recently used first to go."""


class _Grown:
    """One file as far as it is known: its whole lines, and how to tell that it only grew."""

    def __init__(self, kind: Any) -> None:
        self.decoder = msgspec.json.Decoder(kind)
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.entries: list[Any] = []
        self.identity = (0, 0)
        self.changed = 0
        self.end = 0
        """Bytes that are parsed; they end in a line break."""
        self.last = b""
        """The line that ends there."""

    def read(self, path: Path) -> list[Any]:
        with self.lock:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self.forget()
                return []
            with os.fdopen(descriptor, "rb") as file:
                stat = os.fstat(descriptor)
                if not self._only_grew(descriptor, stat):
                    self.forget()
                self.identity, self.changed = (stat.st_dev, stat.st_ino), stat.st_mtime_ns
                file.seek(self.end)
                tail = self._take(file.read())
            return [*self.entries, *self._decode(tail)]

    def _only_grew(self, descriptor: int, stat: os.stat_result) -> bool:
        if (stat.st_dev, stat.st_ino) != self.identity or stat.st_size < self.end:
            return False
        if stat.st_mtime_ns == self.changed:
            return True
        # Written since: by an append, which leaves the last line where it was, or by an editor, which need not change the size.
        return stat.st_size > self.end and os.pread(descriptor, len(self.last), self.end - len(self.last)) == self.last

    def _take(self, data: bytes) -> bytes:
        """Parse the whole lines; the rest may be a line that another process is writing."""
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].split(b"\n")
        for line in lines[:-1]:
            self.entries += self._decode(line)
        if whole:
            self.end += whole
            self.last = lines[-2] + b"\n"
        return data[whole:]

    def _decode(self, line: bytes) -> list[Any]:
        """The line's value, or nothing: a torn line, or none of this kind."""
        if not line.strip():
            return []
        try:
            return [self.decoder.decode(line)]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return []


_files: dict[tuple[Path, Any], _Grown] = {}
_files_lock = threading.Lock()


def grown(path: Path, kind: Any) -> list[Any]:
    """Every line of the file that is a ``kind``, in order; torn and foreign lines are left out. The values are shared: change none."""
    with _files_lock:
        held = _files.pop((path, kind), None) or _Grown(kind)
        _files[path, kind] = held
        while len(_files) > _KEPT:
            del _files[next(iter(_files))]
    return held.read(path)
