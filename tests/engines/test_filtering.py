"""What a filtering server does not say: the same however the text comes, with as little waiting as there can be."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.engines.filtering import LONGEST, Filter, Rules, Stream, load_rules
from studio.errors import StudioError
from studio.persona.folder import create

RULES = Rules(words=["secret garden", "灯塔", "hush"], names=["Anna Kovács", "Tom = Robin", "小林", "Mary Jane Watson"], regions=["HU", "DE"])
ATOMS = (
    """
anna|Anna|Kovács|Kovácsnak|Tom|TOM|Tom's|小林|小|林|你好|吗。|灯|塔|secret|Secret|garden|hush|the|lamp|is|lit,|(at)|[at]|(dot)|example|gmail|com
anna@gmail.com|b@x|version|v|Version.|1.2.3.4|8.8.8.8|+36|30|123|4567|06|(|+|—|ext|x|12|2001:4860::8888|4111|1111|4111111111111111|DE89|3704
0044|0532|0130|00|GB29|NWBK|60161331926819|*she|smiles*|(she|said)|+44|20|7946|0018|Mary|Jane|Watson|写信到anna@gmail.com吧|ー|电话13812345678
2012-01-02 08:00|anna (at) gmail (dot) com|DE89 3704 0044 0532 0130 00|06 30 123 4567
""".strip()
    .replace("\n", "|")
    .split("|")
)
SPACES = (" ", " ", " ", "  ", "\n", "", "\u3000")


def streamed(rules: Filter, text: str, sizes: list[int]) -> tuple[str, Counter[str]]:
    counts: Counter[str] = Counter()
    stream, out, at = Stream(rules, counts), "", 0
    for size in sizes * (len(text) // max(1, sum(sizes)) + 1):
        out += stream.feed(text[at : at + size])
        at += size
    return out + stream.feed(text[at:]) + stream.close(), counts


WORDS = st.lists(st.tuples(st.sampled_from(ATOMS), st.sampled_from(SPACES)), max_size=20).map(lambda pairs: "".join(a + b for a, b in pairs))


@settings(max_examples=150, deadline=None)
@given(WORDS | st.text(max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_piece_by_piece_is_as_the_whole(text: str, sizes: list[int]) -> None:
    rules = Filter(RULES)
    counts: Counter[str] = Counter()
    assert streamed(rules, text, sizes) == (rules.clean(text, counts), counts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Write to anna.k@gmail.com today.", "Write to [mail] today."),
        ("Write to anna (at) gmail (dot) com, love.", "Write to [mail], love."),
        ("Call +36 30 123 4567 now", "Call [phone] now"),
        ("It is DE89 3704 0044 0532 0130 00 and no other", "It is [iban] and no other"),
        ("My card: 4111 1111 1111 1111.", "My card: [card]."),
        ("The box at 8.8.8.8 hums; version 1.2.3.4 too", "The box at [ip] hums; version 1.2.3.4 too"),
        ("Anna Kovácsnak mondtam, és Tom's here.", "[name]nak mondtam, és Robin's here."),
        ("In the Secret\n  Garden, hush!", "In the […], […]!"),
        ("我住在灯塔里,写信到anna@gmail.com吧", "我住在[…]里,写信到[mail]吧"),
        ("hushed and secretive Anna", "hushed and secretive Anna"),
    ],
)
def test_what_is_taken_out(text: str, said: str) -> None:
    for size in (1, 2, 5, 1000):
        assert streamed(Filter(RULES), text, [size])[0] == said


def test_only_what_may_become_something_waits() -> None:
    prose = "The lamp is lit, and the keeper (who never sleeps) tells you: *the ferry is late again*, as it was on the night we met. " * 3
    stream, waiting = Stream(Filter(RULES), Counter()), []
    for character in prose:
        stream.feed(character)
        waiting.append(len(stream.held))
    assert max(waiting) < 16, "a word, and the bracket before it"
    stream.feed("Call 06 30 123")
    assert stream.held.endswith("06 30 123") and stream.held.startswith("06"), stream.held
    chinese = "我住在海边的房子里你好吗今天天气很好我们一起去散步吧"
    stream = Stream(Filter(RULES), Counter())
    assert len(stream.feed(chinese)) >= len(chinese) - 2


def test_a_text_that_never_comes_to_rest_still_comes() -> None:
    rng = random.Random(1)
    stream, out = Stream(Filter(RULES), Counter()), 0
    for _ in range(100):
        out += len(stream.feed("".join(f"{rng.randrange(10)} " for _ in range(40))))
        assert len(stream.held) <= LONGEST
    assert out > 0
    assert len(stream.feed("x" * 10_000)) > 8_000


def test_the_rules_are_the_persons_files(tmp_path: Path) -> None:
    persona = create("Trial", parent=tmp_path)
    assert load_rules(persona).kinds == ["mail", "phone", "ip", "card", "iban", "name"]
    (persona.root / "checks.toml").write_text('names = ["Anna Kovács"]\nregions = ["HU"]\n')
    (persona.root / "filter.toml").write_text('kinds = ["mail", "name"]\nwords = ["hush"]\nnames = ["Tom"]\n')
    rules = load_rules(persona)
    assert Filter(rules).clean("hush, Tom: Anna Kovács, a@gmail.com, 8.8.8.8") == "[…], [name]: [name], [mail], 8.8.8.8"
    assert rules.regions == ["HU"]
    for wrong, said in (('kinds = ["mial"]', "names mial"), ("words = 3", "is not valid"), ('wrods = ["x"]', "is not valid")):
        (persona.root / "filter.toml").write_text(wrong)
        with pytest.raises(StudioError, match=said):
            load_rules(persona)
