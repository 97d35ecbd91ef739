import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from studio.text import clean, duration, normal, size


def test_nothing_a_terminal_obeys_is_left() -> None:
    hostile = "a\x1b[2Jb\x9b31mc\x07d\x00e\u202ef\u2066g\ud800h\x7f"
    assert clean(hostile) == "a␛[2Jb31mcdefg�h"
    assert clean("你好 👩‍👩‍👧 árvíztűrő\nمرحبا") == "你好 👩‍👩‍👧 árvíztűrő\nمرحبا"


def test_a_sequence_split_over_two_chunks_is_harmless() -> None:
    assert clean("\x1b") + clean("[2J") == "␛[2J"


def test_numbers_for_people() -> None:
    assert (size(512), size(1_500_000), size(8.2e12)) == ("512 B", "1.5 MB", "8200.0 GB")
    assert (duration(8), duration(200), duration(7500)) == ("8 s", "3 min 20 s", "2 h 05 min")


def test_keys_ignore_width_case_and_space() -> None:
    assert normal("ＡＢＣ  x\n") == normal("abc x")


@given(st.text(alphabet=st.sampled_from("aÁß \t\n\u00a0\u3000\u2028Ｌ早👩\u200dé\x1f"), max_size=12) | st.text(max_size=30))
def test_the_short_way_to_the_normal_form_is_the_long_one(text: str) -> None:
    assert normal(text) == " ".join(unicodedata.normalize("NFKC", text).casefold().split())
