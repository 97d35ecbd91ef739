"""The dialogue by the page: where each row lies, so that a screen reads only what it shows, of a hundred thousand rows too."""

from __future__ import annotations

from array import array
from pathlib import Path

import msgspec

from studio.dialogue.store import Row, shards
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.text import normal


class Pages:
    """An index over the shards as they are at its making: 12 bytes a row."""

    def __init__(self, persona: Persona) -> None:
        self.files: list[Path] = shards(persona)
        self.file_of = array("I")
        self.offset_of = array("Q")
        for number, path in enumerate(self.files):
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    if line.strip():
                        self.file_of.append(number)
                        self.offset_of.append(offset)
                    offset += len(line)

    def __len__(self) -> int:
        return len(self.file_of)

    def read(self, indexes: list[int]) -> list[Row]:
        """The rows at these indexes, in their order. StudioError naming the shard if one is damaged or gone."""
        found: list[Row] = []
        opened: tuple[int, bytes] = (-1, b"")
        for index in indexes:
            number = self.file_of[index]
            path = self.files[number]
            try:
                if opened[0] != number:
                    opened = (number, path.read_bytes())
                start = self.offset_of[index]
                end = opened[1].find(b"\n", start)
                found.append(msgspec.json.decode(opened[1][start : end if end >= 0 else None], type=Row))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                raise StudioError(
                    f"{path}: the row at byte {self.offset_of[index]} cannot be read ({error}); mend the line or restore it."
                ) from error
        return found

    def find(self, text: str) -> list[int]:
        """Indexes of the rows that contain ``text``, whatever its case, width or spacing. Damaged rows contain nothing."""
        wanted = normal(text)
        found: list[int] = []
        index = 0
        for number, path in enumerate(self.files):
            raw = path.read_bytes()
            while index < len(self.file_of) and self.file_of[index] == number:
                start = self.offset_of[index]
                end = raw.find(b"\n", start)
                try:
                    row = msgspec.json.decode(raw[start : end if end >= 0 else None], type=Row)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    row = None
                if row and (wanted in row.id or any(wanted in normal(m.content) for m in row.messages)):
                    found.append(index)
                index += 1
        return found
