"""Seeing a run learn, in the app: its reading, and its probes by step and prompt."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from studio.jobs.runs import append_event, create_run, read_run, update_status
from studio.persona.folder import Persona
from studio.tui.app import StudioApp

from .places import press, said, settled


def probed(persona: Persona) -> None:
    for step, reply, right in ((0, "the the the", False), (30, "The lamp is lit.", True), (60, "The lamp is [red]lit[/] at dusk.\x1b[2J", True)):
        append_event(
            persona.runs / "cpt-1",
            "probes",
            step=step,
            replies=[
                {"id": "o1", "prompt": "What is lamp 1 for?", "reply": reply, "finish": "stop", "tokens": 5, "overlap": 0.25},
                {"id": "o2", "prompt": "Who counts them?", "reply": f"At {step}: Mira.", "finish": "length", "tokens": 5, "overlap": 0.0},
            ],
            cloze=[{"id": "c1", "prompt": "When?", "answer": "At dusk", "right": right, "scores": [-0.5, -1.0]}],
            accuracy=float(right),
            asked=1,
            surprise={"val": 3.9, "train": 3.3},
            recited={"val": 0.1, "train": 0.2},
            lines=[{"text": "Mira counted them both times.", "nats": 3.9, "recited": 0.1}],
        )


async def test_leafing_through_step_by_prompt(persona: Persona) -> None:
    probed(persona)
    app = StudioApp(persona)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        text = await press(pilot, "4", "enter", "p")
        assert "[60]" in text and "What is lamp 1 for?" in text and "The lamp is [red]lit[/] at dusk.␛[2J" in text
        assert "lore right 1/1" in text and "surprise 3.900" in text and "of seen 20%" in text and "before, at step 30" in text
        text = await press(pilot, "left")
        assert "[30]" in text and "The lamp is lit." in text
        text = await press(pilot, "n")
        assert "2 of 4" in text and "At 30: Mira. …" in text
        assert "WRONG: At dusk" in await press(pilot, "left", "n")
        assert "surprise 3.900 a token" in await press(pilot, "n")
        assert "1 of 4" in await press(pilot, "n") and "4 of 4" in await press(pilot, "p")
        await press(pilot, "left")
        assert "[0]" in await press(pilot, "left")
    assert not app.crash


async def test_the_reading_of_a_run(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        text = await press(pilot, "4", "enter")
        assert "Validation is 18% above training" in text and "d: what to try" in text
        text = await press(pilot, "d")
        assert "Try: Listen to an earlier epoch's checkpoint" in text and "reference workflow" in text
    assert not app.crash


async def test_its_numbers_for_other_programs(persona: Persona, tmp_path: Path) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "4", "enter", "t")
        app.screen.query_one(Input).value = str(tmp_path / "curves")
        text = await press(pilot, "enter")
        assert "tensorboard --logdir" in text and "mlflow migrate-filestore" in text
        names = {path.name for path in (tmp_path / "curves" / "cpt-1").iterdir()}
        assert names >= {"metrics.jsonl", "metrics.csv", "config.json"} and any(name.startswith("events.out.tfevents") for name in names)
    assert not app.crash


async def test_runs_laid_over_one_another(persona: Persona, no_dispatcher: None) -> None:
    first = persona.runs / "cpt-1"
    other = create_run(persona, read_run(first).inputs, (first / "recipe.toml").read_text().replace("3e-05", "1e-05"))
    update_status(other.path, state="done")
    append_event(other.path, "plan", steps=60, parameters=1, trainable=1)
    for step in range(1, 61):
        append_event(other.path, "step", step=step, loss=8 - step / 30, learning_rate=1e-5, grad_norm=1.0, tokens=640 * step, tokens_per_s=9.0)
    append_event(other.path, "eval", step=60, val_loss=6.1, train_loss=6.2, gap=-0.016)
    app = StudioApp(persona)
    async with app.run_test(size=(120, 44)) as pilot:
        await settled(pilot)
        await press(pilot, "4", "v")
        assert "Mark two runs or more" in said(app)
        text = await press(pilot, "space", "down", "space", "v")
        assert f"A {other.id}" in text and "B cpt-1" in text and "letter: validation" in text and "across: steps" in text
        assert "learning_rate" in text and "6.1000 at step 60" in text and "3.9000 at step 60" in text
        assert "thousands of tokens" in await press(pilot, "a")
        # From one run: another laid over it, another way from its start, an epoch more.
        assert "Lay which run over cpt-1?" in await press(pilot, "q", "enter", "v")
        assert "across: steps" in await press(pilot, "enter")
        await press(pilot, "q", "s")
        assert "only a training that runs can save now" in said(app)
        assert "Train one epoch more, from cpt-1-e2" in await press(pilot, "e")
        await press(pilot, "y")
    assert not app.crash
