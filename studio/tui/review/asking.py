"""Asking the checkpoints: the engine that answers, the round that is dealt, and drawing what comes at one pace."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from textual.message import Message

from studio.checkpoints.store import get_checkpoint, weights_root
from studio.engines.sharing import ensure_served, served_by
from studio.errors import StudioError
from studio.review.generate import play
from studio.review.rounds import Round
from studio.review.sitting import Sitting
from studio.text import one_line
from studio.tui.review.base import ReviewBase
from studio.tui.review.pacing import Pacer
from studio.tui.review.panes import Panes
from studio.tui.review.serving import fitting
from studio.tui.review.state import Phase, Question
from studio.tui.streaming import draw_now
from studio.tui.threads import Done, Trouble

if TYPE_CHECKING:
    from studio.engines.servers import Server

TICKS = 15
"""Flushes a second at most."""

PANE_FLUSHES = 40
"""Panes drawn a second at most: four are flushed more rarely than two, so that a key waits no longer for them."""

KEY_FIRST = 0.05
"""Seconds after a key in which the replies stand back, so that what the key did is drawn before them."""

PATIENCE = 3
"""Flushes that may stand back one after another: a key that is held down does not stop the replies."""


class EngineNews(Message):
    """What the starting engine is doing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Dealt(Message):
    """A round is dealt and about to be asked."""

    def __init__(self, dealt: Round, left_out: int) -> None:
        super().__init__()
        self.dealt, self.left_out = dealt, left_out


class Recorded(Message):
    """All replies have ended and the round is on disk."""

    def __init__(self, finished: Round) -> None:
        super().__init__()
        self.finished = finished


class Asking(ReviewBase):
    pacer: Pacer
    drawn: list[int]
    """Which pane each reply of the pacer goes to."""
    recorded: Round | None
    """A finished round whose replies are still being drawn."""
    held: Callable[[], None] | None
    """What is done when the engine is there."""
    stood_back: int
    pressed: float
    """When the last key came."""

    # -- the engine ----------------------------------------------------------------------------------------------------------------

    def find_engine(self, names: Iterable[str] = (), start: bool = True) -> None:
        """Look for servers of these checkpoints (of all of the review), start what is missing. In a daemon thread: leaving the app
        does not wait for a model to load.
        """
        state = self.state
        if state.starting or state.sitting is None:
            return
        state.starting, state.engine_problem, state.news = True, "", ""
        review = state.sitting.review
        engine = self.engine or review.engine
        wanted = list(names) or review.checkpoints

        def work() -> None:
            try:
                if start:
                    checkpoints = [get_checkpoint(self.persona, name) for name in wanted]
                    found, _ = ensure_served(self.persona, checkpoints, engine, lambda text: self.tell(EngineNews(text)))
                else:
                    found = served_by(self.persona, wanted, engine)
                self.tell(Done(self._engine_ready, (review.id, found)))
            except StudioError as error:
                ahead = " w has the replies written ahead, one model after the other." if self._apart(wanted) else ""
                self.tell(Trouble(f"{error}{ahead}", engine=True))
            except Exception as error:
                from studio.crash import record

                self.tell(Trouble(record(error), engine=True))

        threading.Thread(target=work, daemon=True).start()
        self.draw()

    def _apart(self, names: Sequence[str]) -> bool:
        """Whether these checkpoints need several sets of weights, which may not have room side by side."""
        try:
            return len({weights_root(self.persona, get_checkpoint(self.persona, name)).id for name in names}) > 1
        except StudioError:
            return False

    def on_engine_news(self, message: EngineNews) -> None:
        message.stop()
        self.state.news = one_line(message.text)
        self.draw()

    def _engine_ready(self, found: tuple[str, dict[str, Server]]) -> None:
        review_id, served = found
        state = self.state
        state.starting = False
        if state.sitting is None or state.sitting.review.id != review_id:
            self.find_engine()
            return
        state.served |= served
        self.draw()
        if self.held is not None:
            held, self.held = self.held, None
            held()

    def when_served(self, names: Sequence[str], then: Callable[[], None]) -> bool:
        """Whether an engine answers for all ``names`` now. If not, one is started and ``then`` called when it does."""
        if set(names) <= self.state.served.keys():
            return True
        self.held = then
        self.find_engine(names)
        return False

    # -- a round -------------------------------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> None:
        """Put a question to the checkpoints."""
        state = self.state
        assert state.sitting is not None
        self.forget_vote()
        state.talk, state.errors, state.left_out = None, {}, 0
        self.recorded = None
        self.enter(Phase.ASKING)
        if self.when_served(question.among or state.sitting.review.checkpoints, lambda: self.ask(question)):
            self.pacer = Pacer(len(question.among) or state.sitting.review.panes)
            self.run_worker(self._play(state.sitting, question), group="asking", exclusive=True)

    async def _play(self, sitting: Sitting, question: Question) -> None:
        review, served, errors = sitting.review, self.state.served, self.state.errors
        try:
            names = question.among or review.checkpoints
            messages, left_out = await fitting(served, review.sampling, names, question.messages)
            own = {}
            for name, said in question.own.items():
                own[name], less = await fitting(served, review.sampling, [name], said)
                left_out = max(left_out, less)
            dealt = await asyncio.to_thread(sitting.deal, messages, question.source, question.among)
            for side in dealt.sides:
                side.own = own.get(side.checkpoint, [])
            self.pacer = pacer = Pacer(len(dealt.sides))

            def ended(side: int, error: str) -> None:
                if error:
                    errors[side] = error
                pacer.finish(side)

            self.post_message(Dealt(dealt, left_out))
            finished = await play(dealt, review.sampling, served, self.arrived(pacer), ended)
            await asyncio.to_thread(sitting.keep, finished)
        except StudioError as error:
            self.post_message(Trouble(str(error)))
        else:
            self.post_message(Recorded(finished))

    def on_dealt(self, message: Dealt) -> None:
        message.stop()
        self.state.round, self.state.left_out = message.dealt, message.left_out
        self.query_one(Panes).use(len(message.dealt.sides))
        self.draw_from(list(range(len(message.dealt.sides))))
        self.draw()

    def on_recorded(self, message: Recorded) -> None:
        message.stop()
        self.recorded = message.finished

    def arrived(self, pacer: Pacer) -> Callable[[int, str], None]:
        """Takes what comes to the pacer. When all have begun that is drawn at once: here, in the app's own loop, and not by a message
        that waits for its turn.
        """

        def arrive(side: int, text: str) -> None:
            begun = pacer.begun
            pacer.arrive(side, text)
            if not begun and pacer.begun:
                self.flush_now()

        return arrive

    # -- drawing it ----------------------------------------------------------------------------------------------------------------

    def draw_from(self, panes: list[int]) -> None:
        """Begin to draw what the pacer hands out into these panes, which are emptied."""
        self.drawn, self.stood_back = panes, 0
        self.ticker.stop()
        self.ticker = self.set_interval(max(1 / TICKS, len(panes) / PANE_FLUSHES), self.tick)
        for number in panes:
            self.panes[number].writing = True
            self.panes[number].set_text("")

    def tick(self) -> None:
        """Draw what has come, unless a key was just pressed: its answer comes first."""
        if time.monotonic() - self.pressed < KEY_FIRST and self.stood_back < PATIENCE:
            self.stood_back += 1
        else:
            self.flush()

    def flush(self) -> None:
        """Draw what has come, for all sides by one measure; a round is complete when all of it is drawn and on disk."""
        self.stood_back = 0
        panes = self.panes
        for number, piece, reply in zip(self.drawn, self.pacer.tick(), self.pacer.replies, strict=True):
            panes[number].feed(piece)
            if reply.complete and panes[number].writing:
                panes[number].writing = False
        if self.pacer.complete:
            self.all_drawn()

    def flush_now(self) -> None:
        """As ``flush``, and on the terminal when it returns."""
        self.flush()
        draw_now(self.panes)

    def all_drawn(self) -> None:
        """All there will be of the replies stands on screen."""
        state = self.state
        if self.recorded is not None and state.phase is Phase.ASKING:
            self.stop_drawing()
            state.round, self.recorded = self.recorded, None
            if state.errors:
                state.served = {}
            self.enter(Phase.FAILED if state.errors else Phase.WAITING)

    def stop_drawing(self) -> None:
        self.ticker.pause()
        for pane in self.panes:
            pane.writing = False

    def drop(self) -> None:
        """Stop what is being asked; nothing of it is kept."""
        self.workers.cancel_group(self, "asking")
        self.stop_drawing()
        self.held = self.recorded = None

    def on_trouble(self, message: Trouble) -> None:
        message.stop()
        state = self.state
        if message.engine:
            state.starting, state.engine_problem = False, message.sentence
            self.held = None
        if state.phase in (Phase.ASKING, Phase.SWIPING):
            self.stop_drawing()
            self.enter(Phase.VOTED if state.phase is Phase.SWIPING else Phase.FAILED if state.round else Phase.IDLE)
        elif state.phase in (Phase.SAVING, Phase.OPENING):
            self.enter(Phase.WAITING if state.phase is Phase.SAVING else Phase.IDLE)
        if message.engine and state.phase is not Phase.VOTED:
            self.draw()
        else:
            self.say(message.sentence)
