"""Saying which one is her: votes, tags and notes, taking a vote back, and what comes after one."""

from __future__ import annotations

from studio.review.rounds import Round
from studio.review.sitting import PROBE, Sitting
from studio.review.votes import TAGS, Verdict, Vote
from studio.tui.dialogs import Ask
from studio.tui.review.going_on import GoingOn
from studio.tui.review.marks import Marks
from studio.tui.review.mending import Mending
from studio.tui.review.panes import Panes
from studio.tui.review.state import Phase, Question


class Voting(Mending, GoingOn):
    def action_vote(self, verdict: Verdict) -> None:
        state = self.state
        if self.refused(f"vote('{verdict}')") or state.sitting is None or state.round is None:
            return
        sitting, voted, tags, note = state.sitting, state.round, state.tags, state.note
        state.phase = Phase.SAVING
        self.at_desk(lambda: sitting.vote(voted, verdict, tags, note), self._voted)

    def _voted(self, vote: Vote) -> None:
        self.state.vote, self.state.tags, self.state.note = vote, [], ""
        if vote.winner:
            self.query_one(Panes).go(int(vote.verdict) - 1)
        self.enter(Phase.VOTED)
        sitting = self.state.sitting
        if sitting and sitting.ahead and not sitting.waiting:
            # Dealt while the names are read: which round is worth most takes longer than a key should.
            self.set_timer(0.05, lambda: self.at_desk(lambda: next_of(sitting), lambda dealt: self.draw_status()))

    def action_choose(self, way: str) -> None:
        """An arrow: of two it votes, of more it moves."""
        by = -1 if way == "left" else 1
        if self.state.sides == 2 and self.state.phase is not Phase.VOTED:
            self.action_vote("1" if by < 0 else "2")
        else:
            self._go(by)

    def action_pane(self) -> None:
        self._go(1)

    def _go(self, by: int) -> None:
        """To the next reply, or the one before."""
        state = self.state
        if not state.sides:
            return
        state.at = (0 if by > 0 else state.sides - 1) if state.at is None else (state.at + by) % state.sides
        self.query_one(Panes).go(state.at)
        self.panes[state.at].focus()
        self.draw()

    def action_next(self) -> None:
        state = self.state
        if self.refused("next"):
            return
        if state.phase is not Phase.WAITING:
            self.onward()
        elif state.at is None:
            self.say("Tab or an arrow goes to a reply; then this votes for it.")
        else:
            self.action_vote(("1", "2", "3", "4")[state.at])

    def onward(self) -> None:
        """The next round that waits, else one from what was written ahead, else the next probe after a probe, else the field."""
        state = self.state
        sitting = state.sitting
        assert sitting is not None
        state.tags, state.note = [], ""
        if waiting := sitting.waiting:
            self.show_round(waiting[0])
        elif sitting.ahead:
            self.at_desk(lambda: next_of(sitting), self._dealt_ahead)
        else:
            probing = state.round is None or state.round.source.startswith(PROBE)
            state.round, state.errors = None, {}
            self.forget_vote()
            self.enter(Phase.IDLE)
            if probing:
                self.action_probe()
            else:
                self.action_focus_input()

    def _dealt_ahead(self, dealt: Round | None) -> None:
        if dealt:
            self.show_round(dealt)
        elif pooled := self.state.pooled:
            self.say(f"No other prompt is answered by all yet: {pooled[0]} of {pooled[1]} replies are written. i writes a prompt.")
        else:
            self.say("Every prompt that all have answered has its vote: w writes more, k shows the ranking, i writes a prompt.")

    def action_skip(self) -> None:
        """Drop a round being written, skip one that waits, go on from one that is done."""
        state = self.state
        if self.refused("skip") or state.sitting is None or state.phase is Phase.SAVING:
            return
        if state.phase is Phase.SWIPING:
            self.stop_swipe()
        elif state.phase is Phase.ASKING:
            self.drop()
            state.round, state.errors = None, {}
            self.enter(Phase.IDLE)
            self.say("The round was dropped.")
        elif state.phase is Phase.WAITING and state.round:
            sitting, skipped = state.sitting, state.round
            state.phase = Phase.SAVING
            self.at_desk(lambda: sitting.vote(skipped, "skip"), lambda vote: self.onward())
        else:
            self.onward()

    def action_undo(self) -> None:
        if not self.refused("undo") and self.state.sitting is not None:
            self.at_desk(self.state.sitting.undo, self._undone)

    def _undone(self, back: Round) -> None:
        self.show_round(back)
        self.say("The vote is taken back; this round waits for another.")

    def action_again(self) -> None:
        state = self.state
        if self.refused("again") or state.sitting is None or state.round is None:
            return
        sitting, repeated = state.sitting, state.round
        own = {side.checkpoint: side.own for side in repeated.sides if side.own}
        question = Question(repeated.messages, repeated.source, tuple(side.checkpoint for side in repeated.sides), own)
        if state.phase is Phase.WAITING:
            # The round that is left behind gets a skip, so that it does not come back for a vote.
            state.phase = Phase.SAVING
            self.at_desk(lambda: sitting.vote(repeated, "skip"), lambda vote: self.ask(question))
        else:
            self.ask(question)

    def action_tag(self) -> None:
        if self.refused("tag"):
            return

        def take(chosen: list[int] | None) -> None:
            if chosen is not None:
                self.state.tags = [TAGS[n] for n in chosen]
                self.draw_status()

        marked = [n for n, tag in enumerate(TAGS) if tag in self.state.tags]
        self.app.push_screen(Marks([("Why? ", "strong"), ("Tags for the coming vote.", "muted")], [(tag, "") for tag in TAGS], marked), take)

    def action_note(self) -> None:
        if self.refused("note"):
            return

        def take(text: str | None) -> None:
            if text is not None:
                self.state.note = text.strip()
                self.draw_status()

        self.app.push_screen(Ask([("Why? ", "strong"), ("A note for the coming vote.", "muted")], self.state.note), take)


def next_of(sitting: Sitting) -> Round | None:
    """The oldest round that waits, else one dealt from what was written ahead; None when all of that is asked."""
    waiting = sitting.waiting
    return waiting[0] if waiting else sitting.deal_ahead()
