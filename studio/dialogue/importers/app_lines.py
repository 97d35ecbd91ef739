"""What Messenger and Instagram write themselves among the messages: told by its words where these are known, by its form in any language.

Exports are written in the language of the account. A reaction or a shared post stands in them like a message, and nothing marks it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

KNOWN = "English, German, French, Italian and Portuguese"
_WORDS = re.compile(
    "(?:"
    # English
    r"Reacted .{1,12} to your message|Liked a message|.{1,80} (?:sent an attachment|sent a photo|sent a voice message|sent a link|shared a story|"
    r"changed the (?:chat )?theme.*|set (?:the|your) nickname.*|named the group.*|created the group|missed a (?:video |audio )?call.*|"
    r"started a (?:video |audio )?(?:call|chat))"
    # The others as they stand in an export, or in programs that read exports: qronicle (German), two readers of Instagram's export in French
    # and two in Italian; the Portuguese is the app's own words on the screen, which are those of its exports where both are known.
    r"|.{1,80} hat einen Anhang gesendet"
    r"|A aimé un message|A réagi .{1,12} à votre message|.{1,80} a envoyé une pièce jointe"
    r"|Ha messo [\"“«]Mi piace[\"”»] a un messaggio|Ha aggiunto la reazione .{1,40}"
    r"|Curtiu uma mensagem"
    r")\.?\s*"
)
_EMOJI = re.compile("(?:[\u2600-\u27bf\U0001f1e6-\U0001faff][\ufe0f\u200d\U0001f3fb-\U0001f3ff]*)+")

LEAST_LETTERS = 10
LEAST_EMOJI = 3
"""Different emoji that the same words are met around before they are a form. Lovers write such lines too, so the reactions of the export have to
bear it out: nine in ten of the lines need one by their sender with their emoji (of a chat in parts some stand in the next part)."""

Around = tuple[str, str]


def _form(text: str) -> tuple[Around, str] | None:
    """The words around the one emoji in the middle of a line, and the emoji; None if it is no such line."""
    found = _EMOJI.search(text) if not text.isascii() and len(text) < 120 else None
    if found is None or "\n" in text.strip():
        return None
    around = text[: found.start()].strip(), text[found.end() :].strip()
    wide = sum(letter.isalpha() + (letter > "\u2fff") for letter in "".join(around))
    if wide < LEAST_LETTERS or not all(any(map(str.isalpha, part)) for part in around):
        return None
    return around, bare(found[0])


def bare(emoji: str) -> str:
    """An emoji without the mark that it is to be drawn in colour."""
    return emoji.replace("\ufe0f", "")


class AppLines:
    """The lines of the app in one export."""

    def __init__(self, said: Iterable[tuple[str, str]], reactions: Counter[tuple[str, str]]) -> None:
        """``said``: sender and text of every message. ``reactions``: how often the messages bear that somebody reacted to them with an emoji."""
        forms: dict[Around, Counter[tuple[str, str]]] = {}
        for sender, text in said:
            if found := _form(text):
                forms.setdefault(found[0], Counter())[sender, found[1]] += 1
        often = {form: met for form, met in forms.items() if len({emoji for _, emoji in met}) >= LEAST_EMOJI}
        self.proven = {form for form, met in often.items() if (met & reactions).total() >= 0.9 * met.total()}
        self.suspected = often.keys() - self.proven
        self.recognised = False
        """Whether it had any that can be told."""

    def why(self, sender: str, text: str, shared: str | None) -> str:
        """How a message gives itself away as a line of the app; empty if it does not. ``shared``: the link it shares, None if it shares nothing."""
        found = ""
        if _WORDS.fullmatch(text):
            found = "a line of the app"
        elif (form := _form(text)) and form[0] in self.proven:
            found = "a line of the app: it tells a reaction that a message of this export bears"
        elif shared is not None and names_its_sender(sender, text) and not (shared and shared in text):
            found = "a line of the app: it shares something and says so of its own sender"
        self.recognised |= bool(found)
        return found

    def doubt(self, sender: str, text: str) -> str:
        """Why a line that is kept might be the app's all the same; empty if nothing speaks for it."""
        if names_its_sender(sender, text):
            return "it begins with its sender's name"
        if (form := _form(text)) and form[0] in self.suspected:
            return "the same words come again around other emoji"
        return ""


def names_its_sender(sender: str, text: str) -> bool:
    """Whether a line begins with its own sender's name, as the app's do and people's hardly ever."""
    return bool(sender) and text.startswith(sender) and "\n" not in text.strip() and bool(text[len(sender) :].strip(" .,!:?"))
