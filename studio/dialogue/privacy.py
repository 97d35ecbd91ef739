"""Personal data in text: where it stands, and what may stand there instead.

Everything with a check digit or a form that a library can prove is proved: cards by Luhn and their issuer's lengths, IBANs by mod 97 and
their country's length, addresses by ``ipaddress``, phone numbers by phonenumbers. Names are those of the person's own list: names that are
guessed are wrong in every second line of fiction. What is reserved for examples (``example.org``, 192.0.2.0/24, 555-01xx …) is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from pathlib import Path

import msgspec

from studio.files import append_line, read_lines
from studio.text import normal

KINDS = ("mail", "phone", "ip", "card", "iban", "name")
REGIONS = ("US", "GB")
"""Whose phone numbers are known without a country code, where nothing else is said."""

CJK = "\u3040-\u30fa\u3400-\u9fff\uac00-\ud7af"
"""Letters of scripts that write without spaces, as a part of a character class: they end a mail address and begin none."""

_MAIL = re.compile(
    rf"(?<!(?![{CJK}])[\w.%+-])(?:(?![{CJK}])[\w.%+-]){{1,64}}(?:@|\s?[\[(]at[\])]\s?)"
    rf"(?:(?:(?![{CJK}])[\w-]){{1,63}}(?:\.|\s?[\[(]dot[\])]\s?)){{1,5}}(?:(?![{CJK}])[^\W\d_]){{2,24}}(?!(?![{CJK}])[\w-])",
    re.IGNORECASE,
)
_RESERVED_MAIL = re.compile(r"(?:@|[)\]]\s?)(?:[\w-]+\.)*(?:example\.(?:com|org|net)|example|test|invalid|localhost)$", re.IGNORECASE)

_IP4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
_RESERVED_IP = (IPv4Network("192.0.2.0/24"), IPv4Network("198.51.100.0/24"), IPv4Network("203.0.113.0/24"), IPv6Network("2001:db8::/32"))
VERSION = re.compile(r"(?:\bv|version|release|firmware|chapter|section|§)\s*\.?$", re.IGNORECASE)

_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3(?:0[0-5]|[689])"), (14, 16, 19)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),
    (re.compile(r"6011|64[4-9]|65|62|81"), (16, 17, 18, 19)),
    (re.compile(r"5018|5020|5038|5893|6304|6759|676[1-3]"), (13, 14, 15, 16, 17, 18, 19)),
)
"""Beginnings of card numbers and how long these are: Visa, Mastercard, American Express, Diners, JCB, Discover and UnionPay, Maestro."""

_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?!\w)", re.IGNORECASE)
IBAN_BEGUN = re.compile(r"(?=(?<!\w)([A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){0,30}))", re.IGNORECASE)
"""Wherever an IBAN may be on its way."""
_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 "
    "GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 "
    "MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SD18 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS = {code[:2]: int(code[2:]) for code in _IBANS.split()}
"""By country."""

_PHONE_LIKE = re.compile(r"(?:\d[\s().\-/–]{0,3}){6,}\d")
_RESERVED_PHONE = re.compile(r"55501\d\d$")

_SUFFIX = (
    r"(?:['’]s|s['’]|['’]|-?(?:t|val|vel|nak|nek|hoz|hez|höz|ról|ről|tól|től|ban|ben|ba|be|ra|re|nál|nél|ból|ből|ért|ig|ék|éknál|ékhoz|é|on|en|ön|m|d|ja|je|"
    r"s|ka|kám|cska))?"
)
"""What names end with in English, German and Hungarian."""


class Found(msgspec.Struct, frozen=True):
    kind: str
    start: int
    stop: int
    text: str


class Name(msgspec.Struct, frozen=True):
    """One entry of the person's list: ``Anna Kovács``, or ``Anna = Robin`` where it is said what she shall be called."""

    real: str
    given: str = ""


def read_names(entries: Iterable[str]) -> list[Name]:
    found = []
    for entry in entries:
        real, _, given = entry.partition("=")
        if real.strip():
            found.append(Name(" ".join(real.split()), given.strip()))
    return found


class Finder:
    """Looks for personal data in many texts."""

    def __init__(self, kinds: Collection[str] = KINDS, names: Sequence[Name] = (), regions: Sequence[str] = ()) -> None:
        """``names``: one written in small letters is meant in any case, another as it is written and in capitals."""
        self.kinds = tuple(kind for kind in KINDS if kind in kinds)
        self.names = {normal(name.real): name for name in names}
        self.regions = tuple(regions) or REGIONS
        self._last: dict[str, list[Found]] = {}

    @cached_property
    def _name_patterns(self) -> list[re.Pattern[str]]:
        exact, any_case, unspaced = [], [], []
        for name in sorted({name.real for name in self.names.values()}, key=len, reverse=True):
            written = r"\s+".join(_lengthened(word) for word in name.split())
            if any("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in name):
                unspaced.append(re.escape(name))
            elif name == name.lower():
                any_case.append(written)
            else:
                exact += [written, r"\s+".join(re.escape(word.upper()) for word in name.split())]
        whole = [(exact, 0), (any_case, re.IGNORECASE)]
        patterns = [re.compile(rf"(?<!\w)(?P<name>{'|'.join(each)}){_SUFFIX}(?!\w)", flag) for each, flag in whole if each]
        return patterns + ([re.compile(rf"(?P<name>{'|'.join(unspaced)})")] if unspaced else [])

    def find(self, text: str) -> list[Found]:
        """What there is, in order, none of it twice: what one kind has proved is not looked at by the next."""
        if (known := self._last.get(text)) is not None:
            return known
        found: list[Found] = []
        digits = any(c.isdigit() for c in text)

        def take(kind: str, start: int, stop: int) -> None:
            if all(stop <= other.start or start >= other.stop for other in found):
                found.append(Found(kind, start, stop, text[start:stop]))

        if "@" in text or "at)" in text or "at]" in text:
            for match in _MAIL.finditer(text):
                if not _RESERVED_MAIL.search(match[0]):
                    take("mail", *match.span())
        if digits:
            for match in _IBAN.finditer(text):
                if length := iban_length(match[0]):
                    take("iban", match.start(), match.start() + length)
            for match in _CARD.finditer(text):
                if is_card(match[0]):
                    take("card", *match.span())
        if digits or "::" in text:
            for pattern in (_IP4, _IP6):
                for match in pattern.finditer(text):
                    if is_address(match[0]) and not VERSION.search(text[: match.start()]):
                        take("ip", *match.span())
        if "phone" in self.kinds and digits and _PHONE_LIKE.search(text):
            for start, stop in self._phones(text):
                take("phone", start, stop)
        if self.names:
            for pattern in self._name_patterns:
                for match in pattern.finditer(text):
                    take("name", *match.span("name"))
        kept = sorted((one for one in found if one.kind in self.kinds), key=lambda one: one.start)
        if len(self._last) > 64:
            self._last.clear()
        self._last[text] = kept
        return kept

    def _phones(self, text: str) -> Iterable[tuple[int, int]]:
        from phonenumbers import Leniency, PhoneNumberMatcher

        for region in self.regions:
            for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
                plain = re.sub(r"\D", "", match.raw_string)
                abroad = match.raw_string.lstrip("( ").startswith(("+", "00"))
                if _RESERVED_PHONE.search(plain) or (not abroad and not _written_as_a_number(match.raw_string)):
                    continue
                yield match.start, match.end


def _written_as_a_number(raw: str) -> bool:
    """Whether digits without a country code look like something to be dialled and not like a sum: grouped, or beginning with 0, or ten of them."""
    groups = [part for part in re.split(r"\D+", raw) if part]
    sum_ = re.fullmatch(r"\d{1,3}(?:[ ,.]\d{3})+", raw)
    return bool((len(groups) > 1 and max(map(len, groups)) >= 3 and not sum_) or groups[0].startswith("0") or len(groups[0]) in (10, 11))


def _lengthened(word: str) -> str:
    """The word as a pattern; a last a or e may be long, as before Hungarian endings."""
    if word[-1:] in ("a", "e") and len(word) > 2:
        return re.escape(word[:-1]) + f"[{word[-1]}{'á' if word[-1] == 'a' else 'é'}]"
    return re.escape(word)


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if place % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if len(set(digits)) < 2 or not luhn(digits):
        return False
    groups = [len(part) for part in re.split(r"[ -]", text)]
    if len(groups) > 1 and (min(groups) < 3 or max(groups) > 7):
        return False
    return any(pattern.match(digits) and len(digits) in lengths for pattern, lengths in _ISSUERS)


def iban_length(text: str) -> int:
    """How many characters of the text are an IBAN; 0 if its beginning is none."""
    plain, length = "", _IBAN_LENGTHS.get(text[:2].upper(), 0)
    if not length:
        return 0
    for place, character in enumerate(text):
        if character.isalnum():
            plain += character.upper()
            if len(plain) == length:
                following = text[place + 1 : place + 2]
                number = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
                return place + 1 if not following.isalnum() and int(number) % 97 == 1 else 0
    return 0


def is_address(text: str) -> bool:
    try:
        found = ip_address(text)
    except ValueError:
        return False
    if found.is_loopback or found.is_unspecified or any(found in network for network in _RESERVED_IP):
        return False
    return isinstance(found, IPv4Address) or sum(bool(part) for part in text.split(":")) >= 3


# What may stand there instead


def redacted(text: str, found: Sequence[Found]) -> str:
    """The text with ``[mail]``, ``[phone]`` … in the places found."""
    return _replaced(text, [(one, f"[{one.kind}]") for one in found])


def _replaced(text: str, changes: Sequence[tuple[Found, str]]) -> str:
    for one, new in reversed(changes):
        text = text[: one.start] + new + text[one.stop :]
    return text


_NAMES = {
    "latin": (
        "Robin Alex Kim Sam Noa Jules Charlie Mika Toni Nico Sascha Lou Remy Ari Dani Jo Ellis Quinn Sky Rowan Max Billie Marlo Jamie Kit "
        "Lenny Casey Riley Avery Blake"
    ),
    "han": "小林 小陈 阿明 小雨 小周 阿宁 小何 小叶 阿成 小苏 小江 阿岚 小魏 小秦 阿川 小白",
    "kana": "あおい ひなた みなと そら りつ いつき はる つばさ まこと ちひろ",
}
"""Names that say nothing of who bears them, by the script of the one they stand for."""


class Pseudonyms:
    """What stands for whom, the same everywhere and from one time to the next.

    ``.studio/pseudonyms.jsonl`` grows by one line for each new one. It is the key to what was hidden: delete it, and nobody can tell any more.
    """

    def __init__(self, path: Path, names: Sequence[Name] = ()) -> None:
        self.path = path
        self.chosen = {normal(name.real): name.given for name in names if name.given}
        self.given: dict[tuple[str, str], str] = {(row["kind"], row["real"]): row["given"] for _, row in read_lines(path)}
        self.new: list[tuple[str, str, str]] = []

    def stand_in(self, one: Found) -> str:
        """The pseudonym of what was found, made if there is none yet; ``keep`` writes it down."""
        real = normal(one.text) if one.kind in ("mail", "name") else re.sub(r"[^\da-z:+.]", "", one.text.casefold()).removeprefix("+")
        if one.kind == "name":
            real = re.sub("á$", "a", re.sub("é$", "e", real)) if real[-1:] in "áé" and real not in self.chosen else real
            if real in self.chosen:
                return self.chosen[real]
        key = one.kind, real
        if key not in self.given:
            number = sum(kind == one.kind for kind, _ in self.given)
            self.given[key] = _example(
                one, number, {given for (kind, _), given in self.given.items() if kind == one.kind} | set(self.chosen.values())
            )
            self.new.append((one.kind, real, self.given[key]))
        return self.given[key]

    def replaced(self, text: str, found: Sequence[Found]) -> str:
        return _replaced(text, [(one, self.stand_in(one)) for one in found])

    def keep(self) -> None:
        for kind, real, given in self.new:
            append_line(self.path, {"kind": kind, "real": real, "given": given}, durable=False)
        self.new.clear()


def _example(one: Found, number: int, taken: Collection[str]) -> str:
    """The ``number``-th of what is reserved for examples, of the same kind."""
    match one.kind:
        case "mail":
            return f"person{number + 1}@example.org"
        case "phone":
            return f"+1 {202 + number // 100} 555 01{number % 100:02}"
        case "ip":
            if ":" in one.text:
                return f"2001:db8::{number + 1:x}"
            return f"{('192.0.2', '198.51.100', '203.0.113')[number // 254 % 3]}.{number % 254 + 1}"
        case "card":
            digits = f"40000000{number % 10**7:07}"
            return " ".join((digits + next(d for d in "0123456789" if not luhn(digits + d)))[at : at + 4] for at in range(0, 16, 4))
        case "iban":
            return f"XX00 0000 0000 {number % 10**4:04}"
    script = "han" if re.search(r"[\u4e00-\u9fff]", one.text) else "kana" if re.search(r"[\u3040-\u30ff]", one.text) else "latin"
    names = _NAMES[script]
    free = (f"{name}{'' if round_ == 1 else round_}" for round_ in range(1, 10_000) for name in names.split())
    return next(name for name in free if name not in taken)
