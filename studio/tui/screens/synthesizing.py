"""Having a model write conversations: where, by which model and how many is asked; what was taken and what not is shown afterwards."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from studio.addresses import host_of
from studio.dialogue.synth import Told, sentences, synthesize
from studio.errors import StudioError
from studio.tui.dialogs import Ask
from studio.tui.screens.reader import ReaderScreen

if TYPE_CHECKING:
    from studio.progress import Progress
    from studio.tui.screens.dialogue import DialogueScreen

HINT = """http://127.0.0.1:8000/v1 MODEL 20: the address of an OpenAI-compatible endpoint, the model there, how many.
Nothing is written unless it is asked for here, and what is written stays marked (is:synthetic).
The passages of your lore are sent there. The key is read from STUDIO_EXTERNAL_KEY."""


def begin(screen: DialogueScreen) -> None:
    def asked(text: str | None) -> None:
        if not text:
            return
        url, model, number = text.split()

        def job(progress: Progress) -> Told:
            return synthesize(screen.persona, url, model, int(number), progress=progress)

        screen.work("Writing", job, partial(_written, screen), "what was written is kept, and the same words go on with it")

    screen.app.push_screen(Ask("Have a model write conversations on the lore?", hint=HINT, check=_problem), asked)


def _problem(text: str) -> str:
    words = text.split()
    if len(words) != 3 or not words[2].isdecimal() or not int(words[2]):
        return "Give an address, a model and a number, with a space between."
    try:
        host_of(words[0])
    except StudioError as error:
        return str(error)
    return ""


def _written(screen: DialogueScreen, told: Told) -> None:
    screen.refresh_data()
    screen.app.push_screen(ReaderScreen([("Written by a model", "strong")], lambda: [[(sentence, "plain")] for sentence in sentences(told)]))
