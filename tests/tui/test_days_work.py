"""What a person does with the app, by keyboard, and what comes of it on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.checkpoints.store import all_checkpoints
from studio.dialogue.adding import add as add_dialogue
from studio.files import write_json
from studio.home import remember_persona
from studio.jobs import control, queue
from studio.jobs.attempt import Attempt
from studio.jobs.processes import Identity, boot_id
from studio.jobs.runs import QUEUED, append_event, update_status
from studio.lore.sources import files
from studio.persona.folder import Persona, create, open_persona
from studio.snapshots import all_snapshots
from studio.tui.app import StudioApp
from studio.tui.screens.dialogue import Window
from studio.tui.table import Table

from .places import conversations, make_run, press, said, screen_text, settled, tiny_base, type_text


async def test_a_first_persona_is_made_at_the_start_screen(tmp_path: Path) -> None:
    app = StudioApp(None)
    async with app.run_test() as pilot:
        await settled(pilot)
        assert "No persona on this machine yet" in screen_text(app)
        await press(pilot, "n")
        await press(pilot, "enter")
        assert "A persona needs a name." in screen_text(app)
        await type_text(pilot, "Ada")
        await press(pilot, "enter")
        await press(pilot, *["backspace"] * len("pocket"))
        await type_text(pilot, "no such base")
        await press(pilot, "enter")
        assert "is unknown" in screen_text(app)
        await press(pilot, *["backspace"] * len("no such base"))
        await type_text(pilot, "pocket")
        await pilot.press("enter")
        for _ in range(200):
            await pilot.pause(0.02)
            if app.return_value:
                break
    assert app.return_value == tmp_path / "ada"
    assert open_persona(tmp_path / "ada").manifest.base == "pocket"


async def test_a_persona_from_the_sample_has_lore_and_dialogue(tmp_path: Path) -> None:
    app = StudioApp(None)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("w")
        for _ in range(500):
            await pilot.pause(0.02)
            if app.return_value:
                break
    assert app.return_value is not None
    made = open_persona(app.return_value)
    assert files(made) and list(made.dialogue.glob("*.jsonl"))


async def test_another_persona_is_opened(persona: Persona, tmp_path: Path) -> None:
    other = create("Other", parent=tmp_path)
    remember_persona(persona.root)
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        text = await press(pilot, "o")
        assert "Other" in text and "Mira" in text
        await pilot.press("enter")
        await pilot.pause()
    assert app.return_value == other.root


async def test_next_steps_follow_from_what_there_is(tmp_path: Path) -> None:
    empty = create("Empty", str(tiny_base(tmp_path / "base")), parent=tmp_path)
    app = StudioApp(empty)
    async with app.run_test() as pilot:
        await settled(pilot)
        text = screen_text(app)
        assert "Add lore, texts in her voice and about her world: key 2, then a." in text
        assert "Add dialogue, conversations with her: key 3, then a." in text
        assert "Train on" not in text
        (tmp_path / "pier.md").write_text("".join(f"Lamp {n} was lit at dusk and put out at dawn by Mira.\n\n" * 5 for n in range(80)))
        await press(pilot, "2", "a")
        await type_text(pilot, str(tmp_path / "pier.md"))
        assert "Adding lore" in await press(pilot, "enter")  # what was mended in it
        await press(pilot, "q", "1")
        assert "Freeze the lore into a snapshot: key 2, then b." in screen_text(app)
        await press(pilot, "2", "b")
        assert "The lore is frozen" in screen_text(app)
        await press(pilot, "q", "1")
        assert "Train on the lore (CPT): key 4, then c." in screen_text(app)
    assert len(all_snapshots(empty, "lore")) == 1


async def test_adding_says_what_was_dropped_and_why(persona: Persona, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(json.dumps(conversations(1)[0]) + '\nnot json\n{"messages": []}\n')
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "3", "a")
        await press(pilot, "enter")
        assert "Give the path of a file or a folder." in screen_text(app)
        await type_text(pilot, str(tmp_path / "nowhere"))
        await press(pilot, "enter")
        assert "does not exist" in screen_text(app)
        await press(pilot, *["backspace"] * len("nowhere"))
        await type_text(pilot, "bad.js")
        await press(pilot, "tab", "enter")
        text = screen_text(app)
    assert "0 of 3 rows kept" in text
    assert "✗ duplicate" in text and "✗ not JSON" in text and "✗ no messages" in text
    assert ":2" in text


async def test_finding_shows_only_what_contains_the_text(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "3", "slash")
        await type_text(pilot, "LAMP 37")
        text = await press(pilot, "enter")
        assert "What is lamp 37 for?" in text and "lamp 36" not in text and "LAMP 37   1 row of 40" in text
        assert "Number 37 is for the ferry" in await press(pilot, "enter")
        await press(pilot, "q", "slash", *["backspace"] * 7)
        text = await press(pilot, "enter")
        assert "What is lamp 3 for?" in text


async def test_a_hundred_thousand_conversations_are_read_by_the_page(persona: Persona, tmp_path: Path) -> None:
    lines = [
        f'{{"id":"d{n:010x}","messages":[{{"role":"user","content":"Number {n}?"}},{{"role":"assistant","content":"Yes."}}]}}' for n in range(100_000)
    ]
    for shard in range(20):
        (persona.dialogue / f"{shard + 10:04}.jsonl").write_text("\n".join(lines[shard * 5000 : shard * 5000 + 5000]) + "\n")
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "3")
        await press(pilot, "end")
        assert "Number 99999?" in screen_text(app)
        await press(pilot, "home", "pagedown")
        window = app.screen.query_one(Table).rows
        assert isinstance(window, Window)
        assert len(window) == 100_040
        assert len(window.drawn) < 500
        await press(pilot, "end", "slash")
        await type_text(pilot, "number 77777")
        assert "Number 77777?" in await press(pilot, "enter")


@pytest.mark.usefixtures("no_dispatcher")
async def test_a_training_is_planned_changed_and_queued(persona: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        text = await press(pilot, "4", "c")
        assert "There is no lore snapshot in Mira yet" in text
        await press(pilot, "s")
        assert "There is no lore snapshot" in said(app)
        await press(pilot, "2", "b", "q", "4")
        text = await press(pilot, "q", "c")
        assert "starts from base" in text and "steps" in text and "Step size. 1e-5 is timid" in text
        await press(pilot, "enter", *["backspace"] * 6)
        await type_text(pilot, "7")
        await press(pilot, "enter")
        assert "learning_rate" in screen_text(app) and "< 1" in screen_text(app)
        await press(pilot, "backspace")
        await type_text(pilot, "0.001")
        text = await press(pilot, "enter")
        assert "0.001 *" in text
        assert "0.001 *" not in await press(pilot, "u")
        await press(pilot, "down", "enter", "backspace")
        await type_text(pilot, "2")
        await press(pilot, "enter")
        monkeypatch.setenv("PATH", "/nowhere")
        assert "Where is it executed?" in await press(pilot, "o", "down")
        assert "Slurm's sbatch is not on this machine's PATH" in screen_text(app)
        await press(pilot, "escape", "t")
        await type_text(pilot, "merge")
        assert "cpt makes none" in await press(pilot, "enter")
        await press(pilot, *["backspace"] * 5)
        await type_text(pilot, "serve")
        assert "then serve" in await press(pilot, "enter")
        text = await press(pilot, "s")
        assert "○ cpt-2 queued" in text
    run, server = (control.run(persona, name) for name in ("cpt-2", "serve-3"))
    assert server.inputs.after == "cpt-2" and server.status.state == QUEUED
    assert run.status.state == QUEUED
    assert "epochs = 2.0" in run.recipe_text and "learning_rate = 3e-05" in run.recipe_text


@pytest.mark.usefixtures("no_dispatcher")
async def test_cancel_asks_first_and_retry_queues_again(persona: Persona) -> None:
    queue.pause()  # what is queued here is not to be started for real
    path = make_run(persona, state="running")
    update_status(path, state=QUEUED, started=0.0, ended=0.0)
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "4", "r")
        assert "only failed, cancelled, interrupted and skipped runs" in said(app)
        assert "Take cpt-2 off the queue?" in await press(pilot, "x")
        await press(pilot, "n")
        assert control.run(persona, "cpt-2").status.state == QUEUED
        await press(pilot, "x", "y")
        assert control.run(persona, "cpt-2").status.state == "cancelled"
        await press(pilot, "r")
        assert control.run(persona, "cpt-2").status.state == QUEUED


async def test_a_run_whose_process_died_is_told_from_its_files(persona: Persona) -> None:
    path = make_run(persona, state="running")
    write_json(path / "attempt.json", Attempt(number=0, step=0, runner=Identity(pid=1, born=1, boot=boot_id())))
    append_event(path, "step", step=61, epoch=1.0, loss=3.1, learning_rate=1e-5, grad_norm=1.0, tokens=1, tokens_per_s=1.0)
    with (path / "events.jsonl").open("ab") as file:
        file.write(b'{"t": 1, "kind": "step", "st')
    app = StudioApp(persona)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        text = await press(pilot, "4", "enter")
        assert "! cpt-2 interrupted" in text
        assert "It and its supervisor were killed before it had saved anything new" in text
        assert "◆" in text and "OVER 10 %" in text


async def test_a_live_run_grows_on_screen(persona: Persona) -> None:
    import fcntl

    path = make_run(persona, steps=10, state="running")
    (path / "log.txt").write_text("first line\n")
    with (path / "runner.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        app = StudioApp(persona)
        async with app.run_test(size=(120, 40)) as pilot:
            await settled(pilot)
            text = await press(pilot, "4", "enter")
            assert "● cpt-2 running" in text and "step 10 of 10" in text
            append_event(path, "plan", steps=40, trainable=1, parameters=1)
            for step in range(11, 21):
                append_event(path, "step", step=step, epoch=1.0, loss=2.0, learning_rate=1e-5, grad_norm=1.0, tokens=1, tokens_per_s=777.0)
            for _ in range(200):
                await pilot.pause(0.05)
                if "step 20 of 40" in screen_text(app):
                    break
            text = screen_text(app)
            assert "step 20 of 40" in text and "777 tok/s" in text and "left " in text
            await press(pilot, "l")
            (path / "log.txt").write_text("first line\nsecond line\n")
            for _ in range(200):
                await pilot.pause(0.05)
                if "second line" in screen_text(app):
                    break
            assert "second line" in screen_text(app)


async def test_the_top_line_tells_the_same_on_every_screen(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "2", "4")
        path = make_run(persona, steps=8)
        update_status(path, state=QUEUED, step=2, steps=8)
        app.heart.beat()
        for _ in range(200):
            await pilot.pause(0.02)
            if "○ cpt-2 25%" in screen_text(app):
                break
        for key in "412":
            assert "○ cpt-2 25%" in (await press(pilot, key)).split("\n")[0]


async def test_marks_delete_and_reasons_on_the_tree(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "5", "v")
        assert "Mark two to eight checkpoints with space first." in said(app)
        await press(pilot, "d")
        assert "The base is not deleted from here" in said(app)
        await press(pilot, "down", "d")
        assert "cpt-1-e1 is not deleted: sft-2-e1, sft-2-e2 was made from it" in said(app)
        await press(pilot, "space", "space")
        assert app.marked == ["cpt-1-e1", "sft-2-e1"]
        assert "◉ marked: cpt-1-e1, sft-2-e1" in screen_text(app)
        await press(pilot, "end", "d", "n")
        assert "cpt-1-e2" in [c.id for c in all_checkpoints(persona)]
        await press(pilot, "d", "y")
        assert "cpt-1-e2" not in [c.id for c in all_checkpoints(persona)]
        assert "cpt-1-e2" not in screen_text(app)


@pytest.mark.usefixtures("no_dispatcher")
async def test_a_checkpoint_is_queued_for_quantizing(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "5", "z")
        assert "RTX 40, L4, L40 and newer" in screen_text(app), "which cards can run it is said before the choice"
        await press(pilot, "enter")
        text = screen_text(app)
        assert "become about" in text and "vLLM for CPU serves it" in text, "sizes and whether it runs here are said before the work"
        await press(pilot, "s")
        assert "quantize-2 is queued" in said(app)
    assert 'scheme = "fp8-dynamic"' in control.run(persona, "quantize-2").recipe_text


async def test_without_anything_every_key_says_why(tmp_path: Path) -> None:
    empty = create("Empty", str(tiny_base(tmp_path / "base")), parent=tmp_path)
    expected = {
        ("2", "c"): "There is no lore yet: press a to add some.",
        ("3", "p"): "There is no dialogue yet: press a to add some.",
        ("4", "enter"): "There is no run yet",
        ("4", "x"): "There is no run to cancel.",
        ("6", "enter"): "Nothing is served yet: s starts an engine.",
        ("6", "y"): "Nothing is served yet",
        ("7", "enter"): "There is only the base yet",
        ("1", "f"): "is on this machine already",
    }
    for keys, sentence in expected.items():
        app = StudioApp(empty)
        async with app.run_test() as pilot:
            await settled(pilot)
            await press(pilot, *keys)
            assert sentence in said(app), keys


async def test_read_only_changes_nothing(persona: Persona) -> None:
    app = StudioApp(persona, readonly=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        for keys in (("2", "b"), ("3", "a"), ("4", "c"), ("5", "down", "z"), ("6", "s")):
            await press(pilot, *keys)
            assert len(app.screen_stack) == 1, keys
    assert said(app).count("The app was opened to read only.") == 5
    assert not all_snapshots(persona)


async def test_two_apps_on_one_folder(persona: Persona, tmp_path: Path) -> None:
    first, second = StudioApp(persona), StudioApp(persona)
    async with first.run_test() as one:
        await settled(one)
        await press(one, "3")
        async with second.run_test() as two:
            await settled(two)
            await press(two, "3", "b", "q")
            add_dialogue(persona, [_more(tmp_path)])
            await press(two, "1", "3")
            assert "41 conversations" in screen_text(second)
            await press(two, "4")
        await press(one, "1", "3")
        assert "41 conversations" in screen_text(first) and "dialogue-" in screen_text(first)
        await press(one, "b", "enter")
        assert "The dialogue is frozen" in screen_text(first)
    assert len(all_snapshots(persona, "dialogue")) == 2


def _more(tmp_path: Path) -> Path:
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps(conversations(60)[-1]) + "\n")
    return path
