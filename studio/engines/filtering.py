"""What a served companion does not say: personal data and the person's own words, taken out while a reply streams.

Imports nothing that vLLM's environment lacks: it runs inside the server, ours or vLLM's (``filtered.py``).

A stream is cut where no match can reach across: after two words that belong to no match of any kind, before one that begins none. What
comes out is the same however the text was cut into pieces, and the same as if the whole had been looked at. Only what could still become
a match waits, most often one word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from studio.dialogue.privacy import CJK, IBAN_BEGUN, KINDS, VERSION, Finder, read_names
from studio.errors import StudioError
from studio.text import normal

if TYPE_CHECKING:
    from studio.persona.folder import Persona

LONGEST = 2000
"""Characters that may wait. No match is longer; more of them in a row (a page of digits, a text without spaces) are cut where they are."""
KEPT = 600
"""Characters that go on waiting then: longer than the longest match, a mail address."""


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    """``filter.toml`` of a persona."""

    kinds: list[str] = msgspec.field(default_factory=lambda: list(KINDS))
    """Personal data that is not said: mail, phone, ip, card, iban, name. It becomes ``[mail]`` and so on."""
    words: list[str] = []
    """Words and phrases that are not said, in any case; they become ``[…]``."""
    names: list[str] = []
    """Names that are not said, beside those in ``checks.toml``; ``Anna = Robin`` says what stands there instead."""
    regions: list[str] = []
    """Countries (``HU``) whose phone numbers are known without their country code; those in ``checks.toml`` count too."""


def rules_path(persona: Persona) -> Path:
    return persona.root / "filter.toml"


def load_rules(persona: Persona) -> Rules:
    """What the person's files say: all kinds and no words where there are none. StudioError naming the file that cannot be read."""
    from studio.dialogue.checks.base import load_settings

    path = rules_path(persona)
    try:
        rules = msgspec.toml.decode(path.read_bytes(), type=Rules)
    except FileNotFoundError:
        rules = Rules()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is not valid ({error}); mend the line or remove the file.") from error
    if unknown := set(rules.kinds) - set(KINDS):
        raise StudioError(f"{path} names {', '.join(sorted(unknown))}, which is no kind of personal data; there are: {', '.join(KINDS)}.")
    ours = load_settings(persona)
    rules.names += [name for name in ours.names if name not in rules.names]
    rules.regions += [region for region in ours.regions if region not in rules.regions]
    return rules


_ALIKE = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
"""Words: what is between spaces; a character each in scripts that write none."""
_AT = re.compile(r"[\[(](?:at|dot)[\])]", re.IGNORECASE)
_PLAIN = frozenset("xXｘＸー")
"""Letters that a phone number may have between its digits."""


class Filter:
    """Takes out what is not to be said."""

    def __init__(self, rules: Rules) -> None:
        names = read_names(rules.names) if "name" in rules.kinds else []
        self.finder = Finder(rules.kinds, names, rules.regions)
        self.given = {normal(name.real): name.given for name in names if name.given}
        words = [" ".join(word.split()) for word in rules.words if word.strip()]
        self.words = _pattern(words)
        self.parts = _parts([name.real for name in names] + words)

    def clean(self, text: str, counts: Counter[str] | None = None) -> str:
        """A whole text without what is not to be said. ``counts`` grows by what was taken out, by kind."""
        found = [(one.start, one.stop, one.kind, self.given.get(normal(one.text), f"[{one.kind}]")) for one in self.finder.find(text)]
        if self.words:
            for match in self.words.finditer(text):
                if all(match.end() <= start or match.start() >= stop for start, stop, _, _ in found):
                    found.append((*match.span(), "word", "[…]"))
        if not found:
            return text
        pieces, at = [], 0
        for start, stop, kind, instead in sorted(found):
            pieces += [text[at:start], instead]
            at = stop
            if counts is not None:
                counts[kind] += 1
        return "".join(pieces) + text[at:]

    def settled(self, text: str) -> int:
        """Where the text can be cut, so that nothing that comes later and nothing across the cut is a match."""
        words = list(_ALIKE.finditer(text))
        if len(words) < 2:
            return self._forced(text)
        spans = [match.span(1) for match in IBAN_BEGUN.finditer(text)]
        live = [self._live(word[0]) for word in words]
        for i in range(len(words) - 1, 0, -1):
            at = words[i].start()
            if live[i - 1] or (i > 1 and live[i - 2]) or not self._apart(text, words[i - 1], words[i]):
                continue
            if words[i][0][0] in "([" and (words[i].end() == len(text) or _AT.search(words[i][0])):
                continue
            if not any(start < at < stop for start, stop in spans):
                return at
        return self._forced(text)

    @staticmethod
    def _apart(text: str, word: re.Match[str], following: re.Match[str]) -> bool:
        """Whether a space is between two words, or none is needed."""
        return word.end() < following.start() or (len(word[0]) == len(following[0]) == 1 and bool(_UNSPACED.match(word[0] + following[0])))

    def _live(self, word: str) -> bool:
        """Whether the word may be a part of a match that has more words than this."""
        if "@" in word or any(c.isdigit() for c in word) or not any(c.isalpha() and c not in _PLAIN for c in word):
            return True
        if _AT.search(word) or VERSION.search(word):
            return True
        folded = word.casefold()
        return any(part in folded for part in self.parts)

    @staticmethod
    def _forced(text: str) -> int:
        if len(text) < LONGEST:
            return 0
        spaces = [match.end() for match in re.finditer(r"\s+", text[: len(text) - KEPT])]
        return spaces[-1] if spaces else len(text) - KEPT


_UNSPACED = re.compile(rf"[{CJK}]{{2}}")
_ONE = re.compile(f"[{CJK}]")


def _pattern(words: Sequence[str]) -> re.Pattern[str] | None:
    """The longest first; whole words where the script has any."""
    if not words:
        return None
    each = []
    for word in sorted(words, key=len, reverse=True):
        inner = r"\s+".join(map(re.escape, word.split()))
        before = r"(?<!\w)" if re.match(r"\w", word) and not _ONE.match(word) else ""
        after = r"(?!\w)" if re.search(r"\w$", word) and not _ONE.match(word[-1]) else ""
        each.append(f"{before}{inner}{after}")
    return re.compile("|".join(each), re.IGNORECASE)


def _parts(names: Sequence[str]) -> frozenset[str]:
    """What the words of those with several have in common with what is written: a last a or e may be another in the text."""
    found = set()
    for name in names:
        words = _ALIKE.findall(name)
        if len(words) > 1:
            found |= {(word[:-1] if word[-1] in "aeáé" and len(word) > 2 else word).casefold() for word in words}
    return frozenset(found)


class Stream:
    """One reply on its way. ``feed`` gives what may go out by now, ``close`` the rest."""

    def __init__(self, filter_: Filter, counts: Counter[str]) -> None:
        self.filter, self.counts = filter_, counts
        self.held = ""

    def feed(self, text: str) -> str:
        self.held += text
        out = ""
        while at := self.filter.settled(self.held):
            out += self.filter.clean(self.held[:at], self.counts)
            self.held = self.held[at:]
            if len(self.held) < LONGEST:
                break
        return out

    def close(self) -> str:
        out, self.held = self.held, ""
        return self.filter.clean(out, self.counts)
