"""The review screen: one prompt, two to four replies side by side, and a vote before the names.

Workers post messages; this screen owns every change of its state. Its parts: ``asking`` (engine, rounds), ``voting``, ``mending`` (what
she should have said), ``going_on`` (prompts and talks), ``beforehand`` (replies written ahead), ``inspecting``, ``origins`` (the rows
a reply is from); ``state`` says what can be done, ``drawing`` what stands there.
"""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll

from studio.checkpoints.store import Checkpoint, all_checkpoints
from studio.persona.folder import Persona
from studio.review.rounds import Review, Sampling, all_reviews, open_review
from studio.review.sitting import Sitting, resume
from studio.tui.actions import bindings_of
from studio.tui.look import Line
from studio.tui.review.beforehand import Beforehand
from studio.tui.review.inspecting import Inspecting
from studio.tui.review.lines import KeyHints, Lines, TwoSided
from studio.tui.review.manner import AskManner, Manner
from studio.tui.review.marks import Marks
from studio.tui.review.origins import Origins
from studio.tui.review.pacing import Pacer
from studio.tui.review.panes import Panes
from studio.tui.review.prompt import PromptField
from studio.tui.review.state import Phase, State
from studio.tui.review.voting import Voting
from studio.tui.scrolling import PANES


class ReviewScreen(Voting, Beforehand, Inspecting, Origins):
    """Compare checkpoints blind. Goes on with ``review``, else with the newest one of ``checkpoint_ids``, else with the newest."""

    rows_of = "review"
    TITLE = "Review"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (78, "-wide")]  # noqa: RUF012  Textual declares it so
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-high")]  # noqa: RUF012
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("review"), *PANES]
    CSS = """
    ReviewScreen { layout: vertical; background: $background; }
    ReviewScreen #head { margin: 0 1; }
    ReviewScreen.-high #head { margin-bottom: 1; }
    ReviewScreen #asked { height: auto; max-height: 8; margin: 0 2; scrollbar-size-vertical: 1; }
    ReviewScreen.-narrow #asked, ReviewScreen.-low #asked { max-height: 3; }
    ReviewScreen #history { height: auto; text-wrap: nowrap; text-overflow: ellipsis; display: none; }
    ReviewScreen #prompt { height: auto; max-width: 100; }
    ReviewScreen PromptField { margin: 0 1; }
    ReviewScreen #panes { display: none; }
    ReviewScreen.-high #panes { margin-top: 1; }
    ReviewScreen StreamPane {
        padding: 0 0 0 1; background: $background; color: $foreground;
        border: round $foreground 25%; border-title-color: $foreground 70%; border-subtitle-color: $foreground 60%;
        border-title-style: none;
    }
    ReviewScreen StreamPane.-ready { border: round $foreground 45%; border-title-color: $foreground; border-title-style: bold; }
    ReviewScreen StreamPane.-at, ReviewScreen StreamPane:focus { border: round $primary; }
    ReviewScreen StreamPane.-winner, ReviewScreen StreamPane.-winner:focus { border: heavy $success; border-title-color: $success; }
    ReviewScreen StreamPane.-broken { border: dashed $error; border-title-color: $error; border-subtitle-color: $error; }
    ReviewScreen #welcome { width: 100%; height: 1fr; align: center middle; }
    ReviewScreen #welcome Static { width: 68; max-width: 94%; height: auto; }
    ReviewScreen #status { height: auto; max-height: 3; margin: 0 2; }
    """

    def __init__(self, persona: Persona, checkpoint_ids: list[str] | None = None, review: Review | None = None, engine: str = "") -> None:
        super().__init__()
        self.persona = persona
        self.asked_for = checkpoint_ids
        self.given_review = review
        self.engine = engine
        self.state = State()
        self.pacer = Pacer()
        self.drawn = []
        self.recorded = None
        self.swiped = None
        self.held = None
        self.desk = threading.Lock()
        self.stood_back, self.pressed = 0, 0.0
        self.titles = {}

    def compose(self) -> ComposeResult:
        if hasattr(self.app, "pulse"):
            from studio.tui.bars import TopBar

            yield TopBar()
        yield TwoSided(id="head")
        with VerticalScroll(id="asked", can_focus=False):
            yield Lines(id="history")
            yield Lines(id="prompt")
        yield PromptField("Write to her; Enter sends, Escape leaves", id="field")
        with Vertical(id="welcome"):
            yield Lines(id="words")
        yield Panes(id="panes")
        yield Lines(id="status")
        yield KeyHints("review")

    def on_mount(self) -> None:
        self.ticker = self.set_interval(1, self.tick, pause=True)
        self.draw()
        if self.given_review is None and not self.asked_for and not all_reviews(self.persona):
            self.call_after_refresh(self.action_new)
        else:
            self.in_thread(self._open, self._opened)

    def on_event(self, event: events.Event) -> Any:
        if isinstance(event, events.Key):
            self.pressed = time.monotonic()
        return super().on_event(event)

    # -- opening -------------------------------------------------------------------------------------------------------------------

    def _open(self) -> Sitting | None:
        """The sitting to go on with; None where a new review has to be begun."""
        if self.given_review is None and self.asked_for:
            newest = next(reversed(all_reviews(self.persona)), None)
            if newest is None or set(newest.checkpoints) != set(self.asked_for):
                return None
        return Sitting(self.persona, self.given_review or resume(self.persona, self.asked_for, engine=self.engine))

    def _opened(self, sitting: Sitting | None) -> None:
        """A review is open: its oldest round without a vote is shown at once, engine or not."""
        if sitting is None:
            assert self.asked_for
            self._begin(self.asked_for)
            return
        self.state = State(sitting=sitting, system=self.state.system)
        if waiting := sitting.waiting:
            self.show_round(waiting[0])
        elif sitting.past and sitting.past[-1].id not in sitting.votes:
            self.show_round(sitting.past[-1])
        else:
            self.enter(Phase.IDLE)
        # What was written ahead needs no engine to be voted on.
        self.find_engine(start=not sitting.ahead)
        if sitting.ahead:
            self.watch_ahead()

    def action_new(self) -> None:
        if getattr(self.app, "readonly", False):
            self.say("The studio was opened read-only: no review is begun.")
            return
        if self.refused("new"):
            return
        sitting = self.state.sitting
        found = all_checkpoints(self.persona)
        marked = [n for n, c in enumerate(found) if sitting and c.id in sitting.review.checkpoints]

        def take(chosen: list[int] | None) -> None:
            if chosen is None:
                self._none_begun()
            else:
                self._begin([found[n].id for n in chosen])

        question: Line = [("A new review. ", "strong"), ("Which checkpoints are compared?", "muted")]
        self.app.push_screen(Marks(question, [(c.id, described(c)) for c in found], marked, least=2, most=8, noun="checkpoints"), take)

    def _begin(self, names: list[str]) -> None:
        """Ask how a new review of these checkpoints is held, and open it."""

        def take(manner: Manner | None) -> None:
            if manner is None:
                self._none_begun()
                return
            self.state.phase = Phase.OPENING
            kinds: dict[str, Any] = {"panes": manner.panes, "reveal": manner.reveal, "talk": manner.talk}
            drawn = Sampling(temperature=manner.temperature, max_tokens=manner.max_tokens)
            self.in_thread(lambda: Sitting(self.persona, open_review(self.persona, names, drawn, engine=self.engine, **kinds)), self._opened)

        self.app.push_screen(AskManner(len(names)), take)

    def _none_begun(self) -> None:
        if self.state.sitting is None:
            self.enter(Phase.IDLE)
            self.say("No review yet: N chooses the checkpoints to compare.")

    # -- looking -------------------------------------------------------------------------------------------------------------------

    def action_scroll(self, way: str) -> None:
        for pane in self.panes:
            getattr(pane, f"action_{way}")()


def described(checkpoint: Checkpoint) -> str:
    """Stage, parent and scheme, for a list."""
    parent = f" of {checkpoint.parent}" if checkpoint.parent else ""
    return f"{checkpoint.stage}{parent}{f' · {checkpoint.scheme}' if checkpoint.scheme else ''}"
