"""What is measured of this machine is measured by the stages themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio import benching
from studio.stages.__main__ import main


def test_an_option_is_measured_by_the_real_stage(pocket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benching.COMMON, "length", 64)
    monkeypatch.setitem(benching.COMMON, "batch", 2)
    monkeypatch.setattr(benching, "STEPS", 3)
    told: list[str] = []
    # In this process: starting another one costs more than all of its steps.
    made = benching.measure("pocket", pocket, told.append, (("sft", "LoRA", {"rank": 2}),), lambda run: main([str(run)]))
    (good,) = made.timings
    assert good.tokens_per_s > 0 and good.peak > 1e8 and not good.problem and made.device and "torch" in made.versions
    assert told == ["1 of 1: sft, LoRA"] and benching.kept() == [made]
