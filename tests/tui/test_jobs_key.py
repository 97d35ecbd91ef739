"""The jobs are one key away from everywhere, and the queue obeys its keys."""

from __future__ import annotations

from studio.jobs import queue
from studio.jobs.runs import CANCELLED, PAUSED, QUEUED, Inputs, create_run, read_run
from studio.persona.folder import Persona
from studio.tui.app import StudioApp
from studio.tui.screens.train import TrainScreen

from .places import press, screen_text, settled


async def test_the_queue_by_its_keys(persona: Persona) -> None:
    queue.pause()
    inputs = Inputs(stage="cpt", persona=str(persona.root), parent="base", parent_path="")
    first, second, third = (create_run(persona, inputs, "{}") for _ in range(3))
    app = StudioApp(persona)
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "3", "f2")
        await settled(pilot)
        assert isinstance(app.screen, TrainScreen) and app.current_mode == "dialogue"
        await press(pilot, "f2")
        assert len(app.screen_stack) == 2, "the same key opened it twice"
        for _ in range(200):
            if third.id in screen_text(app):
                break
            await pilot.pause(0.02)
        assert app.screen.chosen() is not None and app.screen.chosen().id == third.id  # type: ignore[union-attr]

        async def until(holds: object) -> None:
            for _ in range(200):
                if holds():  # type: ignore[operator]
                    return
                await pilot.pause(0.02)
            raise AssertionError("it did not happen")

        await press(pilot, "K")
        await until(lambda: [run.id for run in queue.waiting()] == [first.id, third.id, second.id])
        await press(pilot, "F")
        await until(lambda: [run.id for run in queue.waiting()] == [third.id, first.id, second.id])
        await press(pilot, "z")
        await until(lambda: read_run(third.path).status.state == PAUSED)
        await until(lambda: "paused" in screen_text(app))
        await press(pilot, "z")
        await until(lambda: read_run(third.path).status.state == QUEUED)
        await press(pilot, "w")
        await until(lambda: read_run(third.path).inputs.give_way)
        await until(lambda: "give way to" in app.screen.why_not("give_way"))  # type: ignore[attr-defined]
        await press(pilot, "x", "y")
        await until(lambda: read_run(third.path).status.state == CANCELLED)
        assert queue.is_paused()
        await press(pilot, "q")
        assert app.current_mode == "dialogue" and len(app.screen_stack) == 1
