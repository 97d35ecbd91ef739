"""The README's pictures, taken from the real app over a persona: ``python docs/screenshots.py PERSONA [CKPT CKPT [PROMPT]]``.

Without checkpoints the newest review goes on: a round that was written ahead and waits for its vote is the picture. Else the review is
asked for real on the embedded engine. Nothing on the pictures is made up.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.engines import servers
from studio.persona.folder import open_persona
from studio.tui.app import StudioApp

HERE = Path(__file__).parent
SIZE = (104, 30)
PROMPT = "Which is it to-day, Holmes? You have not spoken since breakfast."


def save(app: StudioApp, name: str) -> None:
    (HERE / f"{name}.svg").write_text(app.export_screenshot(title="persona studio"), encoding="utf-8")


async def until(pilot: Any, holds: Callable[[], object], seconds: float = 240) -> None:
    for _ in range(int(seconds / 0.1)):
        await pilot.pause(0.1)
        if holds():
            return
    raise SystemExit("the screen did not get there")


async def review(root: Path, checkpoints: list[str], prompt: str) -> None:
    from studio.tui.review.state import Phase

    app = StudioApp(open_persona(root), review=checkpoints)
    async with app.run_test(size=SIZE) as pilot:
        screen: Any = app.screen
        await until(pilot, lambda: screen.state.sitting or app.screen is not screen)
        if app.screen is not screen:  # how a new review is held
            await pilot.press("enter")
        await until(pilot, lambda: screen.state.sitting and (screen.state.served or screen.state.phase is Phase.WAITING))
        if screen.state.phase is not Phase.WAITING:
            await pilot.press("i")
            await pilot.press(*prompt, "enter")
            await until(pilot, lambda: screen.state.phase is Phase.WAITING)
        await pilot.pause(1)
        save(app, "review")


async def ranking(root: Path) -> None:
    app = StudioApp(open_persona(root))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("7")
        await pilot.pause(2)
        await pilot.press("k")
        panel: Any = app.screen
        await until(pilot, lambda: panel.ranked)
        await pilot.pause(1)
        save(app, "ranking")


async def train(root: Path) -> None:
    app = StudioApp(open_persona(root))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("4")
        await pilot.pause(2)
        await pilot.press("end", "enter")
        await pilot.pause(3)
        save(app, "train")


def main() -> None:
    root, checkpoints = Path(sys.argv[1]), sys.argv[2:4]
    prompt = sys.argv[4] if len(sys.argv) > 4 else PROMPT
    try:
        asyncio.run(review(root, checkpoints, prompt))
        asyncio.run(ranking(root))
        asyncio.run(train(root))
    finally:
        for server in servers.running(open_persona(root)):
            servers.stop(server)


if __name__ == "__main__":
    main()
