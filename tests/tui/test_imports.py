"""The app opens without the model libraries and without the HTTP client."""

from __future__ import annotations

import subprocess
import sys

from studio.persona.folder import Persona

OPEN_EVERYTHING = """
import asyncio, sys
from pathlib import Path
from studio.persona.folder import open_persona
from studio.tui.app import StudioApp
async def main():
    app = StudioApp(open_persona(Path(sys.argv[1])))
    async with app.run_test() as pilot:
        for key in "1234567":
            await pilot.press(key)
            for _ in range(200):
                await pilot.pause(0.02)
                if not app.busy:
                    break
    assert not app.crash, app.crash
asyncio.run(main())
print(" ".join(sorted(sys.modules)))
"""
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "llmcompressor", "bitsandbytes"}


def loaded(code: str, *arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_no_model_library_after_opening_every_screen(persona: Persona) -> None:
    modules = loaded(OPEN_EVERYTHING, str(persona.root))
    assert "studio.tui.screens.chooser" in modules
    assert not HEAVY & modules


def test_the_first_paint_needs_little() -> None:
    modules = loaded("import sys, studio.tui.app, studio.tui.screens.persona; print(' '.join(sorted(sys.modules)))")
    assert not (HEAVY | {"httpx", "tokenizers", "numpy", "jinja2", "pynvml", "uvicorn", "starlette"}) & modules
    assert not {name for name in modules if name.startswith("studio.tui.screens.")} - {"studio.tui.screens.persona"}
