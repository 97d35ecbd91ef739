"""The order and speed in which replies arrive cannot be seen in how they are drawn."""

import random

from studio.tui.review.pacing import Pacer


def test_nothing_is_drawn_until_both_have_begun() -> None:
    pacer = Pacer()
    pacer.arrive(0, "Then sit. The kettle is on.")
    assert pacer.tick() == ["", ""]
    pacer.arrive(1, "I am")
    assert [len(piece) for piece in pacer.tick()] == [4, 4]


def test_neither_runs_ahead_while_both_are_written() -> None:
    pacer, chance = Pacer(), random.Random(1)
    drawn = ["", ""]
    for _ in range(200):
        pacer.arrive(0, "x" * chance.randrange(30))
        pacer.arrive(1, "y" * chance.randrange(3))
        for side, piece in enumerate(pacer.tick()):
            drawn[side] += piece
        assert abs(len(drawn[0]) - len(drawn[1])) <= 1


def test_one_that_ended_waits_for_those_that_have_not_begun() -> None:
    """An engine that answers late would give its checkpoint away."""
    pacer = Pacer(3)
    pacer.arrive(1, "Short.")
    pacer.finish(1)
    pacer.arrive(2, "It")
    assert pacer.tick() == ["", "", ""]
    pacer.finish(0)
    assert pacer.tick() == ["", "Sh", "It"]


def test_everything_is_drawn_in_the_end_and_nothing_twice() -> None:
    pacer, chance = Pacer(), random.Random(2)
    texts = ["".join(chance.choice("abc 茶") for _ in range(n)) for n in (3000, 40)]
    drawn, at = ["", ""], [0, 0]
    for _ in range(2000):
        for side in (0, 1):
            step = chance.randrange(9)
            pacer.arrive(side, texts[side][at[side] : at[side] + step])
            at[side] += step
            if at[side] >= len(texts[side]):
                pacer.finish(side)
        for side, piece in enumerate(pacer.tick()):
            drawn[side] += piece
        if pacer.complete:
            break
    assert drawn == texts and pacer.complete
