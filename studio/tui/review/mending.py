"""After the vote: what she should have said, in one's own words or in another reply of hers."""

from __future__ import annotations

import random
from typing import Literal

import msgspec
from textual.message import Message

from studio.errors import StudioError
from studio.review.generate import write_reply
from studio.review.keeping import Kept, keep
from studio.review.rounds import Round, Sampling, Side
from studio.review.votes import better
from studio.text import clean, count
from studio.tui.review.asking import Asking
from studio.tui.review.pacing import Pacer
from studio.tui.review.panes import Panes
from studio.tui.review.state import Phase, Takes
from studio.tui.review.writing import Writing
from studio.tui.threads import Trouble


class Swiped(Message):
    """Another reply has ended, whole or with the engine's sentence."""

    def __init__(self, number: int, side: Side, error: str) -> None:
        super().__init__()
        self.number, self.side, self.error = number, side, error


class Mending(Asking):
    swiped: Swiped | None
    """Another reply that has ended and is still being drawn."""

    def takes_of(self, number: int) -> Takes:
        """The replies of one side: what stands, and the alternatives."""
        assert self.state.round is not None
        return self.state.takes.setdefault(number, Takes([self.state.round.sides[number].reply]))

    def _show_take(self, number: int) -> None:
        takes = self.takes_of(number)
        self.panes[number].set_text(takes.texts[takes.at], from_top=True)

    def _keep(self, number: int, text: str, how: Literal["edited", "swiped"], said: str) -> None:
        vote = self.state.vote
        assert vote is not None

        def kept(_: object) -> None:
            if self.state.vote is vote:
                self.state.takes[number] = Takes([text])
                self.state.corrected[number] = how
                self._show_take(number)
                self.draw()
                self.say(said)

        self.in_thread(lambda: better(self.persona, vote, number, text, how), kept)

    def action_edit(self) -> None:
        number = self.state.chosen
        if self.refused("edit") or number is None:
            return
        takes = self.takes_of(number)
        before = clean(takes.texts[takes.at])

        def take(text: str | None) -> None:
            if text is not None and text != before.strip():
                self._keep(number, text, "edited", "Saved: what she should have said.")

        question = [("What she should have said. ", "strong"), ("Kept as a preference over what she said.", "muted")]
        self.app.push_screen(Writing(question, before), take)

    def action_keep(self) -> None:
        """The talk on screen, ended by the reply that won or its correction, becomes a conversation to train on."""
        voted = self.state.round
        if self.refused("keep") or voted is None:
            return

        def told(kept: Kept) -> None:
            new = f"{count(kept.new, 'conversation')} new in the dialogue" if kept.new else "it stands in the dialogue already"
            self.say(f"Kept: {new}. Screen 3 shows it; a build freezes it for SFT.")

        self.at_desk(lambda: keep(self.persona, [voted.id]), told)

    def action_swipe(self, by: int) -> None:
        number = self.state.chosen
        if self.refused("swipe") or number is None:
            return
        takes = self.takes_of(number)
        if by > 0 and takes.at == len(takes.texts) - 1:
            self._write_another(number)
        elif by < 0 and takes.at == 0:
            self.say("This is the reply that was voted on; ] asks for another.")
        else:
            takes.at += by
            self.query_one(Panes).go(number)
            self._show_take(number)
            self.state.said = ""
            self.draw()

    def _write_another(self, number: int) -> None:
        state = self.state
        assert state.round is not None and state.sitting is not None
        sent = state.round.sides[number]
        state.at = number
        self.query_one(Panes).go(number)
        self.enter(Phase.SWIPING)
        if not self.when_served([sent.checkpoint], lambda: self._write_another(number)):
            return
        # A seed of its own for each alternative, the same ones again for the same reply.
        seed = random.Random(f"{sent.seed}:{len(self.takes_of(number).texts)}").randrange(2**31)
        side = msgspec.structs.replace(sent, seed=seed, reply="", finish="", tokens=0, seconds=0.0, first=0.0)
        self.pacer = Pacer(1)
        self.draw_from([number])
        self.run_worker(self._swipe(number, side, state.round, state.sitting.review.sampling), group="asking", exclusive=True)

    async def _swipe(self, number: int, side: Side, of: Round, sampling: Sampling) -> None:
        pacer = self.pacer
        try:
            error = await write_reply(side, self.state.served[side.checkpoint], side.sent(of.messages), sampling, lambda text: pacer.arrive(0, text))
        except StudioError as problem:
            self.post_message(Trouble(str(problem)))
        else:
            pacer.finish(0)
            self.post_message(Swiped(number, side, error))

    def on_swiped(self, message: Swiped) -> None:
        message.stop()
        self.swiped = message

    def all_drawn(self) -> None:
        super().all_drawn()
        if self.swiped is None or self.state.phase is not Phase.SWIPING:
            return
        done, self.swiped = self.swiped, None
        self.stop_drawing()
        takes = self.takes_of(done.number)
        if done.error:
            self.state.served = {}
        elif done.side.reply.strip():
            takes.texts.append(done.side.reply)
            takes.at = len(takes.texts) - 1
        self._show_take(done.number)
        self.enter(Phase.VOTED)
        if done.error or not done.side.reply.strip():
            self.say(done.error or "An empty reply came; ] asks for another.")

    def stop_swipe(self) -> None:
        number = self.state.chosen
        self.drop()
        self.swiped = None
        self.enter(Phase.VOTED)
        if number is not None:
            self._show_take(number)

    def action_take(self) -> None:
        number = self.state.chosen
        if self.refused("take") or number is None:
            return
        takes = self.takes_of(number)
        self._keep(number, takes.texts[takes.at], "swiped", "Saved: this reply instead of the one that was voted on.")
