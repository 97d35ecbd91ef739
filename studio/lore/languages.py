"""Which language a text is in: its script first, which settles most, then a small model for those that share one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

LEAST = 15
"""Letters below which there is no verdict on a text in a script that many languages share."""

MANY = [
    "en", "de", "fr", "es", "it", "pt", "nl", "sv", "no", "da", "fi", "is", "pl", "cs", "sk", "hu",
    "ro", "tr", "vi", "id", "ms", "tl", "ca", "eu", "gl", "hr", "sl", "et", "lv", "lt", "sq", "la",
    "eo", "ga", "cy", "af", "sw", "ru", "uk", "be", "bg", "sr", "mk", "kk", "mn", "ar", "fa", "ur",
]  # fmt: skip
"""Languages told apart where the script leaves it open."""

NAMES = {
    "en": "English", "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "pt": "Portuguese", "nl": "Dutch", "sv": "Swedish", "no": "Norwegian", "da": "Danish", "fi": "Finnish", "pl": "Polish", "cs": "Czech",
    "sk": "Slovak", "hu": "Hungarian", "ro": "Romanian", "tr": "Turkish", "vi": "Vietnamese", "id": "Indonesian", "ms": "Malay", "ru": "Russian",
    "uk": "Ukrainian", "be": "Belarusian", "bg": "Bulgarian", "sr": "Serbian", "el": "Greek", "he": "Hebrew", "ar": "Arabic", "fa": "Persian",
    "ur": "Urdu", "th": "Thai", "hi": "Hindi", "la": "Latin", "ca": "Catalan", "hr": "Croatian", "eo": "Esperanto", "": "unclear",
    "latin": "Latin script",
}  # fmt: skip

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff\uff66-\uff9f]"), 5.0),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]"), 1.0),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]"), 1.0),
    ("th", re.compile(r"[\u0e00-\u0e7f]"), 1.0),
    ("he", re.compile(r"[\u0590-\u05ff]"), 1.0),
    ("el", re.compile(r"[\u0370-\u03ff]"), 1.0),
    ("hi", re.compile(r"[\u0900-\u097f]"), 1.0),
    ("ka", re.compile(r"[\u10a0-\u10ff]"), 1.0),
    ("hy", re.compile(r"[\u0530-\u058f]"), 1.0),
)
"""Scripts that settle the language, and how much one character weighs: kana before Han, since Japanese mixes both."""


def name_of(code: str) -> str:
    return NAMES.get(code, code)


def language(text: str) -> str:
    """``ja``, ``zh``, ``ko``, ``ru`` or ``latin`` by script alone, in microseconds: for sorting replies and prompts."""
    sample = text[:20_000]
    letters = sum(character.isalpha() for character in sample) or 1
    shares = {
        "ja": len(re.findall(r"[\u3040-\u30ff]", sample)) * 5,
        "zh": len(re.findall(r"[\u4e00-\u9fff]", sample)),
        "ko": len(re.findall(r"[\uac00-\ud7af]", sample)),
        "ru": len(re.findall(r"[\u0400-\u04ff]", sample)),
    }
    best = max(shares, key=lambda key: shares[key])
    return best if shares[best] / letters > 0.3 else "latin"


def spoken(text: str) -> str:
    """The language's ISO 639 code, or ``""`` where the text is too short to tell."""
    sample = text[:1000]
    letters = sum(character.isalpha() for character in sample)
    if not letters:
        return ""
    if not sample.isascii():
        for code, pattern, weight in _SCRIPTS:
            if len(pattern.findall(sample)) * weight > 0.3 * letters:
                return code
    if letters < LEAST:
        return ""
    found, _ = _identifier().classify(sample[:300])
    return str(found)


def surer(text: str, than: Sequence[str]) -> tuple[str, float]:
    """The language a text is in, and by how much (natural logarithm) it is likelier than the likeliest of some others.

    ``("", 0)`` where the text is too short to tell. Scripts that settle the language are as sure as can be.
    """
    code = spoken(text)
    if not code or code in than:
        return code, 0.0
    ranked = dict(_identifier().rank(text[:300]))
    if code not in ranked or ranked[code] < max(ranked.values()):
        return code, 1000.0
    return code, float(ranked[code] - max((ranked[one] for one in than if one in ranked), default=ranked[code] - 1000.0))


def languages_of(texts: Sequence[str], most: int = 60) -> dict[str, float]:
    """Share of the characters of some texts by language, the largest first; at most ``most`` of them, evenly spread, are asked."""
    step = max(1, -(-len(texts) // most))
    weights: Counter[str] = Counter()
    for text in texts[::step]:
        if code := spoken(text):
            weights[code] += len(text)
    whole = sum(weights.values())
    return {code: round(number / whole, 4) for code, number in weights.most_common() if number >= 0.02 * whole} if whole else {}


@cache
def _identifier() -> Any:
    """py3langid's model (0.7 s the first time), restricted to ``MANY`` apart from any other user of the library."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE)
    made.set_languages(MANY)
    return made
