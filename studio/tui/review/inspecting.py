"""What was really sent and drawn in a round, who is who only where the names are shown; and what all votes come to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType

from studio.checkpoints.store import get_checkpoint
from studio.engines.sharing import served_by
from studio.errors import StudioError
from studio.review.generate import sampler_of
from studio.review.rounds import Round, Sampling, Side
from studio.text import count, one_line
from studio.tui.look import Line, Span
from studio.tui.pager import Pager
from studio.tui.review.asking import Asking
from studio.tui.review.overlay import Overlay
from studio.tui.review.ranking import RankingPanel
from studio.tui.review.state import State

if TYPE_CHECKING:
    from studio.engines.servers import Server

MOST_TOKENS = 4000
"""Tokens of a prompt that are shown; of a longer one its end."""

Asked = Callable[[], Coroutine[Any, Any, "list[Line]"]]
"""What a side's engine says of a round when it is asked."""


def round_lines(state: State) -> list[Line]:
    """What is the same for all sides; it says nothing about who is who."""
    assert state.round is not None and state.sitting is not None
    drawn, shown = state.sitting.review.sampling, state.round
    penalty = f", repetition penalty {drawn.repetition_penalty:g}" if drawn.repetition_penalty != 1 else ""
    lines: list[Line] = [
        [("round     ", "muted"), (f"{shown.id}, from: {one_line(shown.source)}", "plain")],
        [("sampler   ", "muted"), (f"temperature {drawn.temperature:g}, top-p {drawn.top_p:g}, up to {drawn.max_tokens} tokens{penalty}", "plain")],
    ]
    if shown.ahead:
        lines.append([("replies   ", "muted"), ("written ahead of the sitting", "plain")])
    if state.left_out:
        lines.append([("left out  ", "muted"), (f"{count(state.left_out, 'earlier message')}, more than the models can read", "warn")])
    lines += ["", [("Sent", "strong")]]
    for message in shown.messages:
        lines.append([(f"{message['role']}: ", "accent"), (message["content"], "plain")])
    return lines


def side_lines(number: int, side: Side) -> list[Line]:
    """Of one side, after the reveal."""
    rate = f"{(side.tokens - 1) / (side.seconds - side.first):.1f} tokens/s" if side.tokens > 1 and side.seconds > side.first else "—"
    facts = f"{count(side.tokens, 'token')} in {side.seconds:.2f} s, first after {side.first:.2f} s, then {rate}; ended by {side.finish or '—'}"
    return [
        "",
        [(f"{number} · {one_line(side.checkpoint)}", "strong")],
        [("weights   ", "muted"), (side.digest, "plain")],
        [("engine    ", "muted"), (f"{one_line(side.engine) or 'not recorded'}, seed {side.seed}", "plain")],
        [("drawn     ", "muted"), (facts, "plain")],
    ]


def token_line(tokens: list[str]) -> list[Line]:
    """The prompt token by token, every other one muted so that the borders show."""
    shown = tokens[-MOST_TOKENS:]
    cut: list[Span] = [(f"… {len(tokens) - len(shown)} before … ", "muted")] if len(shown) < len(tokens) else []
    drawn: list[Span] = [
        (token.replace("Ġ", "␣").replace("▁", "␣").replace("Ċ", "⏎"), "plain" if n % 2 else "accent") for n, token in enumerate(shown)
    ]
    return [[("prompt    ", "muted"), (f"{count(len(tokens), 'token')}, template included", "plain")], [*cut, *drawn]]


async def asked_of(server: Server, side: Side, shown: Round, sampling: Sampling) -> list[Line]:
    """The prompt as the side's engine reads it; of an outside endpoint, which does not say, what of the sampler it leaves aside."""
    from studio.engines.client import left_aside, prompt_tokens

    if server.engine != "external":
        return token_line(await prompt_tokens(server, server.models[side.checkpoint], side.sent(shown.messages)))
    ignored = await left_aside(server, sampler_of(sampling))
    lines: list[Line] = [[("left aside", "muted"), (f" by this endpoint: {', '.join(ignored)}", "warn")]] if ignored else []
    return [*lines, [("prompt    ", "muted"), ("an outside endpoint does not say how it cuts it into tokens", "muted")]]


class Inspector(Overlay):
    """``lines`` at once, and below them what each side's engine says of it, as soon as it has."""

    key = "d"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("d", "leave", show=False)]

    def __init__(self, lines: list[Line], sides: list[tuple[list[Line], Asked | None]]) -> None:
        super().__init__([*lines, *(line for facts, _ in sides for line in facts)])
        self.head, self.sides = lines, sides

    def on_mount(self) -> None:
        super().on_mount()
        if self.sides:
            self.run_worker(self._ask())

    async def _ask(self) -> None:
        lines = list(self.head)
        for facts, asked in self.sides:
            lines += facts
            if asked is None:
                lines.append([("prompt    ", "muted"), ("its tokens are known while its engine runs", "muted")])
                continue
            try:
                lines += await asked()
            except StudioError as error:
                lines.append([("prompt    ", "muted"), (str(error), "warn")])
        self.query_one(Pager).show(lines)


class Inspecting(Asking):
    def action_inspect(self) -> None:
        state = self.state
        if self.refused("inspect") or state.round is None:
            return
        lines = round_lines(state)
        if state.blind:
            lines += ["", [("Weights, engine, seeds and speed stand here once the names are shown.", "muted")]]
            self.app.push_screen(Inspector(lines, []))
            return
        shown = state.round
        self.app.push_screen(Inspector(lines, [(side_lines(n, s), self._asked(s, shown)) for n, s in enumerate(shown.sides, 1)]))

    def _asked(self, side: Side, shown: Round) -> Asked | None:
        server, sitting = self.state.served.get(side.checkpoint), self.state.sitting
        if server is None or sitting is None:
            return None
        return lambda: asked_of(server, side, shown, sitting.review.sampling)

    def action_ranking(self) -> None:
        from studio.review.standing import standing

        sitting = self.state.sitting
        if sitting is None:
            return

        review = sitting.review

        def write() -> str:
            from studio.review.report import write_report

            return f"The report is in {write_report(self.persona, review)}"

        def measure(progress: Callable[[str], None]) -> None:
            from studio.review.company import measure_served

            served = served_by(self.persona, review.checkpoints)
            if missing := [name for name in review.checkpoints if name not in served]:
                raise StudioError(f"No engine runs for {', '.join(missing)}. From a shell, engines are started for it: studio review company")
            measure_served(self.persona, [get_checkpoint(self.persona, name) for name in review.checkpoints], served, progress)

        looks_only = getattr(self.app, "readonly", False)
        panel = RankingPanel(lambda: standing(self.persona, checkpoints=review.checkpoints), *(() if looks_only else (write, measure)))
        self.app.push_screen(panel)
