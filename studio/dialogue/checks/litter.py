"""What is left of where the text came from: links, markup, placeholders, control tokens, lost characters, strings of symbols."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import ClassVar

from studio.dialogue.checks.base import ByMessage, Check, Context, Examiner, about
from studio.dialogue.flags import Flag
from studio.dialogue.store import Row

PLACEHOLDER = re.compile(
    r"\{\{\s*(?:char|user|original|random|roll|time|date)\b[^}\n]{0,40}\}\}|<(?:BOT|USER|START)>|"
    r"\[[A-Z]+(?:_[A-Z]+)*_REDACTED\]|\[(?:NAME|USER|INSERT [A-Z ]+)\]",
    re.IGNORECASE,
)
"""Of cards and role-play logs, of PIPPA's redaction, of letters to be filled in."""

CONTROL = re.compile(
    r"<\|[\w ./-]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|</?think>|^### ?(?:Instruction|Response|Input):", re.MULTILINE
)
"""Marks of chat templates. In a text they would end her turn, or begin another, in the middle of it."""

LINK = re.compile(
    r"(?:https?|ftp)://[^\s<>\"'）)\]]+|\bwww\.[^\s<>\"'）)\]]+|\b[a-z0-9][a-z0-9-]{0,62}\.(?:com|net|org|io|gg|me|tv|ly|be|co)/[^\s<>\"'）)\]]+",
    re.IGNORECASE,
)

MARKUP = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|div|span|img|font|em|strong|code|pre|table|t[rdh]|ul|ol|li|h[1-6])(?:\s[^<>\n]{0,200})?/?>|"
    r"```|\[/?(?:b|i|u|url|img|color|quote|spoiler)(?:=[^\]\n]{0,100})?\]|&(?:amp|lt|gt|quot|nbsp|#\d{2,5});|!\[[^\]\n]{0,100}\]\(",
    re.IGNORECASE,
)

_ODD = re.compile(r"[^\w\s.,!?;:'\"\-–—…()\[\]*~«»‹›“”„‘’‚。、，！？：；「」『』（）《》〈〉～·・•%&/+=#@°€$£¥]")
"""Neither a letter, nor a digit, nor a mark that people write."""


class _Pattern(ByMessage):
    everyone = True
    PATTERNS: ClassVar[dict[str, tuple[re.Pattern[str], str, str]]] = {
        "link": (LINK, "/.", "a link: {}"),
        "markup": (MARKUP, "<`[&", "markup: {}"),
        "placeholder": (PLACEHOLDER, "{<[", "an unfilled placeholder: {}"),
        "control-token": (CONTROL, "<[#", "a mark of a chat template: {}"),
        "lost-character": (
            re.compile("\ufffd+|(?:Ã[\u0080-\u00bf]|â€[\u0080-\u02dc™œ])+"),
            "\ufffdÃâ",
            "characters were lost in an earlier conversion: {}",
        ),
    }
    """Pattern, characters one of which any match has (finding these costs next to nothing), and words."""

    def __init__(self, check: Check, context: Context) -> None:
        super().__init__(check, context)
        self.pattern, self.marks, self.what = self.PATTERNS[check.name]
        self.special: list[str] = []
        if check.name == "control-token" and context.base is not None:
            added = context.tokenizer.get_added_tokens_decoder().values()
            self.special = [token.content for token in added if token.special and len(token.content) > 2 and not token.content.isalnum()]

    def find(self, text: str) -> Sequence[tuple[int, int, str]]:
        worth = any(mark in text for mark in self.marks) and (self.pattern is not LINK or "/" in text or "www" in text.lower())
        found = [(*match.span(), self.what) for match in self.pattern.finditer(text)] if worth else []
        for token in self.special:
            at = text.find(token)
            if at >= 0 and not any(start <= at < stop for start, stop, _ in found):
                found.append((at, at + len(token), "a control token of the base: {}"))
        return found


class _Symbols(Examiner):
    LEAST = 20

    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.share = check.name, context.threshold(check)

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        found = []
        for number, message in enumerate(row.messages):
            text = message.content
            if len(text) < self.LEAST:
                continue
            odd = sum(unicodedata.category(c)[0] != "M" for c in _ODD.findall(text))
            if odd >= self.share * len(text):
                found.append(Flag(self.name, f"{odd / len(text):.0%} symbols: {about(text)}", round(odd / len(text), 3), number))
        return found


class _Stretched(ByMessage):
    everyone = True

    def __init__(self, check: Check, context: Context) -> None:
        super().__init__(check, context)
        self.pattern = re.compile(rf"(\S)\1{{{max(2, int(self.threshold)) - 1},}}")
        self.threshold = 1

    def find(self, text: str) -> Sequence[tuple[int, int, str]]:
        return [(*match.span(), f"{len(match[0])} times the same character: {{}}") for match in self.pattern.finditer(text)]


CHECKS = (
    Check("link", "links", 1, "links in a row; from it on", "chat exports", _Pattern),
    Check("markup", "HTML, BBCode, code fences, entities", 1, "pieces of it in a row; from it on", "web and forum exports", _Pattern),
    Check("placeholder", "placeholders that nobody filled in", 1, "of them in a row; from it on", "character cards, PIPPA", _Pattern),
    Check(
        "control-token", "marks of chat templates inside a turn", 1, "of them in a row; from it on", "templates, and the base's own tokens", _Pattern
    ),
    Check(
        "lost-character", "characters lost in an earlier conversion", 1, "places in a row; from it on", "U+FFFD and UTF-8 read as Latin-1", _Pattern
    ),
    Check(
        "symbols",
        "turns that are mostly symbols",
        0.2,
        "share of a turn's characters that no letter, digit or usual mark are; from it on",
        "C4's and Gopher's symbol rules, twice as lenient: they are for web pages",
        _Symbols,
    ),
    Check(
        "stretched",
        "one character over and over",
        12,
        "times in a row; from it on",
        "our own: “Nooooooo” passes, a line of dashes does not",
        _Stretched,
    ),
)
