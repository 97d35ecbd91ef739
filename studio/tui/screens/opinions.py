"""A language model's opinion of the rows: which one, where it is, how many rows. Nothing is sent before the last of these is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.addresses import on_this_machine
from studio.dialogue.checks import Outcome, run
from studio.dialogue.judging import SCALES, Score, Waiting, judge, waiting_for
from studio.text import count
from studio.tui.dialogs import Ask, Choice, Choose
from studio.tui.look import Line

if TYPE_CHECKING:
    from studio.tui.screens.dialogue_checks import ChecksScreen

SAMPLES = (20, 100, 500)
"""Rows of a sample, where there are more."""


def begin(screen: ChecksScreen) -> None:
    known = screen.persona.manifest.external
    if not known:
        _ask_address(screen)
        return
    choices = [Choice(name, name, f"{end.model} at {end.url}") for name, end in known.items()]
    choices.append(Choice("", "another", "an address and a model's name"))

    def chosen(name: str | None) -> None:
        if name:
            _ask_how_many(screen, known[name].url, known[name].model)
        elif name == "":
            _ask_address(screen)

    screen.app.push_screen(Choose("Which model is to grade the rows?", choices), chosen)


def _ask_address(screen: ChecksScreen) -> None:
    def problem(text: str) -> str:
        parts = text.split()
        good = len(parts) == 2 and parts[0].startswith(("http://", "https://"))
        return "" if good else "Give an address and a model's name, such as http://127.0.0.1:8080/v1 big-one."

    def asked(text: str | None) -> None:
        if text:
            _ask_how_many(screen, *text.split())

    hint = "A key is taken from STUDIO_EXTERNAL_KEY, or kept for the address by: studio external add, studio external key."
    screen.app.push_screen(Ask("Address of an OpenAI-compatible endpoint, a space, the model's name there", hint=hint, check=problem), asked)


def _ask_how_many(screen: ChecksScreen, url: str, model: str) -> None:
    persona = screen.persona

    def ask(found: Waiting) -> None:
        number = len(found.rows)
        if not number:
            screen.say(f"{model} has judged all {count(found.judged, 'row')} as they are now.")
            return
        weight = sum(len(message.content) for row in found.rows for message in row.messages)
        done = f"; {found.judged:,} it has judged already" if found.judged else ""
        choices = [Choice("0", f"all {number:,}", f"{weight:,} characters{done}")]
        choices += [Choice(str(some), f"a sample of {some}", "evenly over all of them") for some in SAMPLES if some < number]
        here = on_this_machine(found.host)
        where = f"They stay on this machine: {found.host}." if here else f"They LEAVE THIS MACHINE and go to {found.host}."
        question: Line = [
            (f"{model} grades vocabulary, prose and use of context, one conversation after the other.\n", "plain"),
            (where, "plain" if here else "warn"),
        ]
        screen.app.push_screen(Choose(question, choices), lambda some: None if some is None else _judge(screen, url, model, int(some)))

    screen.in_background(lambda: waiting_for(persona, url, model), ask)


def _judge(screen: ChecksScreen, url: str, model: str, limit: int) -> None:
    """What was judged is kept row by row: asked again, it goes on from there."""
    persona = screen.persona

    def job() -> tuple[list[Score], Outcome]:
        made = judge(persona, url, model, limit, screen.progress)
        return made, run(persona, [f"judge-{scale}" for scale in SCALES], progress=screen.progress)

    def told(found: tuple[list[Score], Outcome]) -> None:
        made, outcome = found
        screen.remember(outcome)
        unread = sum(not score.vocabulary for score in made)
        screen.say(f"{count(len(made), 'row')} judged by {model}" + (f"; of {unread:,} the answer could not be read." if unread else "."))

    screen.work(job, told)
