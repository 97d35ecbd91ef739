"""Drawing a token, and turning tokens into text."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from studio.checkpoints.base import load_tokenizer
from studio.engines.embedded.protocol import ChatRequest, parse
from studio.engines.embedded.sampling import Draw
from studio.engines.embedded.textstream import TextStream
from tests.engines.engine_family import BY_HEART


def drawn(times: int = 400, prompt: tuple[int, ...] = (), repeat: bool = False, **settings: float) -> Counter[int]:
    """Counts over a vocabulary of five with probabilities 0.4, 0.3, 0.15, 0.1, 0.05."""
    base = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]).log()
    asked = parse(json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]} | settings).encode(), ChatRequest)
    counts: Counter[int] = Counter()
    draw = Draw(asked, list(prompt), 7)
    for seed in range(times):
        if not repeat:
            draw = Draw(asked, list(prompt), seed)
        counts[draw(base.clone())] += 1
    return counts


def test_frequencies_are_the_probabilities() -> None:
    counts = drawn(4000)
    for token, share in enumerate((0.4, 0.3, 0.15, 0.1, 0.05)):
        assert counts[token] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"temperature": 0}, {0}),
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.5}, {0, 1}),
        ({"top_p": 0.71}, {0, 1, 2}),
        ({"top_p": 0.01}, {0}),
        ({"min_p": 0.3}, {0, 1, 2}),
        ({"top_k": 3, "top_p": 0.8}, {0, 1}),  # 0.4 + 0.3 are 82 % of the three that top-k leaves
        ({"top_k": -1}, {0, 1, 2, 3, 4}),
    ],
)
def test_each_limit_keeps_the_right_tokens(settings: dict[str, float], kept: set[int]) -> None:
    assert set(drawn(**settings)) == kept


def test_penalties_push_down_what_was_said() -> None:
    assert drawn(prompt=(0,), repetition_penalty=100.0)[0] == 0
    assert drawn(2, repeat=True, temperature=0, presence_penalty=2) == Counter({0: 1, 1: 1})
    assert drawn(3, repeat=True, temperature=0, frequency_penalty=0.5) == Counter({0: 2, 1: 1})
    assert drawn(4, repeat=True, temperature=0) == Counter({0: 4})


def test_any_cut_of_the_tokens_gives_whole_characters(pocket: Path) -> None:
    tokenizer = load_tokenizer(pocket)
    ids = tokenizer.encode(BY_HEART, add_special_tokens=False).ids
    stream, pieces = TextStream(tokenizer, []), []
    for token in ids:
        pieces.append(stream.feed(token))
    assert "".join(pieces) + stream.close() == BY_HEART
    assert "\ufffd" not in "".join(pieces) and "" in pieces, "some token is only a part of a character"


def test_broken_bytes_are_shown_once_they_are_certain(pocket: Path) -> None:
    tokenizer = load_tokenizer(pocket)
    lead = tokenizer.encode("🕯", add_special_tokens=False).ids[:1]
    stream = TextStream(tokenizer, [])
    text = "".join(stream.feed(token) for token in [*lead, *tokenizer.encode("a b", add_special_tokens=False).ids]) + stream.close()
    assert text.endswith("a b") and text.startswith("\ufffd")


def test_stop_strings_over_random_token_borders(pocket: Path) -> None:
    tokenizer, rng = load_tokenizer(pocket), random.Random(5)
    for _ in range(60):
        place = rng.randrange(1, len(BY_HEART) - 4)
        stop = BY_HEART[place : place + rng.randrange(1, 5)]
        stream, text = TextStream(tokenizer, [stop, "never said"]), ""
        for token in tokenizer.encode(BY_HEART, add_special_tokens=False).ids:
            text += stream.feed(token)
            if stream.stopped:
                break
        assert text + stream.close() == BY_HEART.partition(stop)[0]
        assert stream.stopped
