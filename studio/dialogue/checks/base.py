"""What a check is: a name, a threshold that the person can move, and somebody who looks at every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import tomli_w

from studio.dialogue.flags import Flag
from studio.dialogue.store import REJECTED, Row, rows
from studio.errors import StudioError, UsageError
from studio.files import write_atomic
from studio.persona.folder import Persona
from studio.progress import Progress, quiet

if TYPE_CHECKING:
    from studio.checkpoints.templates import Template
    from studio.dialogue.privacy import Finder


SAMPLE = 4000
"""Replies held, evenly spread over the set, to tell what she speaks."""

ASKED = 400
"""Of these, so many are looked at."""


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """``checks.toml`` of a persona: what the person wants otherwise than it is by default."""

    thresholds: dict[str, float] = {}
    """By the check's name."""
    off: list[str] = []
    """Checks that are not made unless asked for by name."""
    languages: list[str] = []
    """Codes (``en``, ``zh``) of the languages she speaks. Empty: those found in at least a twentieth of a sample of the dialogue."""
    names: list[str] = []
    """Names of persons that are not to be in the material."""
    regions: list[str] = []
    """Countries (``HU``, ``DE``) whose phone numbers are known without their country code. Empty: US and GB."""
    phrases: list[str] = []
    """More phrases that count as overused by models."""


def settings_path(persona: Persona) -> Path:
    return persona.root / "checks.toml"


def load_settings(persona: Persona) -> Settings:
    """What the file says, the defaults without one. StudioError naming it if it cannot be read."""
    path = settings_path(persona)
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        return Settings()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is not valid ({error}); mend the line or remove the file.") from error


def save_settings(persona: Persona, settings: Settings) -> None:
    """Write what differs from the defaults."""
    rest, plain = msgspec.to_builtins(Settings()), msgspec.to_builtins(settings)
    write_atomic(settings_path(persona), tomli_w.dumps({name: value for name, value in plain.items() if value != rest[name]}))


class Examiner:
    """Looks at the rows for one check: at all of them, ``times`` times over."""

    times = 1

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        """What there is to say of a row. ``time`` counts from 1; ``index`` is its place among those that are looked at."""
        return ()

    def seen(self, time: int) -> None:
        """Every row was shown that time."""

    def remarks(self) -> Sequence[str]:
        """What there is to say of the set as a whole, in the end."""
        return ()


@dataclass(frozen=True)
class Check:
    name: str
    finds: str
    """What it finds, in a few words."""
    threshold: float
    meaning: str
    """What the threshold is a number of, and on which side of it a row is flagged."""
    source: str
    """Where the default is from."""
    examine: Callable[[Check, Context], Examiner]
    asked_only: bool = False
    """It costs minutes or money and is made when it is asked for by name."""


@dataclass
class Context:
    """What the checks of one run share."""

    persona: Persona
    settings: Settings
    changes: Mapping[str, float] = field(default_factory=dict)
    """Thresholds for this run alone."""
    progress: Progress = quiet
    engine: str = ""
    """Engine that measures surprise."""
    finder: Finder | None = None
    """Of personal data: one for all kinds, which looks at a text once."""
    marks: dict[tuple[str, str], dict[str, float]] | None = None
    """What judges said, read once."""

    def threshold(self, check: Check) -> float:
        return self.changes.get(check.name, self.settings.thresholds.get(check.name, check.threshold))

    def rows(self) -> Iterator[Row]:
        """Every row but those that were rejected: they are in no build."""
        return (row for row in rows(self.persona) if row.state != REJECTED)

    @cached_property
    def languages(self) -> list[str]:
        """What she is expected to speak: as the settings say, else what a sample of her replies is in. Empty if it is too short to tell."""
        if self.settings.languages:
            return self.settings.languages
        from studio.lore.languages import spoken

        replies: list[str] = []
        every = 1
        for index, row in enumerate(self.rows()):
            if index % every == 0:
                replies += row.replies[:1]
            if len(replies) >= SAMPLE:
                replies, every = replies[::2], 2 * every
        # Replies are counted, not characters: the same said in Chinese has a quarter of them.
        spoken_in = Counter(code for reply in replies[:: -(-len(replies) // ASKED) or 1] if (code := spoken(reply)))
        return [code for code, number in spoken_in.most_common() if number >= 0.05 * spoken_in.total()]

    @cached_property
    def base(self) -> Path | None:
        from studio.checkpoints.base import locate_base

        return locate_base(self.persona.manifest.base)

    @cached_property
    def tokenizer(self) -> Any:
        from studio.checkpoints.base import load_tokenizer, require_base

        return load_tokenizer(require_base(self.persona.manifest.base))

    @cached_property
    def template(self) -> Template:
        from studio.checkpoints.base import require_base
        from studio.checkpoints.templates import template_for

        return template_for(require_base(self.persona.manifest.base))

    def messages(self, row: Row) -> list[dict[str, str]]:
        """The row as it is trained on: the persona's system prompt before it."""
        told = [{"role": m.role, "content": m.content.strip()} for m in row.messages]
        prompt = self.persona.manifest.character.system_prompt
        return [{"role": "system", "content": prompt}, *told] if prompt and told and told[0]["role"] != "system" else told


def read_change(text: str, known: Mapping[str, Check]) -> tuple[str, float]:
    """``name=number`` from the command line."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals:
        raise UsageError(f"--set takes check=number, not {text!r}.")
    if name not in known:
        raise UsageError(f"There is no check {name!r}; there are: {', '.join(known)}.")
    try:
        return name, float(value)
    except ValueError as error:
        raise UsageError(f"The threshold of {name} is a number, not {value.strip()!r}.") from error


def about(text: str, start: int = 0, stop: int = 0, most: int = 60) -> str:
    """Some words of a text, around the place that is meant, on one line and in quotation marks."""
    if stop <= start:
        cut = text[:most]
        return "“" + " ".join(cut.split()) + ("…" if len(text) > most else "") + "”"
    room = max(0, most - (stop - start)) // 2
    first, last = max(0, start - room), min(len(text), max(stop + room, start + 1))
    last = min(last, first + 2 * most)
    return "“" + ("…" if first else "") + " ".join(text[first:last].split()) + ("…" if last < len(text) else "") + "”"


def hers(row: Row) -> Iterator[tuple[int, str]]:
    """``(index of the message, text)`` of her replies."""
    return ((number, m.content) for number, m in enumerate(row.messages) if m.role == "assistant")


class ByMessage(Examiner):
    """A check that looks at one message after another and flags a row with as many findings as the threshold says, or more."""

    everyone = False
    """Whether the user's messages are looked at too (the system's are not)."""

    def __init__(self, check: Check, context: Context) -> None:
        self.check, self.context = check, context
        self.threshold = max(1.0, context.threshold(check))

    def find(self, text: str) -> Sequence[tuple[int, int, str]]:
        """``(start, stop, what)`` of each finding."""
        return ()

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        found = [
            (number, message.content, hit)
            for number, message in enumerate(row.messages)
            if message.role == "assistant" or (self.everyone and message.role == "user")
            for hit in self.find(message.content)
        ]
        if len(found) < self.threshold:
            return ()
        return [
            Flag(self.check.name, what.replace("{}", about(text, start, stop)), len(found), number, start, stop)
            for number, text, (start, stop, what) in found[:MOST_FLAGS]
        ]


MOST_FLAGS = 20
"""Flags of one check kept of one row."""
