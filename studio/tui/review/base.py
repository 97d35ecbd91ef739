"""What the parts of the review screen share: its state, and drawing it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from textual.timer import Timer

from studio.persona.folder import Persona
from studio.review.probes import opening
from studio.review.rounds import Round
from studio.tui.review.panes import Panes
from studio.tui.review.state import Messages, Phase, State, why_not
from studio.tui.streaming import StreamPane
from studio.tui.threads import ThreadedScreen

T = TypeVar("T")


class ReviewBase(ThreadedScreen):
    """The parts (asking, voting, mending, going on) are classes of their own over this one; ``ReviewScreen`` joins them."""

    persona: Persona
    state: State
    engine: str
    """``embedded`` or ``vllm``; empty: whatever runs, else embedded."""
    ticker: Timer
    desk: threading.Lock

    @property
    def panes(self) -> list[StreamPane]:
        """The panes of the round on screen."""
        return self.query_one(Panes).all

    def draw(self) -> None:
        """Everything but the replies, from the state."""
        raise NotImplementedError

    def draw_status(self) -> None:
        raise NotImplementedError

    def enter(self, phase: Phase) -> None:
        """Go into a phase."""
        self.state.phase, self.state.said = phase, ""
        self.draw()

    def say(self, sentence: str) -> None:
        """One sentence in the status line, until the next change."""
        self.state.said = sentence
        self.draw_status()

    def why_not(self, action: str) -> str:
        """Why an action cannot be done now; empty if it can."""
        return why_not(self.state, action, bool(getattr(self.app, "readonly", False)))

    def refused(self, action: str) -> bool:
        if why := self.why_not(action):
            self.say(why)
        return bool(why)

    def at_desk(self, job: Callable[[], T], then: Callable[[T], None]) -> None:
        """As ``in_thread``, for what reads or writes the sitting: one at a time, in the order in which they were asked for."""

        def work() -> T:
            with self.desk:
                return job()

        self.in_thread(work, then)

    def begin(self, prompt: str) -> Messages:
        """A fresh conversation, under the system prompt of the coming rounds."""
        messages = opening(self.persona, prompt)
        if self.state.system is None:
            return messages
        system: Messages = [{"role": "system", "content": self.state.system}] if self.state.system.strip() else []
        return [*system, messages[-1]]

    def show_round(self, shown: Round) -> None:
        """A recorded round as it was, at once."""
        state = self.state
        state.round, state.left_out = shown, 0
        self.forget_vote()
        failed = "The engine failed while this reply was written."
        state.errors = {n: failed for n, side in enumerate(shown.sides) if side.finish == "error"}
        self.query_one(Panes).use(len(shown.sides))
        for pane, side in zip(self.panes, shown.sides, strict=True):
            pane.writing = False
            pane.set_text(side.reply, from_top=True)
        self.enter(Phase.FAILED if state.errors else Phase.WAITING)

    def forget_vote(self) -> None:
        """What belongs to one vote, and not to the next."""
        state = self.state
        state.vote, state.at = None, None
        state.corrected, state.takes = {}, {}
