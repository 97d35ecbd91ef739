"""From the app: pairs are counted, DPO is planned, changed and queued, and its run says what share of the pairs is won."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from studio.jobs.runs import all_runs, append_event
from studio.persona.folder import Persona
from studio.preference import store
from studio.recipes.files import from_toml
from studio.recipes.schema import Dpo
from studio.snapshots import all_snapshots
from studio.tui.app import StudioApp
from tests.preference.test_pairs import said as side
from tests.preference.test_pairs import voted

from .places import press, said, settled, type_text


def add_pairs(persona: Persona, count: int) -> None:
    path = persona.root.parent / "pairs.jsonl"
    rows = [{"prompt": f"Is lamp {n} lit?", "chosen": f"Since March, number {n}.", "rejected": f"I am sorry, {n}."} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    store.add(persona, [path])


async def test_dpo_is_planned_changed_and_queued(persona: Persona, tmp_path: Path, no_dispatcher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_IGNORE_DISK", "1")
    # The adapters of this persona sit on cpt-1-e1, which so far is a card without a model.
    shutil.copytree(tmp_path / "base", persona.checkpoints / "cpt-1-e1", dirs_exist_ok=True)
    app = StudioApp(persona)
    async with app.run_test(size=(140, 40)) as pilot:
        await settled(pilot)
        assert "There is no preference snapshot" in await press(pilot, "4", "d")
        await press(pilot, "s")
        assert "There is no preference snapshot" in said(app)
        await press(pilot, "q")

        voted(persona, "1", side("sft-2-e1", "Since dusk."), side("base", "I am sorry."))
        add_pairs(persona, 20)
        await press(pilot, "p")
        assert "1 new pair, 21 in all; 19 to train on, 2 held out." in said(app)
        (snapshot,) = all_snapshots(persona, "preference")
        text = await press(pilot, "1", "4", "d")
        assert "Preference (DPO) on the pairs from votes   starts from sft-2-e2" in text
        assert "19 pairs make 6 steps, too few to move her much" in text
        assert snapshot.id in text and f"{snapshot.train_rows} rows" in text and "How close she stays to what she was" in text
        await press(pilot, "end", "enter")
        await press(pilot, *["backspace"] * 4)
        await type_text(pilot, "0.3")
        await press(pilot, "enter")
        await press(pilot, "s")
        (run,) = [run for run in all_runs(persona) if run.inputs.stage == "dpo"]
        recipe = from_toml("dpo", run.recipe_text)
        assert isinstance(recipe, Dpo) and recipe.beta == 0.3
        assert (run.inputs.parent, run.inputs.parent_kind, run.inputs.snapshot) == ("sft-2-e2", "adapter", snapshot.id)

        append_event(run.path, "eval", step=0, epoch=0.0, val_loss=0.5, train_loss=None, gap=None, val_margin=1.25, val_accuracy=0.75)
        for _ in range(100):
            await pilot.pause(0.05)
            text = await press(pilot)
            if "pairs won" in text:
                break
        assert "pairs won 75% by +1.250" in text
    assert not app.crash


async def test_the_first_screen_counts_pairs(persona: Persona) -> None:
    add_pairs(persona, 7)
    app = StudioApp(persona)
    async with app.run_test(size=(120, 50)) as pilot:
        await settled(pilot)
        text = await press(pilot, "1")
    assert "preference  7 pairs" in text and "key 4, then p" in text
