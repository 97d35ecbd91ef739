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
LEAST_TIMES = 3
"""Times the same words around different emoji make a form: nobody writes a sentence three times with another picture in its middle."""


def _form(text: str) -> tuple[tuple[str, str], str] | None:
    """The words around the one emoji in the middle of a line, and the emoji; None if it is no such line."""
    found = _EMOJI.search(text) if not text.isascii() and len(text) < 120 else None
    if found is None or "\n" in text.strip():
        return None
    around = text[: found.start()].strip(), text[found.end() :].strip()
    wide = sum(letter.isalpha() + (letter > "\u2fff") for letter in "".join(around))
    if wide < LEAST_LETTERS or not all(any(map(str.isalpha, part)) for part in around):
        return None
    return around, found[0]


class AppLines:
    """The lines of the app in one export; ``recognised`` says whether it had any that can be told."""

    def __init__(self, texts: Iterable[str]) -> None:
        forms: dict[tuple[str, str], Counter[str]] = {}
        for text in texts:
            if found := _form(text):
                forms.setdefault(found[0], Counter())[found[1]] += 1
        self.forms = {form for form, emoji in forms.items() if len(emoji) > 1 and emoji.total() >= LEAST_TIMES}
        self.recognised = False

    def why(self, sender: str, text: str, shared: str | None) -> str:
        """How a message gives itself away as a line of the app; empty if it does not. ``shared``: the link it shares, None if it shares nothing."""
        found = ""
        if _WORDS.fullmatch(text):
            found = "a line of the app"
        elif (form := _form(text)) and form[0] in self.forms:
            found = "a line of the app: the same words again and again, around different emoji"
        elif shared is not None and names_its_sender(sender, text) and not (shared and shared in text):
            found = "a line of the app: it shares something and says so of its own sender"
        self.recognised |= bool(found)
        return found


def names_its_sender(sender: str, text: str) -> bool:
    """Whether a line begins with its own sender's name, as the app's do and people's hardly ever."""
    return bool(sender) and text.startswith(sender) and "\n" not in text.strip() and bool(text[len(sender) :].strip(" .,!:?"))
