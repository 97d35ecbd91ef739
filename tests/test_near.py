"""Near duplicates: what is planted is found, what is found is alike, in any script and however many copies there are."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from studio import near
from studio.text import normal

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 2500)]


def texts_of(count: int, chance: random.Random, han: bool) -> list[list[str]]:
    """Texts as lists of words (of characters, in Han), words drawn as unevenly as in a language."""
    words = HAN if han else ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(4000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    return [chance.choices(words, weights, k=chance.randint(12, 90)) for _ in range(count)]


def planted(count: int, seed: int, han: bool) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts, a third of which are others with some words changed, and which pairs those are."""
    chance = random.Random(seed)
    docs = texts_of(count, chance, han)
    made: list[tuple[int, int]] = []
    for source in range(count // 2):
        words = list(docs[source])
        for _ in range(chance.randint(1, max(1, len(words) // 8))):
            words[chance.randrange(len(words))] = chance.choice(HAN if han else SYLLABLES)
        made.append((source, len(docs)))
        docs.append(words)
    return [("" if han else " ").join(words) for words in docs], made


def jaccard(one: str, other: str) -> float:
    a, b = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (normal(one), normal(other)))
    return len(a & b) / len(a | b)


@pytest.mark.parametrize("han", [False, True], ids=["latin", "han"])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85])
def test_recall_and_precision_on_a_planted_set(threshold: float, han: bool) -> None:
    texts, made = planted(1600, 11, han)
    wanted = {pair for pair in made if jaccard(texts[pair[0]], texts[pair[1]]) >= threshold}
    found = near.pairs(texts, threshold)
    assert len(wanted) > 40
    assert len(wanted & {(i, j) for i, j, _ in found}) >= 0.98 * len(wanted)
    for i, j, likeness in found:
        assert i < j and likeness == pytest.approx(jaccard(texts[i], texts[j]), abs=0.002) and likeness >= threshold


def test_the_same_answer_every_time_and_in_every_process() -> None:
    texts, _ = planted(300, 3, False)
    again = subprocess.run(
        [sys.executable, "-c", "import sys, json; from studio import near; print(json.dumps(near.pairs(json.load(sys.stdin))))"],
        input=json.dumps(texts), capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "99", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert [tuple(pair) for pair in json.loads(again.stdout)] == near.pairs(texts)


def test_copies_are_paired_with_the_first_and_case_width_and_spacing_do_not_count() -> None:
    texts = [
        "Mind the eleventh step.",
        "",
        "mind  the\nELEVENTH step.",
        "Something else altogether, on the sea.",
        "Ｍｉｎｄ the eleventh step.",
        "  ",
    ]
    assert near.pairs(texts) == [(0, 2, 1.0), (0, 4, 1.0)]
    assert near.clusters(texts) == [[0, 2, 4]]


def test_short_texts_count_too() -> None:
    assert near.pairs(["好的。", "好的。", "好", "ok", "OK"]) == [(0, 1, 1.0), (3, 4, 1.0)]
    assert near.pairs([]) == near.pairs(["one"]) == near.clusters(["", " "]) == []


def test_a_chain_is_one_cluster() -> None:
    words = texts_of(1, random.Random(4), False)[0] * 2
    chain = []
    for step in range(8):
        changed = list(words)
        changed[: step * 4] = [f"other{n}" for n in range(step * 4)]
        chain.append(" ".join(changed))
    assert near.likeness(chain[0], chain[-1]) < 0.7 <= near.likeness(chain[0], chain[1])
    assert near.clusters(chain) == [list(range(8))]


def test_a_thousand_that_differ_in_one_word_are_one_cluster_without_a_million_comparisons() -> None:
    frame = " ".join(texts_of(1, random.Random(9), False)[0])
    texts = [f"{frame} and then number {n} came by, as {n} always does" for n in range(1000)]
    compared = 0

    def progress(what: str, done: int, whole: int) -> None:
        nonlocal compared
        if what == "pairs compared":
            compared = max(compared, whole)

    assert near.clusters(texts, 0.6, progress) == [list(range(1000))]
    assert 0 < compared < 200_000


def test_the_search_ends_when_it_is_told_to() -> None:
    texts, _ = planted(600, 5, False)

    def stop(what: str, done: int, whole: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        near.pairs(texts, progress=stop)


def test_importing_it_does_not_load_numpy() -> None:
    subprocess.run([sys.executable, "-c", "import sys, studio.near; sys.exit('numpy' in sys.modules)"], check=True)


def test_a_lone_surrogate_is_a_character_like_another() -> None:
    assert near.pairs(["odd \ud800 text here", "odd \ud800 text here", "odd \ud801 text there"]) == [(0, 1, 1.0)]
