"""The review screen: one prompt, two replies side by side, and a vote before the names.

Phases: nothing asked yet, replies being written, a round waiting for its vote, the vote being saved, voted, and failed. Workers
post messages; this screen owns every change of state.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import Worker

from studio.checkpoints.store import all_checkpoints, get_checkpoint
from studio.engines.sharing import ensure_served
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.generate import play
from studio.review.probes import Probe, opening
from studio.review.ranking import Ranking, rank, voter_bias
from studio.review.rounds import Review, Round, all_reviews, open_review
from studio.review.sitting import PROBE, Sitting, resume, winning_history
from studio.review.votes import TAGS, Verdict, Vote
from studio.text import clean, count, one_line
from studio.tui.actions import bindings_of
from studio.tui.look import Line, Span, content
from studio.tui.review.lines import KeyHints, TwoSided
from studio.tui.review.marks import Marks
from studio.tui.review.pacing import Pacer
from studio.tui.review.prompt import PromptField
from studio.tui.review.ranking import RankingPanel
from studio.tui.review.serving import fitting
from studio.tui.streaming import StreamPane

if TYPE_CHECKING:
    from studio.engines.servers import Server

T = TypeVar("T")

TICKS = 15
"""Flushes a second of both panes together."""

SHOWN_HISTORY = 4
"""Earlier turns shown above the prompt, one line each."""


class Phase(Enum):
    OPENING = "opening"
    IDLE = "idle"
    ASKING = "asking"
    WAITING = "waiting"
    SAVING = "saving"
    VOTED = "voted"
    FAILED = "failed"


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


class EngineNews(Message):
    """What the starting engine is doing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Dealt(Message):
    """A round is dealt and about to be asked."""

    def __init__(self, dealt: Round) -> None:
        super().__init__()
        self.dealt = dealt


class Recorded(Message):
    """Both replies have ended and the round is on disk."""

    def __init__(self, finished: Round) -> None:
        super().__init__()
        self.finished = finished


class ReviewScreen(Screen[None]):
    """Compare checkpoints blind. Goes on with ``review``, else with the newest one of ``checkpoint_ids``, else with the newest."""

    rows_of = "review"
    TITLE = "Review"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (78, "-wide")]  # noqa: RUF012  Textual declares it so
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-high")]  # noqa: RUF012
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings_of("review"),
        Binding("up", "scroll('up')", show=False),
        Binding("down", "scroll('down')", show=False),
        Binding("pageup", "scroll('page_up')", show=False),
        Binding("pagedown,space", "scroll('page_down')", show=False),
        Binding("home", "scroll('home')", show=False),
        Binding("end", "scroll('end')", show=False),
    ]
    CSS = """
    ReviewScreen { layout: vertical; background: $background; }
    ReviewScreen #head { margin: 0 1; }
    ReviewScreen.-high #head { margin-bottom: 1; }
    ReviewScreen #asked { height: auto; max-height: 8; margin: 0 2; scrollbar-size-vertical: 1; }
    ReviewScreen.-narrow #asked, ReviewScreen.-low #asked { max-height: 3; }
    ReviewScreen #history { height: auto; text-wrap: nowrap; text-overflow: ellipsis; display: none; }
    ReviewScreen #prompt { height: auto; max-width: 100; }
    ReviewScreen PromptField { margin: 0 1; }
    ReviewScreen.-high #panes { margin-top: 1; }
    ReviewScreen #panes { width: 100%; height: 1fr; }
    ReviewScreen.-narrow #panes { layout: vertical; }
    ReviewScreen StreamPane {
        width: 1fr; height: 1fr; padding: 0 0 0 1; background: $background; color: $foreground;
        border: round $foreground 25%; border-title-color: $foreground 70%; border-subtitle-color: $foreground 60%;
        border-title-style: none;
    }
    ReviewScreen StreamPane:focus { border: round $primary; }
    ReviewScreen StreamPane.-ready { border: round $foreground 45%; border-title-color: $foreground; border-title-style: bold; }
    ReviewScreen StreamPane.-ready:focus { border: round $primary; }
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
        """``embedded`` or ``vllm``; empty: whatever runs, else embedded."""
        self.phase = Phase.OPENING
        self.sitting: Sitting | None = None
        self.served: dict[str, Server] = {}
        self.starting = False
        self.news = ""
        self.engine_problem = ""
        self.round: Round | None = None
        """The round on screen."""
        self.vote: Vote | None = None
        """Its vote, once cast: the names are shown then."""
        self.history: list[dict[str, str]] = []
        """The conversation that the next written prompt goes on with."""
        self.tags: list[str] = []
        self.errors = ["", ""]
        self.said = ""
        self.pacer = Pacer()
        self.recorded: Round | None = None
        """A finished round whose replies are still being drawn."""
        self.held: tuple[list[dict[str, str]], str, tuple[str, str] | None] | None = None
        """A question asked before an engine was there."""
        self.asking: Worker[None] | None = None

    # -- drawing -------------------------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        if hasattr(self.app, "pulse"):
            from studio.tui.bars import TopBar

            yield TopBar()
        yield TwoSided(id="head")
        with VerticalScroll(id="asked", can_focus=False):
            yield Static("", id="history", markup=False)
            yield Static("", id="prompt", markup=False)
        yield PromptField("Write to her; Enter sends, Escape leaves", id="field")
        with Vertical(id="welcome"):
            yield Static("", id="words", markup=False)
        with Horizontal(id="panes"):
            yield StreamPane(id="pane-1")
            yield StreamPane(id="pane-2")
        yield Static("", id="status", markup=False)
        yield KeyHints("review")

    @property
    def panes(self) -> list[StreamPane]:
        return list(self.query(StreamPane))

    def on_mount(self) -> None:
        self.ticker = self.set_interval(1 / TICKS, self._tick, pause=True)
        self._draw()
        if self.given_review is None and not self.asked_for and not all_reviews(self.persona):
            self.call_after_refresh(self.action_new)
        else:
            self._in_thread(self._open, self._opened)

    def _draw(self) -> None:
        """Everything but the replies, from the state."""
        if not self.is_mounted:
            return
        self._draw_head()
        self._draw_prompt()
        self._draw_titles()
        welcome = self.round is None
        self.query_one("#welcome").display = welcome
        self.query_one("#panes").display = not welcome
        if welcome:
            self.query_one("#words", Static).update(content(*self._welcome()))
        self._draw_status()
        self.query_one(KeyHints).show(self._useful_keys())

    def _draw_head(self) -> None:
        left: list[Span] = [("Review", "strong"), ("  which one is her?", "muted")]
        if self.sitting is None:
            self.query_one("#head", TwoSided).show(left, [])
            return
        review = self.sitting.review
        number = f"round {self.round.number} · " if self.round else ""
        facts: list[Span] = [
            (f"{count(len(review.checkpoints), 'checkpoint')} · ", "muted"),
            (f"{count(self.sitting.counted, 'vote')} · ", "muted"),
            (f"{number}{'blind' if self.vote is None else 'revealed'} · ", "muted"),
        ]
        if self.engine_problem:
            engine: list[Span] = [("engine ✗", "bad")]
        elif self.starting:
            engine = [("engine starting ○", "warn")]
        else:
            names = "+".join(sorted({server.engine for server in self.served.values()}))
            engine = [(f"{names} ", "muted"), ("●", "good")] if names else [("no engine ○", "muted")]
        self.query_one("#head", TwoSided).show(left, [*facts, *engine])

    def _draw_prompt(self) -> None:
        earlier, asked = self.query_one("#history", Static), self.query_one("#prompt", Static)
        writing = self.query_one("#field", PromptField).display
        messages = self.history if writing or (self.history and self.round is None) else self.round.messages[:-1] if self.round else []
        turns = [m for m in messages if m["role"] != "system"]
        lines: list[Line] = [[(f"… {count(len(turns) - SHOWN_HISTORY, 'earlier turn')}", "muted")]] if len(turns) > SHOWN_HISTORY else []
        for message in turns[-SHOWN_HISTORY:]:
            who = self.persona.manifest.character.name if message["role"] == "assistant" else "you"
            lines.append([(f"{one_line(who)}: {one_line(message['content'])}", "muted")])
        earlier.display = bool(lines)
        earlier.update(content(*lines))
        asked.display = self.round is not None and not writing
        if self.round:
            asked.update(content([("you: ", "accent"), (self.round.prompt, "strong")]))
        self.query_one("#asked").display = bool(lines) or asked.display

    def _draw_titles(self) -> None:
        shown, vote = self.round, self.vote
        for number, pane in enumerate(self.panes):
            winner = bool(vote and vote.verdict == str(number + 1))
            broken = bool(self.errors[number])
            pane.set_class(self.phase in (Phase.WAITING, Phase.SAVING, Phase.VOTED), "-ready")
            pane.set_class(winner, "-winner")
            pane.set_class(broken, "-broken")
            title, foot = f" {number + 1} ", ""
            if shown:
                side = shown.sides[number]
                if vote:
                    mark = {"tie": " = equal", "both_bad": " ✗ neither", "skip": " skipped"}.get(vote.verdict, " ✓ more her" if winner else "")
                    title = f" {number + 1} · {side.checkpoint}{mark} "
                if self.phase is not Phase.ASKING:
                    if broken:
                        foot = " cut off: the engine failed "
                    elif number in shown.names_itself:
                        foot = " names itself: will not count "
                    elif side.finish == "length":
                        foot = f" cut off at {self._sampling_length} tokens "
                    elif not side.reply.strip():
                        foot = " an empty reply "
            pane.border_title = content(one_line(title).join("  ") if title.strip() else title)
            pane.border_subtitle = content(foot) if foot else ""

    @property
    def _sampling_length(self) -> int:
        return self.sitting.review.sampling.max_tokens if self.sitting else 0

    def _welcome(self) -> list[Line]:
        lines: list[Line] = [
            [("Two checkpoints answer the same prompt, side by side.", "strong")],
            "You say which one is more her, and only then see which was which.",
            "",
        ]
        if self.sitting:
            review = self.sitting.review
            drawn = review.sampling
            lines += [
                [("between   ", "muted"), (", ".join(one_line(name) for name in review.checkpoints), "plain")],
                [("sampler   ", "muted"), (f"temperature {drawn.temperature:g}, top-p {drawn.top_p:g}, up to {drawn.max_tokens} tokens", "plain")],
                [("review    ", "muted"), (f"{review.id}, {count(self.sitting.counted, 'vote')} so far", "plain")],
                "",
                [("p", "accent"), (" puts the first probe   ", "plain"), ("i", "accent"), (" writes a prompt", "plain")],
            ]
        if self.starting:
            lines += ["", [(self.news or "Looking for a running engine", "muted")]]
        return lines

    def _draw_status(self) -> None:
        parts: list[Span] = []
        if self.engine_problem and self.phase is not Phase.FAILED:
            parts.append((self.engine_problem, "bad"))
        elif self.said:
            parts.append((self.said, "plain"))
        elif self.phase is Phase.ASKING:
            parts.append((f"{self.news}…" if self.starting and self.news else "Both are writing.", "muted"))
        elif self.phase is Phase.WAITING:
            itself = self.round.names_itself if self.round else []
            if itself:
                parts.append((f"Reply {' and '.join(str(n + 1) for n in itself)} names itself: this round will not count. ", "warn"))
            parts.append(("Which one is her?", "strong"))
        elif self.phase is Phase.FAILED:
            parts.append((next((e for e in self.errors if e), "An engine failed."), "bad"))
            parts.append(("  r asks again.", "plain"))
        elif self.phase is Phase.VOTED and self.vote:
            parts.append((self._verdict(self.vote), "good" if self.vote.blind else "warn"))
            if waiting := len(self.sitting.waiting) if self.sitting else 0:
                parts.append((f"  {count(waiting, 'round')} more to vote on: s shows the next.", "muted"))
        if self.tags:
            parts.append((f"{'  ' if parts else ''}tags: {', '.join(self.tags)}", "accent"))
        status = self.query_one("#status", Static)
        one_row = sum(cell_len(clean(text)) for text, _ in parts) <= status.size.width
        # A new layout only where the number of rows may change: it costs as much as drawing both panes.
        status.update(content(parts or [(" ", "plain")]), layout=not (one_row and status.size.height == 1))

    def _verdict(self, vote: Vote) -> str:
        one, two = (one_line(side.checkpoint) for side in vote.sides)
        said = {"tie": f"{one} and {two} equal", "both_bad": f"neither {one} nor {two}", "skip": f"skipped; 1 was {one}, 2 was {two}"}
        word = said.get(vote.verdict) or f"{one_line(vote.winner.checkpoint) if vote.winner else ''} is more her"
        return f"Saved: {word}." + ("" if vote.blind else " It does not count: a reply named itself.")

    def _say(self, sentence: str) -> None:
        """One sentence in the status line, until the next change."""
        self.said = sentence
        self._draw_status()

    def _set(self, phase: Phase) -> None:
        self.phase, self.said = phase, ""
        self._draw()

    def _useful_keys(self) -> Sequence[str]:
        match self.phase:
            case Phase.WAITING:
                return ("vote('1')", "vote('2')", "vote('tie')", "vote('both_bad')", "tag", "skip", "again", "undo", "ranking")
            case Phase.VOTED:
                onward = ("continue",) if self.vote and self.vote.winner else ()
                return ("probe", "focus_input", *onward, "again", "undo", "ranking", "new")
            case Phase.FAILED:
                return ("again", "focus_input", "probe", "undo", "ranking", "new")
            case Phase.ASKING:
                return ("skip", "ranking")
            case _:
                return ("probe", "focus_input", "ranking", "new")

    def why_not(self, action: str) -> str:
        """Why an action cannot be done now; empty if it can."""
        name = action.partition("(")[0]
        if getattr(self.app, "readonly", False) and name not in ("ranking",):
            return "The studio was opened read-only: nothing is asked or voted."
        if self.sitting is None:
            return "" if name == "new" else "The review is not open yet."
        if name in ("vote", "tag"):
            return {
                Phase.IDLE: "There is nothing to vote on yet: p puts a probe, i writes a prompt.",
                Phase.ASKING: "Both replies have to be complete before a vote.",
                Phase.SAVING: "The vote is being saved.",
                Phase.VOTED: "This round has its vote; u takes it back.",
                Phase.FAILED: "A reply was cut off by an engine that failed: no vote on this round; r asks again.",
            }.get(self.phase, "")
        if name in ("probe", "focus_input", "continue", "again", "undo"):
            if self.phase is Phase.ASKING:
                return "Both are still writing; s drops this round."
            if self.phase is Phase.SAVING:
                return "The vote is being saved."
        if name in ("probe", "focus_input") and self.phase is Phase.WAITING:
            return "This round waits for a vote: ← → = x, or s to skip it."
        if name == "continue" and not (self.phase is Phase.VOTED and self.vote and self.vote.winner):
            return "Going on needs a reply that won: vote for one first."
        if name == "again" and self.round is None:
            return "There is no prompt to put again yet: p puts a probe, i writes one."
        return ""

    def _refused(self, action: str) -> bool:
        if why := self.why_not(action):
            self._say(why)
        return bool(why)

    # -- work in threads -----------------------------------------------------------------------------------------------------------

    def _in_thread(self, job: Callable[[], T], then: Callable[[T], None]) -> None:
        """Disk work off the event loop; its result or its one sentence comes back as a message."""

        async def run() -> None:
            try:
                result = await asyncio.to_thread(job)
            except StudioError as error:
                self.post_message(Trouble(str(error)))
            else:
                self.post_message(Done(then, result))

        self.run_worker(run())

    def on_done(self, message: Done) -> None:
        message.stop()
        message.then(message.result)

    def on_trouble(self, message: Trouble) -> None:
        message.stop()
        if message.engine:
            self.starting, self.engine_problem = False, message.sentence
            if self.held is not None:
                self.held = None
                self.phase = Phase.FAILED if self.round else Phase.IDLE
        elif self.phase in (Phase.SAVING, Phase.OPENING):
            self.phase = Phase.WAITING if self.phase is Phase.SAVING else Phase.IDLE
        elif self.phase is Phase.ASKING:
            self._stop_drawing()
            self.phase = Phase.FAILED if self.round else Phase.IDLE
        self._draw()
        if not message.engine:
            self._say(message.sentence)

    def _open(self) -> Sitting:
        review = self.given_review or resume(self.persona, self.asked_for, engine=self.engine)
        return Sitting(self.persona, review)

    def _opened(self, sitting: Sitting) -> None:
        """A review is open: its oldest round without a vote is shown at once, engine or not."""
        self.sitting = sitting
        self.round, self.vote, self.history, self.tags, self.errors = None, None, [], [], ["", ""]
        if sitting.waiting:
            self._show_round(sitting.waiting[0])
        elif sitting.past and sitting.past[-1].id not in sitting.votes:
            self._show_round(sitting.past[-1])
        else:
            self._set(Phase.IDLE)
        self._find_engine()

    def _find_engine(self) -> None:
        """Look for servers, start what is missing. In a daemon thread: leaving the app does not wait for a model to load."""
        if self.starting or self.sitting is None:
            return
        self.starting, self.engine_problem, self.news = True, "", ""
        review = self.sitting.review

        def work() -> None:
            try:
                wanted = [get_checkpoint(self.persona, name) for name in review.checkpoints]
                found, _ = ensure_served(self.persona, wanted, self.engine or review.engine, lambda text: self._tell(EngineNews(text)))
                self._tell(Done(self._engine_ready, (review.id, found)))
            except StudioError as error:
                self._tell(Trouble(str(error), engine=True))
            except Exception as error:
                from studio.crash import record

                self._tell(Trouble(record(error), engine=True))

        threading.Thread(target=work, daemon=True).start()
        self._draw()

    def _tell(self, message: Message) -> None:
        try:
            self.post_message(message)
        except RuntimeError:  # the app is gone
            pass

    def on_engine_news(self, message: EngineNews) -> None:
        message.stop()
        self.news = one_line(message.text)
        self._draw()

    def _engine_ready(self, found: tuple[str, dict[str, Server]]) -> None:
        review_id, served = found
        self.starting = False
        if self.sitting is None or self.sitting.review.id != review_id:
            self._find_engine()
            return
        self.served = served
        self._draw()
        if self.held is not None:
            held, self.held = self.held, None
            self._ask(*held)

    # -- a round -------------------------------------------------------------------------------------------------------------------

    def _ask(self, messages: list[dict[str, str]], source: str = "typed", pair: tuple[str, str] | None = None) -> None:
        """Put a prompt to the next pair (or the given one)."""
        assert self.sitting is not None
        self.history = []
        self.vote = None
        self.errors = ["", ""]
        self.recorded = None
        if not set(self.sitting.review.checkpoints) <= self.served.keys():
            self.held = (messages, source, pair)
            self._find_engine()
            self._set(Phase.ASKING)
            return
        self._set(Phase.ASKING)
        self.pacer = Pacer()
        self.asking = self.run_worker(self._play(self.sitting, messages, source, pair), group="asking", exclusive=True)

    async def _play(self, sitting: Sitting, messages: list[dict[str, str]], source: str, pair: tuple[str, str] | None) -> None:
        pacer, errors = self.pacer, self.errors

        def ended(side: int, error: str) -> None:
            errors[side] = error
            pacer.finish(side)

        try:
            messages, dropped = await fitting(self.served, sitting.review, messages)
            if dropped:
                self.post_message(EngineNews(f"{count(dropped, 'earlier message')} left out to fit the engine"))
            dealt = await asyncio.to_thread(sitting.deal, messages, source, pair or ())
            self.post_message(Dealt(dealt))
            finished = await play(dealt, sitting.review.sampling, self.served, pacer.arrive, ended)
            await asyncio.to_thread(sitting.keep, finished)
        except StudioError as error:
            self.post_message(Trouble(str(error)))
        else:
            self.post_message(Recorded(finished))

    def on_dealt(self, message: Dealt) -> None:
        message.stop()
        self.round = message.dealt
        for pane in self.panes:
            pane.writing = True
            pane.set_text("")
        self._draw()
        self.ticker.resume()

    def on_recorded(self, message: Recorded) -> None:
        message.stop()
        self.recorded = message.finished

    def _tick(self) -> None:
        """Draw what has come, for both sides by one measure; a round is complete when all of it is drawn and on disk."""
        for number, (pane, piece) in enumerate(zip(self.panes, self.pacer.tick(), strict=True)):
            pane.feed(piece)
            if self.pacer.replies[number].complete and pane.writing:
                pane.writing = False
        if self.recorded is not None and self.pacer.complete:
            self._stop_drawing()
            self.round, self.recorded = self.recorded, None
            if any(self.errors):
                self.served = {}
            self._set(Phase.FAILED if any(self.errors) else Phase.WAITING)

    def _stop_drawing(self) -> None:
        self.ticker.pause()
        for pane in self.panes:
            pane.writing = False

    def _show_round(self, shown: Round) -> None:
        """A recorded round as it was, at once."""
        self.round, self.vote = shown, None
        failed = "The engine failed while this reply was written."
        self.errors = [failed if side.finish == "error" else "" for side in shown.sides]
        self._set(Phase.FAILED if any(self.errors) else Phase.WAITING)
        for pane, side in zip(self.panes, shown.sides, strict=True):
            pane.set_text(side.reply, from_top=True)

    # -- actions -------------------------------------------------------------------------------------------------------------------

    def action_vote(self, verdict: Verdict) -> None:
        if self._refused("vote"):
            return
        assert self.sitting is not None and self.round is not None
        sitting, voted, tags = self.sitting, self.round, self.tags
        self._set(Phase.SAVING)
        self._in_thread(lambda: sitting.vote(voted, verdict, tags), self._voted)

    def _voted(self, vote: Vote) -> None:
        self.vote, self.tags = vote, []
        self._set(Phase.VOTED)

    def action_skip(self) -> None:
        """Drop a round being written, skip one that waits, go on from one that is done."""
        if self._refused("skip") or self.sitting is None or self.phase is Phase.SAVING:
            return
        if self.phase is Phase.ASKING:
            self.workers.cancel_group(self, "asking")
            self._stop_drawing()
            self.held, self.recorded, self.round, self.errors = None, None, None, ["", ""]
            self._set(Phase.IDLE)
            self._say("The round was dropped.")
        elif self.phase is Phase.WAITING and self.round:
            sitting, skipped = self.sitting, self.round
            self._set(Phase.SAVING)
            self._in_thread(lambda: sitting.vote(skipped, "skip"), lambda vote: self._onward())
        else:
            self._onward()

    def _onward(self) -> None:
        """The next round that waits, else the next probe after a probe, else the field."""
        assert self.sitting is not None
        self.tags = []
        if self.sitting.waiting:
            self._show_round(self.sitting.waiting[0])
            return
        probing = self.round is not None and self.round.source.startswith(PROBE)
        self.round, self.vote, self.errors = None, None, ["", ""]
        self._set(Phase.IDLE)
        if probing:
            self.action_probe()
        else:
            self.action_focus_input()

    def action_undo(self) -> None:
        if self._refused("undo"):
            return
        assert self.sitting is not None
        self._in_thread(self.sitting.undo, self._undone)

    def _undone(self, back: Round) -> None:
        self._show_round(back)
        self._say("The vote is taken back; this round waits for another.")

    def action_again(self) -> None:
        if self._refused("again"):
            return
        assert self.sitting is not None and self.round is not None
        sitting, repeated = self.sitting, self.round
        pair = (repeated.sides[0].checkpoint, repeated.sides[1].checkpoint)
        if self.phase is Phase.WAITING:
            # The round that is left behind gets a skip, so that it does not come back for a vote.
            self._set(Phase.SAVING)
            self._in_thread(lambda: sitting.vote(repeated, "skip"), lambda vote: self._ask(repeated.messages, repeated.source, pair))
        else:
            self._ask(repeated.messages, repeated.source, pair)

    def action_tag(self) -> None:
        if self._refused("tag"):
            return

        def take(chosen: list[int] | None) -> None:
            if chosen is not None:
                self.tags = [TAGS[n] for n in chosen]
                self._draw_status()

        marked = [n for n, tag in enumerate(TAGS) if tag in self.tags]
        self.app.push_screen(Marks([("Why? ", "strong"), ("Tags for the coming vote.", "muted")], [(tag, "") for tag in TAGS], marked), take)

    def action_focus_input(self) -> None:
        if self._refused("focus_input"):
            return
        self.query_one(PromptField).open()
        self._draw()

    def on_prompt_field_left(self) -> None:
        self._draw()

    def on_prompt_field_sent(self, message: PromptField.Sent) -> None:
        user = {"role": "user", "content": message.text}
        self._ask([*self.history, user] if self.history else opening(self.persona, message.text))

    def action_probe(self) -> None:
        if self._refused("probe"):
            return
        assert self.sitting is not None

        def put(probe: Probe) -> None:
            if not self.why_not("probe"):
                self._ask(opening(self.persona, probe.prompt), PROBE + probe.id)

        self._in_thread(self.sitting.next_probe, put)

    def action_continue(self) -> None:
        if self._refused("continue"):
            return
        assert self.round is not None and self.vote is not None
        self.history = winning_history(self.round, self.vote)
        self.action_focus_input()

    def action_ranking(self) -> None:
        sitting = self.sitting
        if sitting is None:
            return

        def compute() -> tuple[Ranking, dict[str, float | None]]:
            telling = sitting.telling_votes()
            return rank(telling, sitting.review.checkpoints), voter_bias(telling)

        self.app.push_screen(RankingPanel(compute))

    def action_new(self) -> None:
        if getattr(self.app, "readonly", False):
            self._say("The studio was opened read-only: no review is begun.")
            return
        if self.phase in (Phase.ASKING, Phase.SAVING):
            self._say("Both are still writing; s drops this round.")
            return
        found = all_checkpoints(self.persona)
        marked = [n for n, c in enumerate(found) if self.sitting and c.id in self.sitting.review.checkpoints]

        def take(chosen: list[int] | None) -> None:
            if chosen is None:
                if self.sitting is None:
                    self._set(Phase.IDLE)
                    self._say("No review yet: n chooses the checkpoints to compare.")
                return
            names = [found[n].id for n in chosen]
            self.phase = Phase.OPENING
            self.served = {}
            self._in_thread(lambda: Sitting(self.persona, open_review(self.persona, names, engine=self.engine)), self._opened)

        notes = [(c.id, f"{c.stage}{' of ' + c.parent if c.parent else ''}{' · ' + c.scheme if c.scheme else ''}") for c in found]
        question: Line = [("A new review. ", "strong"), ("Which checkpoints are compared?", "muted")]
        self.app.push_screen(Marks(question, notes, marked, least=2, most=8, noun="checkpoints"), take)

    def action_scroll(self, way: str) -> None:
        for pane in self.panes:
            getattr(pane, f"action_{'scroll_' if '_' not in way else ''}{way}")()
