"""Personal data, one check for each kind, so that each can be moved and turned off by itself."""

from __future__ import annotations

from collections.abc import Sequence

from studio.dialogue.checks.base import ByMessage, Check, Context
from studio.dialogue.privacy import Finder, read_names

_WORDS = {
    "mail": "a mail address: {}",
    "phone": "a phone number: {}",
    "ip": "an IP address: {}",
    "card": "a card number: {}",
    "iban": "an IBAN: {}",
    "name": "a name from the list: {}",
}


class _Personal(ByMessage):
    everyone = True

    def __init__(self, check: Check, context: Context) -> None:
        super().__init__(check, context)
        if context.finder is None:
            context.finder = Finder(names=read_names(context.settings.names), regions=context.settings.regions)
        self.finder = context.finder

    def find(self, text: str) -> Sequence[tuple[int, int, str]]:
        return [(one.start, one.stop, _WORDS[one.kind]) for one in self.finder.find(text) if one.kind == self.check.name]


CHECKS = (
    Check("mail", "mail addresses", 1, "of them in a row; from it on", "own pattern; example.org and its like pass", _Personal),
    Check("phone", "phone numbers", 1, "of them in a row; from it on", "phonenumbers, numbers that can exist; regions in checks.toml", _Personal),
    Check("ip", "IP addresses", 1, "of them in a row; from it on", "ipaddress; loopback and documentation networks pass", _Personal),
    Check("card", "payment card numbers", 1, "of them in a row; from it on", "Luhn, and the issuers' beginnings and lengths", _Personal),
    Check("iban", "bank accounts", 1, "of them in a row; from it on", "mod 97, and the countries' lengths", _Personal),
    Check("name", "names that are not to be in it", 1, "of them in a row; from it on", "the person's own list: names in checks.toml", _Personal),
)
