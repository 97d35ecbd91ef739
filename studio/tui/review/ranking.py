"""The ranking as a table with intervals: what the votes say, and how little of it is certain."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.review.ranking import Pair, Rank, Ranking
from studio.text import count, one_line
from studio.tui.look import Line, Span, content, fit


def bar(rank: Rank, low: float, high: float, width: int) -> str:
    """The interval of a score on a scale from ``low`` to ``high``: ``  ───●──  ``."""
    scale = (width - 1) / max(1e-9, high - low)
    left, middle, right = (round((value - low) * scale) for value in (rank.low, rank.score, rank.high))
    return "".join("●" if x == middle else "─" if left <= x <= right else " " for x in range(width))


def standing(ranking: Ranking, bias: dict[str, float | None], width: int) -> list[Line]:
    """The panel's lines for a width in columns."""
    if not ranking.votes:
        return ["No blind vote has been cast yet: the ranking begins with the first one."]
    low, high = min(r.low for r in ranking.ranking), max(r.high for r in ranking.ranking)
    names = min(24, max(len(one_line(r.checkpoint)) for r in ranking.ranking))
    bars = max(12, min(44, width - names - 40))
    compact = width < names + 52
    lines: list[Line] = [[(" " * (names + 2), "plain"), ("score  ", "muted"), ("" if compact else fit("95 % of the posterior", bars), "muted")]]
    if not compact:
        lines[0] = [*lines[0], ("   won lost  tie  bad", "muted")]
    for r in ranking.ranking:
        record = f"{r.wins:>6} {r.losses:>4} {r.ties:>4} {r.both_bad:>4}"
        head: list[Span] = [(fit(one_line(r.checkpoint), names), "strong"), (f"  {r.score:>5.0f}  ", "plain")]
        if compact:
            lines += [
                head,
                [("  ", "plain"), (bar(r, low, high, width - 4), "accent")],
                [(f"  {r.wins} won, {r.losses} lost, {r.ties} tie, {r.both_bad} bad", "muted")],
            ]
        else:
            lines.append([*head, (bar(r, low, high, bars), "accent"), (record, "plain")])
    lines.append("")
    lines += [_pair_line(pair) for pair in sorted(ranking.pairs, key=lambda p: -abs(p.p_a_better - 0.5))]
    lines.append("")
    lines.append([(f"{count(ranking.votes, 'blind vote')}. ", "plain"), *_bias_line(bias)])
    return lines


def _pair_line(pair: Pair) -> list[Span]:
    a, b, p = (pair.a, pair.b, pair.p_a_better) if pair.p_a_better >= 0.5 else (pair.b, pair.a, 1 - pair.p_a_better)
    if pair.votes_needed == 0:
        more = ("settled", "good")
    elif pair.votes_needed is None:
        more = ("too close to be worth settling", "muted")
    else:
        more = (f"about {count(pair.votes_needed, 'more vote')}", "muted")
    return [
        ("P(", "muted"),
        (one_line(a), "plain"),
        (" > ", "muted"),
        (one_line(b), "plain"),
        (") = ", "muted"),
        ((f"{p:.0%}" if p < 0.995 else ">99%") + "   ", "strong"),
        more,
    ]


def _bias_line(bias: dict[str, float | None]) -> list[Span]:
    if bias["left"] is None:
        return [("None of them chose a side.", "muted")]
    longer = "" if bias["longer"] is None else f", the longer one {bias['longer']:.0%}"
    return [(f"Of those that chose, the left reply won {bias['left']:.0%}{longer}; 50 % would be no leaning.", "muted")]


class RankingPanel(ModalScreen[None]):
    """Shows what ``compute`` finds. It runs in a thread: numpy is imported off the event loop."""

    DEFAULT_CSS = """
    RankingPanel { align: center middle; background: $background 60%; }
    RankingPanel > VerticalScroll {
        width: 104; max-width: 96%; height: auto; max-height: 92%; background: $panel; padding: 1 2; scrollbar-size-vertical: 1;
    }
    RankingPanel Static { height: auto; }
    RankingPanel #title { text-style: bold; margin-bottom: 1; }
    RankingPanel .hint { color: $foreground 60%; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k,escape,q,enter", "leave", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("down", "scroll(1)", show=False),
    ]

    class Ranked(Message):
        def __init__(self, ranking: Ranking, bias: dict[str, float | None]) -> None:
            super().__init__()
            self.ranking, self.bias = ranking, bias

    def __init__(self, compute: Callable[[], tuple[Ranking, dict[str, float | None]]]) -> None:
        super().__init__()
        self.compute = compute
        self.ranked: RankingPanel.Ranked | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static("Ranking", id="title", markup=False)
            yield Static("Drawing from the posterior …", id="standing", markup=False)
            yield Static("k or Escape: close", classes="hint", markup=False)

    def on_mount(self) -> None:
        self.run_worker(self._compute, thread=True)

    def _compute(self) -> None:
        self.post_message(self.Ranked(*self.compute()))

    def on_ranking_panel_ranked(self, message: Ranked) -> None:
        self.ranked = message
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if self.ranked:
            width = self.query_one(VerticalScroll).scrollable_content_region.width
            self.query_one("#standing", Static).update(content(*standing(self.ranked.ranking, self.ranked.bias, width)))

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        self.dismiss(None)
