"""What was measured on this machine is kept, told and picked from; only what changes nothing of what is learned."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from studio import benching
from studio.errors import StudioError
from studio.files import write_json
from studio.jobs import lease
from studio.recipes.schema import Sft


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


@pytest.mark.parametrize("stage", ["cpt", "sft", "dpo"])
def test_made_up_rows_are_as_long_as_wanted_and_no_two_alike(stage: str) -> None:
    for tokens in (20, 100, 1000):
        made = [str(row) for row in benching.rows(stage, 50, tokens)]
        assert len(set(made)) == 50
        words = [sum(word in benching.WORDS for word in re.findall("[a-z]+", row)) for row in made]
        assert min(words) >= 0.7 * tokens - 3 and max(words) <= tokens


STAGE = """
import json, sys, time
from pathlib import Path
run = Path(sys.argv[1])
recipe = (run / "recipe.toml").read_text()
assert "epochs = 1.0" in recipe and "probes = 0" in recipe and "rank = 2" in recipe
for step, rate in enumerate([1.0, 90.0, 110.0, 100.0, 105.0], 1):
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps({"t": time.time(), "kind": "step", "step": step, "tokens_per_s": rate}) + "\\n")
    time.sleep(float(sys.argv[2]))
if sys.argv[2] == "0":
    sys.exit(0)
time.sleep(600)
"""


def stage(words: str, pause: str) -> Callable[[Path], subprocess.Popen[bytes]]:
    """A process that tells of steps as a stage does, and would go on for ten minutes."""
    return lambda run: subprocess.Popen([sys.executable, "-c", words, str(run), pause], start_new_session=True)


def test_a_probe_ends_after_a_few_steps_and_is_kept_for_this_very_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe, processes = Sft(rank=2), []

    def start(run: Path) -> subprocess.Popen[bytes]:
        processes.append(stage(STAGE, "0.05")(run))
        return processes[-1]

    assert benching.probed("pocket", "sft", recipe) is None
    made = benching.probe("pocket", tmp_path, "sft", recipe, 50, start)
    assert processes[0].returncode == -signal.SIGKILL
    assert (made.tokens_per_s, made.steps, made.base) == (102.5, 4, "pocket")  # the first step warms up
    assert benching.probed("pocket", "sft", recipe) == made
    assert benching.probed("pocket", "sft", Sft(rank=2, epochs=9.0, learning_rate=1e-3)) == made  # nothing that its speed hangs on
    assert benching.probed("pocket", "sft", Sft(rank=2, length=512)) is None and benching.probed("other", "sft", recipe) is None
    monkeypatch.setattr(benching, "device_name", lambda: "another card")
    assert benching.probed("pocket", "sft", recipe) is None


def test_a_probe_that_cannot_be_says_why(tmp_path: Path) -> None:
    broken = """import sys; open(sys.argv[1] + "/result.json", "w").write('{"ok": false, "error": "The memory ran out."}')"""
    with pytest.raises(StudioError, match=r"could not be measured: The memory ran out\."):
        benching.probe("pocket", tmp_path, "sft", Sft(), 50, stage(broken, "0"))
    with pytest.raises(StudioError, match="several devices"):
        benching.probe("pocket", tmp_path, "sft", Sft(devices=2), 50, stage(STAGE, "0"))
    held = lease.take(alone=True)
    assert held is not None
    with pytest.raises(StudioError, match="taken by a run or a server"):
        benching.probe("pocket", tmp_path, "sft", Sft(), 50, stage(STAGE, "0"))
    os.close(held)
    assert benching.rates() == []
