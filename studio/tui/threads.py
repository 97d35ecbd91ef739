"""Work off the event loop for screens that any app may hold: its result, or its one sentence, comes back as a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from textual.message import Message
from textual.screen import Screen

from studio.errors import StudioError

T = TypeVar("T")


class Done(Message):
    """A job in a thread has ended; ``then`` takes its result on the screen's side."""

    def __init__(self, then: Callable[[Any], None], result: Any) -> None:
        super().__init__()
        self.then, self.result = then, result


class Trouble(Message):
    """A job could not be done: one sentence. ``engine``: it was the start of an engine."""

    def __init__(self, sentence: str, engine: bool = False) -> None:
        super().__init__()
        self.sentence, self.engine = sentence, engine


class ThreadedScreen(Screen[None]):
    """A screen whose disk work is done in threads."""

    def in_thread(self, job: Callable[[], T], then: Callable[[T], None]) -> None:
        """Run ``job`` in a thread; ``then`` gets its result, ``on_trouble`` the sentence of a StudioError."""

        async def run() -> None:
            try:
                result = await asyncio.to_thread(job)
            except StudioError as error:
                self.post_message(Trouble(str(error)))
            else:
                self.post_message(Done(then, result))

        self.run_worker(run())

    def tell(self, message: Message) -> None:
        """Post a message from any thread; without an app there is nobody to read it."""
        try:
            self.post_message(message)
        except RuntimeError:
            pass

    def on_done(self, message: Done) -> None:
        message.stop()
        message.then(message.result)
