"""Is she still herself? From the tree of checkpoints: the verdict, the whole comparison, the blind review, and merges of what failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.checkpoints import herself
from studio.checkpoints.store import add_metrics, read_checkpoint, write_card
from studio.jobs import control
from studio.persona.folder import Persona
from studio.recipes.files import from_toml, to_toml
from studio.recipes.schema import Cpt, Export, Merge
from studio.tui.app import StudioApp
from studio.tui.review.screen import ReviewScreen

from .places import make_checkpoint, press, said, screen_text, settled

MEASURED = {"kl": 0.31, "kl_p99": 2.5, "top1": 0.74, "ppl": 9.1, "parent_ppl": 7.0, "checked_tokens": 812.0, "replies": 1.0, "same_replies": 0.0}


@pytest.fixture
def quantized(persona: Persona) -> Persona:
    for name, scheme in (("cpt-1-e2-int4-rtn", "int4-rtn"), ("cpt-1-e2-int8", "int8")):
        folder = make_checkpoint(persona, name, "quantize", "cpt-1-e2", "full", "2026-01-03T10:00:00Z", {})
        card = folder / "checkpoint.toml"
        card.write_text(card.read_text().replace('scheme = ""', f'scheme = "{scheme}"'))
    measured = persona.checkpoints / "cpt-1-e2-int4-rtn"
    metrics = MEASURED | {"parts_at": 4.0}
    add_metrics(measured, metrics)
    reply = herself.Reply("Who keeps the lamps?", "I do, every dusk.", "I do, every [b]dawn[/b].", 4, False)
    herself.write_comparison(measured, herself.Comparison("cpt-1-e2", "her turns in held-out dialogue", metrics, [reply]))
    return persona


@pytest.mark.usefixtures("no_dispatcher")
async def test_the_verdict_the_comparison_and_the_blind_review(quantized: Persona) -> None:
    app = StudioApp(quantized)
    async with app.run_test(size=(140, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "5", "down", "down", "down", "down", "down")
        assert "~ changed" in screen_text(app)
        while "cpt-1-e2-int4-rtn: quantize" not in screen_text(app):
            await press(pilot, "up")
        await press(pilot, "h")
        text = screen_text(app)
        assert "~ changed: it differs by 0.31 nats a token" in text and "9.10 after 7.00 (+30.0%)" in text
        assert "I do, every [b]dawn[/b]." in text and "parts at token 4" in text
        await press(pilot, "q", "b")
        (review,) = [screen for screen in app.screen_stack if isinstance(screen, ReviewScreen)]
        assert review.asked_for == ["cpt-1-e2", "cpt-1-e2-int4-rtn"]


@pytest.mark.usefixtures("no_dispatcher")
async def test_what_was_not_measured_is_queued_and_what_needs_none_says_so(quantized: Persona) -> None:
    app = StudioApp(quantized)
    async with app.run_test(size=(140, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "5", "h")
        assert "no parent to hold it against" in said(app)
        await press(pilot, "down", "h")
        assert "trained to differ from base" in said(app)
        while "cpt-1-e2-int8: quantize" not in screen_text(app):
            await press(pilot, "down")
        await press(pilot, "h")
        assert "herself-2 is queued" in said(app)
    run = control.run(quantized, "herself-2")
    assert run.inputs.parent == "cpt-1-e2-int8" and 'against = "cpt-1-e2"' in run.recipe_text
    assert read_checkpoint(quantized.checkpoints / "cpt-1-e2-int8").metrics.keys() == {"bytes"}


@pytest.mark.usefixtures("no_dispatcher")
async def test_failed_neighbours_are_merged_and_marked_for_the_review(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(140, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "5", "a")
        assert "linear of cpt-1-e1 + cpt-1-e2" in screen_text(app) and "it recites" in screen_text(app)
        await press(pilot, "enter")
        assert "merge-2 is queued" in said(app) and app.marked == ["cpt-1-e1", "cpt-1-e2"]


@pytest.mark.usefixtures("no_dispatcher")
async def test_how_much_of_each_goes_into_a_merge_is_set_by_arrows(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(140, 40)) as pilot:
        await settled(pilot)
        app.marked[:] = ["cpt-1-e1", "cpt-1-e2"]
        await press(pilot, "5", "m", "down", "down", "enter")
        assert "How much of each?" in screen_text(app) and "cpt-1-e2" in screen_text(app) and "50%" in screen_text(app)
        # Less of the first one; its last layers follow until they are set on their own.
        await press(pilot, "left", "left", "left", "left", "left")
        await press(pilot, "down", "down", "right", "right", "up", "up", "up", "left", "left", "enter")
        assert "merge-2 is queued" in said(app)
    recipe = from_toml("merge", control.run(persona, "merge-2").recipe_text)
    assert isinstance(recipe, Merge) and recipe.method == "ties" and recipe.checkpoints == ["cpt-1-e1", "cpt-1-e2"]
    assert (recipe.weights, recipe.late, recipe.density) == ([0.25, 0.5], [0.35, 0.5], 0.4)


@pytest.mark.usefixtures("no_dispatcher")
async def test_a_checkpoint_leaves_the_house_by_a_key(persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    card = read_checkpoint(persona.checkpoints / "cpt-1-e1")
    card.recipe, card.snapshot = to_toml(Cpt(length=777)), "s1"
    write_card(Path(card.path), card)
    (persona.snapshots / "s1").mkdir(parents=True)
    (persona.snapshots / "s1" / "train.jsonl").write_text('{"text": "Lore."}\n')
    app = StudioApp(persona)
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "5", "down", "x", "down")
        text = screen_text(app)
        assert "Write cpt-1-e1 for other programs" in text and "axolotl" in text
        assert "GGUF is written by llama.cpp, which is not found here" in text, "why this one cannot be had is said before it is chosen"
        await press(pilot, "enter")
        assert "Write cpt-1-e1 for other programs" in screen_text(app), "and it is not taken"
        await press(pilot, "end", "enter", "enter")
        assert "cpt-1-e1 as llamafactory" in screen_text(app) and "Written: " in screen_text(app)
        await press(pilot, "q", "x", "enter", "enter")
        assert "export-2 is queued" in said(app), "what carries weights is a run"
        await press(pilot, "4")
        assert "export-2" in screen_text(app)
    recipe = from_toml("export", control.run(persona, "export-2").recipe_text)
    assert recipe == Export(form="hf", to=str(tmp_path / f"{persona.root.name}-cpt-1-e1-hf"))
    assert "cutoff_len: 777" in (tmp_path / f"{persona.root.name}-cpt-1-e1-llamafactory" / "llamafactory.yaml").read_text()
