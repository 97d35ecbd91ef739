"""Where a review stands on screen, what can be done there, and why something cannot. No widget is known here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from studio.review.rounds import Round
from studio.review.sitting import Sitting
from studio.review.votes import Vote

if TYPE_CHECKING:
    from studio.engines.servers import Server

Messages: TypeAlias = "list[dict[str, str]]"


class Phase(Enum):
    OPENING = "opening"
    IDLE = "idle"
    ASKING = "asking"
    WAITING = "waiting"
    SAVING = "saving"
    VOTED = "voted"
    SWIPING = "swiping"
    """Another reply of one checkpoint is being written after the vote."""
    FAILED = "failed"


@dataclass(frozen=True)
class Question:
    """What is put to the checkpoints next."""

    messages: Messages
    """The conversation, the prompt last."""
    source: str = "typed"
    among: tuple[str, ...] = ()
    """The checkpoints to ask; empty: those whose vote is worth most."""
    own: dict[str, Messages] = field(default_factory=dict)
    """By checkpoint: its own conversation, where each keeps its own talk."""


@dataclass
class Talk:
    """The conversation that the next written prompt goes on with."""

    messages: Messages = field(default_factory=list)
    own: dict[str, Messages] = field(default_factory=dict)
    source: str = "typed"

    def question(self, text: str) -> Question:
        user = {"role": "user", "content": text}
        own = {name: [*said, user] for name, said in self.own.items()}
        return Question([*self.messages, user], self.source, tuple(own), own)


@dataclass
class Takes:
    """Replies of one side after its vote: what stood there, then the alternatives, and which is shown."""

    texts: list[str]
    at: int = 0


@dataclass
class State:
    phase: Phase = Phase.OPENING
    sitting: Sitting | None = None
    round: Round | None = None
    """The round on screen."""
    vote: Vote | None = None
    """Its vote, once cast."""
    corrected: dict[int, Literal["edited", "swiped"]] = field(default_factory=dict)
    """Sides of the vote on screen whose reply was corrected, and how."""
    takes: dict[int, Takes] = field(default_factory=dict)
    at: int | None = None
    """The side one has gone to by tab or arrows."""
    served: dict[str, Server] = field(default_factory=dict)
    starting: bool = False
    news: str = ""
    """What the starting engine is doing."""
    engine_problem: str = ""
    talk: Talk | None = None
    system: str | None = None
    """System prompt of the coming rounds; None: the persona's."""
    pooled: tuple[int, int] | None = None
    """Replies that were written ahead, and how many there will be; None while nothing writes them."""
    left_out: int = 0
    """Earlier messages of the round on screen that no longer fitted the models."""
    tags: list[str] = field(default_factory=list)
    note: str = ""
    errors: dict[int, str] = field(default_factory=dict)
    """By side: the sentence of the engine that failed."""
    said: str = ""
    """One sentence in the status line, until the next change."""

    @property
    def sides(self) -> int:
        return len(self.round.sides) if self.round else 0

    @property
    def blind(self) -> bool:
        """Whether the names are hidden: before the vote, and until the ranking where the review says so."""
        return self.vote is None or (self.sitting is not None and self.sitting.review.reveal == "end")

    @property
    def chosen(self) -> int | None:
        """The side that an edit or a swipe is about: the winner, else the one gone to."""
        if self.vote and self.vote.winner:
            return int(self.vote.verdict) - 1
        return self.at

    @property
    def busy(self) -> bool:
        return self.phase in (Phase.ASKING, Phase.SAVING, Phase.SWIPING)


STILL_WRITING = {
    Phase.ASKING: "All are still writing; s drops this round.",
    Phase.SWIPING: "Another reply is being written; s stops it.",
    Phase.SAVING: "The vote is being saved.",
}

AFTER_THE_VOTE = ("edit", "swipe", "take", "keep", "origin", "inspect")
NOT_WHILE_BUSY = ("probe", "focus_input", "source", "write_ahead", "continue", "branch", "again", "undo", "next", "new", "system", *AFTER_THE_VOTE)
FREE_WHEN_READ_ONLY = ("ranking", "inspect", "origin", "pane")


def why_not(state: State, action: str, readonly: bool = False) -> str:
    """Why an action cannot be done now, in one sentence; empty if it can."""
    name, _, argument = action.partition("(")
    if readonly and name not in FREE_WHEN_READ_ONLY:
        return "The studio was opened read-only: nothing is asked or voted."
    if state.sitting is None:
        return "" if name == "new" else "The review is not open yet."
    if name in ("vote", "tag", "note"):
        return _why_no_vote(state, argument.strip("')"))
    if name in NOT_WHILE_BUSY and state.phase in STILL_WRITING:
        return STILL_WRITING[state.phase]
    if name in ("probe", "focus_input", "source", "next") and state.phase is Phase.WAITING and not (name == "next" and state.sides > 2):
        return "This round waits for a vote: 1 2 = x, or s to skip it."
    if name == "continue" and not (state.vote and (state.vote.winner or state.sitting.review.talk == "own")):
        return "Going on needs a reply that won: vote for one first."
    if name == "branch" and (state.round is None or state.phase is Phase.WAITING):
        return "A branch begins at a turn of a round that has its vote."
    if name == "again" and state.round is None:
        return "There is no prompt to put again yet: p puts a probe, i writes one."
    if name in AFTER_THE_VOTE:
        if state.vote is None and name != "inspect":
            return "That is done after the vote."
        if name == "inspect" and state.round is None:
            return "There is no round to look into yet."
        if name in ("edit", "swipe", "origin") and state.chosen is None:
            return "No reply won: tab goes to the one you mean."
        if name == "keep" and not (state.vote and state.vote.winner):
            return "Nobody won this round, so there is no talk to keep."
        if name == "take" and not _at_an_alternative(state):
            return "Her own reply stands there; ] asks for another."
    return ""


def _at_an_alternative(state: State) -> bool:
    takes = state.takes.get(state.chosen) if state.chosen is not None else None
    return bool(takes and takes.at)


def _why_no_vote(state: State, verdict: str) -> str:
    if state.phase is Phase.WAITING and verdict.isdigit() and int(verdict) > state.sides:
        return f"There are {state.sides} replies, so none of them is number {verdict}."
    return {
        Phase.IDLE: "There is nothing to vote on yet: p puts a probe, i writes a prompt.",
        Phase.ASKING: "All replies have to be complete before a vote.",
        Phase.SAVING: "The vote is being saved.",
        Phase.VOTED: "This round has its vote; u takes it back.",
        Phase.SWIPING: "This round has its vote; u takes it back.",
        Phase.FAILED: "A reply was cut off by an engine that failed: no vote on this round; r asks again.",
    }.get(state.phase, "")


def useful_keys(state: State) -> list[str]:
    """Actions that do something now, the most wanted first."""
    match state.phase:
        case Phase.WAITING:
            first = ["choose('left')", "choose('right')"] if state.sides == 2 else ["pane"]
            keys = [*first, "vote('tie')", "vote('both_bad')", "tag", "note", "skip", "again", "undo", "inspect", "ranking"]
        case Phase.VOTED:
            keys = [
                "next",
                "take",
                "edit",
                "swipe(1)",
                "keep",
                "continue",
                "focus_input",
                "source",
                "branch",
                "again",
                "undo",
                "inspect",
                "ranking",
                "new",
            ]
        case Phase.FAILED:
            keys = ["again", "next", "focus_input", "source", "undo", "ranking", "new"]
        case Phase.ASKING | Phase.SWIPING:
            keys = ["skip", "ranking"]
        case _:
            keys = ["next", "focus_input", "source", "write_ahead", "probe", "system", "ranking", "new"]
    return [key for key in keys if not why_not(state, key)]
