"""A person at the review screen, for tests that read like one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from studio.persona.folder import Persona
from studio.review.rounds import Review, open_review
from studio.tui.look import DARK
from studio.tui.review.screen import ReviewScreen
from studio.tui.review.state import Phase


class Host(App[None]):
    """Any app will do."""

    def __init__(self, screen: Any) -> None:
        super().__init__()
        self.shown = screen

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name
        self.push_screen(self.shown)

    def text(self) -> str:
        """What stands on the terminal."""
        return "\n".join("".join(segment.text for segment in strip) for strip in self.screen._compositor.render_strips())


class Judge:
    """A person at the review screen."""

    def __init__(self, app: Host, screen: ReviewScreen, pilot: Pilot[None]) -> None:
        self.app, self.screen, self.pilot = app, screen, pilot

    async def until(self, met: Callable[[], Any]) -> None:
        """Wait for a state. One that never comes ends the test with what stood on the screen."""
        for _ in range(2000):
            if met():
                break
            assert self.app._exception is None, self.app._exception
            await self.pilot.pause(0.01)
        else:
            raise AssertionError(f"it never came; {self.screen.state.phase}:\n{self.app.text()}")
        await self.pilot.pause()

    async def phase(self, *wanted: Phase) -> None:
        await self.until(lambda: self.screen.state.phase in wanted)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def ask(self, prompt: str) -> None:
        await self.press("i")
        await self.press(*("space" if c == " " else "full_stop" if c == "." else c for c in prompt), "enter")
        await self.phase(Phase.WAITING, Phase.FAILED)

    async def vote(self, key: str) -> None:
        await self.press(key)
        await self.phase(Phase.VOTED)

    def sides(self) -> list[str]:
        assert self.screen.state.round is not None
        return [side.checkpoint for side in self.screen.state.round.sides]

    def key_of(self, checkpoint: str) -> str:
        return "1234"[self.sides().index(checkpoint)]


@asynccontextmanager
async def judging(
    persona: Persona, ids: list[str] | None = None, size: tuple[int, int] = (80, 24), review: Review | None = None
) -> AsyncIterator[Judge]:
    screen = ReviewScreen(persona, ids, review or (open_review(persona, ids) if ids else None))
    app = Host(screen)
    async with app.run_test(size=size) as pilot:
        judge = Judge(app, screen, pilot)
        await judge.until(lambda: screen.state.sitting and not screen.state.starting)
        yield judge
