"""What adding and checking material says: rows read, kept, dropped by reason, and each fault with its file and line."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with the material."""

    file: str
    line: int
    """1-based; 0 when the whole file is meant."""
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class AddReport(msgspec.Struct):
    """The outcome of ``lore add`` or ``dialogue add``."""

    format: str = ""
    read: int = 0
    """Files of lore, rows of dialogue."""
    kept: int = 0
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    """Not kept, by reason."""
    changed: Counter[str] = msgspec.field(default_factory=Counter)
    """Kept, but mended, by what was done."""
    speakers: Counter[str] = msgspec.field(default_factory=Counter)
    files: list[str] = []
    faults: list[Fault] = []

    def drop(self, reason: str, fault: Fault) -> None:
        self.dropped[reason] += 1
        self.faults.append(fault)

    def as_json(self) -> dict[str, Any]:
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built
