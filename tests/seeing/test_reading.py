"""The reading of a run: each rule speaks when it should and is silent over a good run."""

from __future__ import annotations

from typing import Any

import pytest

from studio.seeing.course import course
from studio.seeing.reading import read, stops

from .making import falling, story


def rules(events: list[dict[str, Any]]) -> set[str]:
    return {finding.rule for finding in read(events)}


def test_a_good_run_is_told_so_and_nothing_else() -> None:
    (finding,) = read(story())
    assert (finding.rule, finding.weight) == ("in order", "good") and "2.300 at step 100" in finding.said
    assert stops(story()) is None


@pytest.mark.parametrize(
    ("rule", "weight", "number", "events"),
    [
        ("no number", "stop", None, story(steps=4, val=(), more=[{"kind": "broken", "t": 9.0, "rule": "no number", "step": 5}])),
        ("nothing to learn", "stop", 0.0, story(data={"loss_tokens": 0})),
        ("nothing to learn", "stop", 0.0, story(loss=lambda step: 0.0, val=())),
        ("nothing moves", "stop", 0.0, story(steps=3, norm=lambda step: 0.0, val=())),
        ("few labels", "warn", 0.01, story(data={"loss_tokens": 500})),
        ("almost everything cut", "warn", 0.9, story(data={"truncated": 450, "kept_tokens": 9_000, "loss_tokens": 9_000})),
        ("almost everything dropped", "warn", 0.8, story(data={"dropped": {"no reply": 2000}})),
        ("knows nothing", "note", 8.3, story(val=((0, 8.3, None), (50, 2.7, 2.65), (100, 2.3, 2.25)))),
        ("flat", "warn", 0.0, story(loss=lambda step: 3.5 + 0.01 * (step % 2), val=((0, 3.5, None), (100, 3.5, 3.5)))),
        ("diverges", "warn", 1.32, story(loss=lambda step: 2 + step / 25, val=((0, 2.0, None),))),
        ("spike", "note", 4.0, story(loss=lambda step: 10.0 if step == 60 else 2.5, val=((0, 2.5, None), (100, 2.0, 1.9)))),
        ("gradient", "note", 9.0, story(norm=lambda step: 9.0)),
        ("validation rises", "warn", 0.25, story(val=((0, 4.0, None), (50, 2.4, 2.3), (75, 2.6, 2.0), (100, 3.0, 1.5)))),
        ("gap", "warn", 0.5, story(val=((0, 4.0, None), (100, 3.0, 2.0)))),
        ("still falling", "note", 0.5, story(val=((0, 4.0, None), (33, 3.4, 3.4), (66, 2.9, 2.9), (100, 2.4, 2.4)))),
        ("recites", "warn", 0.6, story(more=[{"kind": "probes", "t": 9.0, "step": 100, "recited": {"train": 0.7, "val": 0.1}}])),
        (
            "forgets",
            "warn",
            -0.4,
            story(more=[{"kind": "probes", "t": 9.0, "step": s, "accuracy": a, "asked": 10} for s, a in ((0, 0.5), (50, 0.9), (100, 0.5))]),
        ),
    ],
)
def test_each_rule_speaks_with_its_number(rule: str, weight: str, number: float | None, events: list[dict[str, Any]]) -> None:
    (finding,) = (f for f in read(events) if f.rule == rule)
    assert finding.weight == weight and finding.try_next and finding.source
    if number is None:
        assert finding.number is None
    else:
        assert finding.number is not None and finding.number == pytest.approx(number, abs=0.06)
    assert rule not in rules(story())
    assert (stops(events) is not None) == (weight == "stop")


def test_a_curve_that_warms_up_slowly_is_not_flat() -> None:
    assert "flat" not in rules(story(loss=lambda step: 4.0 if step < 40 else falling(step - 40), plan={"warmup_steps": 45}, val=((0, 4.1, None),)))
    assert "flat" not in rules(story(steps=15, loss=lambda step: 4.0, val=()))


def test_a_resumed_run_counts_each_step_once_and_damaged_events_are_left_out() -> None:
    events = story(steps=60, val=())
    again = [{"kind": "resume", "t": 70.0, "step": 40}, *({**e, "loss": 1.0} for e in story(val=()) if e["kind"] == "step" and 40 < e["step"] <= 50)]
    damaged: list[dict[str, Any]] = [{"kind": "step", "t": 80.0, "step": "x"}, {"kind": "eval", "t": 1.0}, {"kind": "step"}]
    found = course([*events, *again, *damaged])
    assert [step for step, _ in found.losses()] == list(range(1, 51))
    assert found.losses()[-1] == (50, 1.0) and found.losses()[39][1] == falling(40)
    assert read([]) == []


def test_preference_is_not_read_as_text() -> None:
    """A pair well won has a loss near 0, far below its validation: no alarm."""
    events = [e | {"margin": 1.0} if e["kind"] == "step" else e for e in story(loss=lambda step: 0.0, val=())]
    assert read(events) == []
