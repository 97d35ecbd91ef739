"""What the parts of the review screen share: its state, and drawing it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from textual.timer import Timer

from studio.persona.folder import Persona
from studio.review.probes import opening
from studio.review.rounds import Round
from studio.tui.look import content
from studio.tui.review import drawing
from studio.tui.review.drawing import Title
from studio.tui.review.lines import KeyHints, Lines, TwoSided
from studio.tui.review.panes import Panes
from studio.tui.review.prompt import PromptField
from studio.tui.review.state import Messages, Phase, State, useful_keys, why_not
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
    titles: dict[int, tuple[Title, bool, bool]]
    """What stands on the frames: setting it again would draw the reply again."""

    @property
    def panes(self) -> list[StreamPane]:
        """The panes of the round on screen."""
        return self.query_one(Panes).all

    def draw(self) -> None:
        if not self.is_mounted:
            return
        state = self.state
        self.draw_head()
        self._draw_prompt()
        self._draw_titles()
        welcome = state.round is None
        self.query_one("#welcome").display = welcome
        self.query_one("#panes").display = not welcome
        if welcome:
            self.query_one("#words", Lines).show(drawing.welcome(state))
        self.draw_status()
        self.query_one(KeyHints).show(useful_keys(state))

    def draw_head(self) -> None:
        self.query_one("#head", TwoSided).show([("Review", "strong"), ("  which one is her?", "muted")], drawing.head(self.state))

    def _draw_prompt(self) -> None:
        earlier, asked = self.query_one("#history", Lines), self.query_one("#prompt", Lines)
        writing = self.query_one(PromptField).display
        lines = drawing.history(self.state, self.persona, writing)
        earlier.display = bool(lines)
        earlier.show(lines)
        shown = self.state.round
        asked.display = shown is not None and not writing
        if shown:
            asked.show([[("you: ", "accent"), (shown.prompt, "strong")]])
        self.query_one("#asked").display = bool(lines) or asked.display

    def _draw_titles(self) -> None:
        ready = self.state.phase in (Phase.WAITING, Phase.SAVING, Phase.VOTED, Phase.SWIPING)
        for number, pane in enumerate(self.panes):
            title = drawing.title(self.state, number)
            if self.titles.get(number) == (title, ready, self.state.at == number):
                continue
            self.titles[number] = (title, ready, self.state.at == number)
            pane.set_class(ready, "-ready")
            pane.set_class(title.winner, "-winner")
            pane.set_class(title.broken, "-broken")
            pane.set_class(self.state.at == number, "-at")
            pane.border_title = content(title.top)
            pane.border_subtitle = content(title.foot) if title.foot else ""

    def draw_status(self) -> None:
        panes = self.query_one(Panes)
        beyond = ""
        if self.state.round and panes.together < panes.count:
            last = min(panes.count, panes.at + panes.together)
            on_screen = f"{panes.at + 1}–{last}" if panes.together > 1 else str(panes.at + 1)
            beyond = f"{on_screen} of {panes.count} on screen: tab"
        self.query_one("#status", Lines).show([drawing.status(self.state, beyond) or " "])

    def on_panes_arranged(self) -> None:
        self.draw_status()

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
