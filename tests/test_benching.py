"""What was measured on this machine is kept, told and picked from; only what changes nothing of what is learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio import benching
from studio.errors import StudioError
from studio.files import write_json


def kept(*timings: benching.Timing) -> None:
    write_json(benching.cache(), [benching.Bench("pocket", "a card", {}, list(timings))])


def test_the_fastest_is_picked_among_what_learns_the_same() -> None:
    with pytest.raises(StudioError, match="Nothing was measured on pocket here yet"):
        benching.settings_for("pocket", "sft")
    kept(
        benching.Timing("sft", "LoRA", {}, 100.0, 1),
        benching.Timing("sft", "not packed", {"packing": False, "micro_batch": 4}, 180.0, 1),
        benching.Timing("sft", "no checkpointing", {"gradient_checkpointing": False}, 130.0, 1),
        benching.Timing("sft", "float32", {"precision": "fp32"}, 400.0, 1),
        benching.Timing("sft", "broken", {"packing": False}, 0.0, 0, "The memory ran out."),
        benching.Timing("cpt", "all weights", {}, 100.0, 1),
        benching.Timing("cpt", "no checkpointing", {"gradient_checkpointing": False}, 103.0, 1),
    )
    assert benching.fastest("pocket", "sft") == ({"packing": False, "micro_batch": 4}, 1.8)
    assert benching.settings_for("pocket", "sft") == ["packing=false", "micro_batch=4"]
    assert benching.fastest("pocket", "cpt") is None and benching.settings_for("pocket", "cpt") == []
    assert benching.fastest("another", "sft") is None


def test_an_option_is_measured_by_the_real_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.stages.pocket import ensure_pocket

    monkeypatch.setitem(benching.COMMON, "length", 64)
    monkeypatch.setitem(benching.COMMON, "batch", 2)
    told: list[str] = []
    made = benching.measure("pocket", ensure_pocket(), told.append, (("sft", "LoRA", {"rank": 2}),))
    (good,) = made.timings
    assert good.tokens_per_s > 0 and good.peak > 1e8 and not good.problem and made.device and "torch" in made.versions
    assert told == ["1 of 1: sft, LoRA"] and benching.kept() == [made]
