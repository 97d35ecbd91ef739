"""Personal data: what is planted is found, nothing is found in what is none; what stands in is the same everywhere, and can be taken back."""

from __future__ import annotations

import random
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.dialogue.checks import Settings, run, save_settings
from studio.dialogue.cleaning import carry_out, plan, pseudonyms_path
from studio.dialogue.editing import Editor
from studio.dialogue.privacy import Finder, Pseudonyms, iban_length, is_card, luhn, read_names, redacted
from studio.dialogue.store import REJECTED, rows
from studio.errors import StudioError
from studio.persona.folder import Persona
from tests.dialogue.checks.making import SAID, good, put, row

REGIONS = ("US", "GB", "HU", "DE", "FR", "JP")
NAMES = ("Anna", "Kovács Béla", "Tom Baker", "小明", "zsuzsi")


def cards(chance: random.Random, count: int) -> list[str]:
    made = []
    for number in range(count):
        start, length, groups = (("4", 16, (4, 4, 4, 4)), ("53", 16, (4, 4, 4, 4)), ("37", 15, (4, 6, 5)))[number % 3]
        digits = start + "".join(chance.choices("0123456789", k=length - len(start) - 1))
        digits += next(d for d in "0123456789" if luhn(digits + d))
        cut, at = [], 0
        for size in groups:
            cut.append(digits[at : at + size])
            at += size
        made.append((" ", "-", "")[number // 3 % 3].join(cut))
    return made


def ibans(chance: random.Random, count: int) -> list[str]:
    made = []
    for number in range(count):
        country, length = (("DE", 22), ("HU", 28), ("FR", 27), ("NO", 15))[number % 4]
        account = "".join(chance.choices("0123456789", k=length - 4))
        check = 98 - int("".join(str(int(c, 36)) for c in account + country + "00")) % 97
        plain = f"{country}{check:02}{account}"
        made.append(" ".join(plain[at : at + 4] for at in range(0, length, 4)) if number % 2 else plain)
    return made


def phones() -> list[str]:
    import phonenumbers
    from phonenumbers import PhoneNumberFormat, PhoneNumberType

    made = ["(212) 736-5000", "212-736-5000", "+1 212 736 5000", "+12127365000", "2127365000", "001 212 736 5000"]
    for region in REGIONS[1:]:
        for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE):
            number = phonenumbers.example_number_for_type(region, kind)
            for form in (PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.E164, PhoneNumberFormat.NATIONAL):
                made.append(phonenumbers.format_number(number, form))
    return made


def planted() -> dict[str, list[str]]:
    chance = random.Random(3)
    part = lambda: "".join(chance.choices("abcdefghijklmnop", k=chance.randint(3, 9)))  # noqa: E731
    mails = [f"{part()}{chance.choice(('.', '_', '+', ''))}{part()}@{part()}.{chance.choice(('com', 'hu', 'co.uk', 'de'))}" for _ in range(58)]
    addresses = [".".join(str(chance.randint(1, 223)) for _ in range(4)) for _ in range(40)]
    addresses += [":".join(f"{chance.randint(1, 65535):x}" for _ in range(8)) for _ in range(10)] + [f"2a02:{n:x}::{n:x}:1" for n in range(1, 11)]
    return {
        "mail": [*mails, "tom (at) gmail (dot) com", "éva@posta.hu"],
        "phone": phones(),
        "ip": addresses,
        "card": cards(chance, 60),
        "iban": ibans(chance, 60),
        "name": ["Anna", "ANNA", "Annával", "Annának", "Anna's", "Kovács Béla", "Kovács Bélát", "Tom Baker", "小明", "Zsuzsi", "zsuzsi"],
    }


FINE = [
    *SAID,
    "At 12:30:45 on 2019-05-12, 24.12.2001 and 3/4/99 we had 10,000,000 of 25,000,000 crowns.",
    "In 1801 1802 1803 1804 1805 the crates 11400 11401 11402 11403 came.",
    "Version 1.2.3.4 of std::vector::x, chapter 10.11.12.13, ISBN 978-3-16-148410-0.",
    "It is 127.0.0.1 or ::1, he said, at 192.0.2.7; write to me@example.org or call 202 555 0123.",
    "My number is 4111 1111 1111 1112, order 1234-5678-9012-3456, DE89 3704 0044 0532 0130 01.",
    "Roll 20 15 12 18 9 3 for it; 555-0199 is out of order. 100 000 000 years. 1234567890123456789012345.",
    "Annual fees; Annabel will mark the rose. tomorrow, @home, a@b, x@y",
    "编号一万一千四百号，2024年5月12日，第12345678页。",
]


def finder(kinds: tuple[str, ...] = ("mail", "phone", "ip", "card", "iban", "name")) -> Finder:
    return Finder(kinds, read_names(NAMES), REGIONS)


def test_recall_and_precision_on_planted_sets() -> None:
    looking = finder()
    for kind, values in planted().items():
        missed = []
        for number, value in enumerate(values):
            text = f"{SAID[number % len(SAID)]} So, {value}, if you must. {SAID[(number + 3) % len(SAID)]}"
            if [(one.kind, one.text.casefold()) for one in looking.find(text)] != [(kind, _core(kind, value))]:
                missed.append((value, looking.find(text)))
        assert not missed, kind
    wrong = {text: looking.find(text) for text in FINE if looking.find(text)}
    assert not wrong


def _core(kind: str, value: str) -> str:
    """What is found of a name is the name without its ending."""
    plain = value.casefold()
    return plain.removesuffix("'s").removesuffix("val").removesuffix("nak").removesuffix("t") if kind == "name" and value[-1:] in "slkt" else plain


def test_check_digits_are_checked() -> None:
    assert is_card("4111 1111 1111 1111") and not is_card("4111 1111 1111 1112") and not is_card("0000 0000 0000 0000")
    assert (
        iban_length("DE89 3704 0044 0532 0130 00 is mine") == 27 and not iban_length("DE89 3704 0044 0532 0130 01") and not iban_length("DE89 3704")
    )
    number = cards(random.Random(8), 1)[0].replace(" ", "")
    others = [number[:at] + digit + number[at + 1 :] for at in range(1, 16) for digit in "0123456789" if digit != number[at]]
    assert not any(is_card(one) for one in others)


def test_pseudonyms_are_the_same_for_the_same_thing_and_are_no_data_themselves(tmp_path: Path) -> None:
    looking, path = finder(), tmp_path / "p.jsonl"
    names = read_names([*NAMES[:-1], "zsuzsi = Mimi"])
    first = Pseudonyms(path, names)
    texts = [
        "Anna, ANNA és Annával, Annát: anna.k@gmail.com, Anna.K@GMAIL.com",
        "+36 20 123 4567 is 0036 20 123 4567 and +36201234567",
        "Zsuzsi, 小明, 8.8.8.8, 2a02:1::1:1, 4111 1111 1111 1111, 4111111111111111, DE89 3704 0044 0532 0130 00",
    ]
    done = [first.replaced(text, looking.find(text)) for text in texts]
    first.keep()
    assert done[0].count("Robin") == 4 and done[0].count("person1@example.org") == 2
    assert len(set(first.given.values())) == len(first.given)
    assert "Mimi" in done[2] and done[2].count("4000 0000") == 2
    assert not [looking.find(text) for text in done if looking.find(text)]
    again = Pseudonyms(path, names)
    assert [again.replaced(text, looking.find(text)) for text in texts] == done and not again.new
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_pseudonyms_stay_apart(tmp_path: Path) -> None:
    stand_ins = Pseudonyms(tmp_path / "p.jsonl")
    looking = Finder()
    chance = random.Random(2)
    for kind, values in (
        ("mail", [f"a{n}@posta.hu" for n in range(700)]),
        ("card", cards(chance, 700)),
        ("ip", [f"8.8.{n // 250}.{n % 250}" for n in range(700)]),
    ):
        given_ = [stand_ins.replaced(value, looking.find(value)) for value in values]
        assert len(set(given_)) == len(values), kind
        assert not any(looking.find(one) for one in given_)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("0123456789 .:-+()@abcdeF[]/–DEGB\u202f中"), max_size=60) | st.text(max_size=60))
def test_nothing_that_is_left_after_redaction_is_found_where_it_stood(text: str) -> None:
    looking = finder()
    found = looking.find(text)
    assert all(text[one.start : one.stop] == one.text for one in found)
    assert all(a.stop <= b.start for a, b in pairwise(found))
    assert redacted(text, found).count("[") >= len(found)


def plant(persona: Persona) -> None:
    save_settings(persona, Settings(names=["Anna = Ilka"], regions=["HU"]))
    put(
        persona,
        [
            *good(30),
            row("Write to anna.k@gmail.com, Anna.", "I did. anna.k@gmail.com does not answer.", "Call 06 20 123 4567?", "Call Anna yourself."),
            row("As ever?", "As an AI language model, I have no ever.", "Hm?", "So it goes, as they say."),
        ],
    )


def test_cleaning_is_told_first_then_done_and_can_be_undone(persona: Persona) -> None:
    plant(persona)
    before = list(rows(persona))
    made, stand_ins = plan(persona, ["mail", "phone", "name"], True, ["assistant-speak"])
    assert made.replaced == {"mail": 2, "phone": 1, "name": 2}
    assert list(made.reject.values()) == [["assistant-speak"]]
    assert list(rows(persona)) == before and not pseudonyms_path(persona).exists()
    told = carry_out(persona, made, stand_ins)
    assert len(told) == 2
    after = list(rows(persona))
    assert [m.content for m in after[30].messages] == [
        "Write to person1@example.org, Ilka.", "I did. person1@example.org does not answer.", "Call +1 202 555 0100?", "Call Ilka yourself.",
    ]  # fmt: skip
    assert after[30].id == before[30].id and after[30].edited and after[31].state == REJECTED and after[:30] == before[:30]
    assert not run(persona, ["mail", "phone", "name", "assistant-speak"]).flagged
    nothing, _ = plan(persona, ["mail", "phone", "name"], True, ["assistant-speak"])
    assert not nothing.texts and not nothing.reject
    editor = Editor(persona)
    editor.undo()
    editor.undo()
    assert list(rows(persona)) == before


def test_a_row_that_was_edited_meanwhile_is_left_alone(persona: Persona) -> None:
    plant(persona)
    made, stand_ins = plan(persona, ["mail"])
    identity = next(iter(made.texts))
    Editor(persona).rewrite(identity, 0, "Never mind.")
    carry_out(persona, made, stand_ins)
    assert next(r for r in rows(persona) if r.id == identity).messages[0].content == "Never mind."


def test_names_are_those_of_the_list(persona: Persona) -> None:
    put(persona, good(3))
    with pytest.raises(StudioError, match=r"checks\.toml"):
        plan(persona, ["name"])
