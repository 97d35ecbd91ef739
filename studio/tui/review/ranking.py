"""What the votes come to, page by page: intervals on one scale, pairs, the voter, tags, languages, and the company of each checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.cells import fitted, padded
from studio.errors import StudioError
from studio.review import wording
from studio.review.ranking import Rank
from studio.review.standing import Standing
from studio.text import count, one_line
from studio.tui.look import Line, Span, content, wrap

PAGES = ("ranking", "pairs", "voter", "tags", "languages", "company")

RECORD = "   won lost  tie"
"""Titles of the counts behind a bar, in the cells that they take."""

NUMBERS = 88
"""Cells from which on the ends of an interval stand behind its bar as numbers too."""


def intervals(ranks: Sequence[Rank], width: int) -> list[Line]:
    """One line for each checkpoint: name, score, its interval on the common scale, how likely it is the best, and its record."""
    names = max(cell_len("checkpoint"), *(cell_len(one_line(r.checkpoint)) for r in ranks))
    numbers = 14 if width >= NUMBERS else 0
    fixed = len("  score    best?") + len(RECORD) + numbers
    bars = max(8, min(48, width - fixed - min(names, 24)))
    names = max(6, min(names, width - fixed - bars))
    ends = wording.scale(ranks)
    ends_title = " 95 % interval" if numbers else ""
    title = padded("checkpoint", names) + "  score  " + padded("" if numbers else "95 % interval", bars) + ends_title + "  best?" + RECORD
    lines: list[Line] = [[(title, "muted")]]
    for r in ranks:
        lines.append(
            [
                (padded(one_line(r.checkpoint), names), "strong"),
                (f"  {r.score:>5.0f}  ", "plain"),
                (wording.bar(r, ends, bars), "accent"),
                (f"{wording.interval(r.low, r.high):>{numbers}}" if numbers else "", "plain"),
                (f"  {wording.percent(r.best):>5}", "plain"),
                (f"{r.wins:>6} {r.losses:>4} {r.ties:>4}", "plain"),
            ]
        )
    return [*lines, [(" " * (names + 9) + wording.axis(ends, bars), "muted")]]


def _pair(better: str, worse: str, chance: float, takes: str) -> list[Span]:
    return [
        ("P(", "muted"),
        (one_line(better), "plain"),
        (" > ", "muted"),
        (one_line(worse), "plain"),
        (") = ", "muted"),
        (f"{wording.percent(chance)}   ", "strong"),
        (takes, "good" if takes == "settled" else "muted"),
    ]


def _ranking(found: Standing, width: int) -> list[Line]:
    lines = [*intervals(found.ranking, width), ""]
    place = [r.checkpoint for r in found.ranking[:2]]
    lines += [_pair(*pair) for pair in wording.ordered(found.pairs) if set(pair[:2]) == set(place)]
    bad = [(r, wording.bad(r)) for r in found.ranking if r.rounds]
    lines.append([("Both bad: ", "muted"), (", ".join(f"{one_line(r.checkpoint)} {share}" for r, share in bad), "plain")])
    lines.append([(f"{count(found.votes, 'blind vote')}; ", "muted"), ("Elo points, the mean of all is 1000.", "muted")])
    if found.stale:
        lines.append([(wording.stale_line(found), "warn")])
    return lines


def _pairs(found: Standing, width: int) -> list[Line]:
    pairs, left_out = wording.pair_rows(found)
    lines: list[Line] = [_pair(*pair) for pair in pairs]
    return [*lines, "", [(left_out, "muted")]] if left_out else lines


def _voter(found: Standing, width: int) -> list[Line]:
    lines: list[Line] = list(wording.voter_lines(found.voter))
    if lengths := wording.length_lines(found.voter):
        lines += ["", *([(line, "muted")] for line in lengths)]
    if found.judges:
        lines += ["", [("Second judges (they do not vote)", "strong")], *wording.judge_lines(found.judges)]
    return lines


def _tags(found: Standing, width: int) -> list[Line]:
    if not found.by_tag:
        return ["No counted vote has a tag yet: t gives one."]
    rows = [(r.checkpoint, r.tag, *map(str, (r.votes, r.won, r.lost, r.ties, r.both_bad))) for r in found.by_tag]
    return _table(fitted(("checkpoint", "tag", "votes", "won", "lost", "tie", "bad"), rows, "llrrrrr", width))


def _languages(found: Standing, width: int) -> list[Line]:
    lines: list[Line] = []
    for row in found.by_language:
        name = wording.LANGUAGES.get(row.language, row.language)
        lines += [[(name, "strong"), (f", {count(row.ranking.votes, 'vote')}", "muted")], *intervals(row.ranking.ranking, width), ""]
    return lines[:-1]


def _company(found: Standing, width: int) -> list[Line]:
    if found.company_problem:
        return [[(found.company_problem, "warn")]]
    rows = [(c.checkpoint, *wording.company_cells(c)) for c in found.company]
    table = _table(fitted(("checkpoint", *wording.COMPANY_TITLES), rows, "l" + "r" * len(wording.COMPANY_TITLES), width))
    return [*table, "", *([(line, "muted")] for line in (*wording.COMPANY_LEGEND, *wording.company_origin(found.company)))]


def _table(lines: Sequence[str]) -> list[Line]:
    return [[(line, "plain" if number else "muted")] for number, line in enumerate(lines)]


_DRAWN: dict[str, Callable[[Standing, int], list[Line]]] = {
    "ranking": _ranking,
    "pairs": _pairs,
    "voter": _voter,
    "tags": _tags,
    "languages": _languages,
    "company": _company,
}


def page(found: Standing, name: str, width: int) -> list[Line]:
    """The lines of a page, none wider than ``width`` cells."""
    if not found.votes and name != "company":
        return [wording.NO_VOTES]
    lines: list[Line] = []
    for line in _DRAWN[name](found, width):
        lines += [_trimmed(row) for row in wrap(line, width)] if line else [""]
    return lines


def _trimmed(row: list[Span]) -> list[Span]:
    """Without the spaces that a broken line keeps at its end: they would be broken once more."""
    while row and not row[-1][0].rstrip():
        row = row[:-1]
    return [*row[:-1], (row[-1][0].rstrip(), row[-1][1])] if row else row


def tabs(current: str) -> Line:
    spans: list[Span] = []
    for number, name in enumerate(PAGES, 1):
        spans += [(f"[{number} {name}]", "strong") if name == current else (f" {number} {name} ", "muted")]
    return spans


class RankingPanel(ModalScreen[None]):
    """Shows what ``compute`` finds; ``write`` puts it into a file and says where; ``measure`` has the running engines score what is missing in the
    company and tells how far it is. All run in threads: they read files and import numpy.
    """

    DEFAULT_CSS = """
    RankingPanel { align: center middle; background: $background 60%; }
    RankingPanel > VerticalScroll {
        width: 104; max-width: 96%; height: auto; max-height: 92%; background: $panel; padding: 1 2; scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
    }
    RankingPanel Static { height: auto; }
    RankingPanel #tabs { margin-bottom: 1; }
    RankingPanel .hint { color: $foreground 60%; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k,escape,q,enter", "leave", show=False),
        Binding("right,tab,l", "turn(1)", show=False),
        Binding("left,shift+tab,h", "turn(-1)", show=False),
        *(Binding(str(number), f"open({number - 1})", show=False) for number in range(1, len(PAGES) + 1)),
        Binding("up", "scroll(-1)", show=False),
        Binding("down", "scroll(1)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
        Binding("pagedown", "scroll(10)", show=False),
        Binding("w", "write", show=False),
        Binding("m", "measure", show=False),
    ]

    class Ranked(Message):
        def __init__(self, standing: Standing | None, problem: str = "") -> None:
            super().__init__()
            self.standing, self.problem = standing, problem

    class Written(Message):
        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    def __init__(
        self, compute: Callable[[], Standing], write: Callable[[], str] | None = None, measure: Callable[[Callable[[str], None]], None] | None = None
    ) -> None:
        super().__init__()
        self.compute, self.write, self.measure = compute, write, measure
        self.measuring = False
        self.ranked: RankingPanel.Ranked | None = None
        self.page = PAGES[0]

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static(content(tabs(self.page)), id="tabs", markup=False)
            yield Static("Drawing from the posterior …", id="standing", markup=False)
            more = ("w: report   " if self.write else "") + ("m: measure the company   " if self.measure else "")
            yield Static(f"←→ or 1-6: pages   ↑↓: scroll   {more}k: close", classes="hint", markup=False)

    def on_mount(self) -> None:
        self.run_worker(self._compute, thread=True)

    def _compute(self) -> None:
        try:
            message = self.Ranked(self.compute())
        except StudioError as error:
            message = self.Ranked(None, str(error))
        self.post_message(message)

    def on_ranking_panel_ranked(self, message: Ranked) -> None:
        self.ranked = message
        self._draw()

    def action_write(self) -> None:
        if self.write:
            self.run_worker(self._write, thread=True, group="write", exclusive=True)

    def _write(self) -> None:
        assert self.write is not None
        try:
            sentence = self.write()
        except StudioError as error:
            sentence = str(error)
        self.post_message(self.Written(sentence))

    def action_measure(self) -> None:
        """In a daemon thread: leaving the app does not wait for it, and each checkpoint that is scored is kept."""
        if self.measure and not self.measuring:
            self.measuring = True
            threading.Thread(target=self._measure, daemon=True).start()

    def _measure(self) -> None:
        assert self.measure is not None
        sentence = "The company is measured."
        try:
            self.measure(lambda line: self._tell(self.Written(line)))
            self._tell(self.Ranked(self.compute()))
        except StudioError as error:
            sentence = str(error)
        self.measuring = False
        self._tell(self.Written(sentence))

    def _tell(self, message: Message) -> None:
        """Post from any thread; a panel that is closed reads nothing."""
        if self.is_attached:
            with suppress(RuntimeError):
                self.post_message(message)

    def on_ranking_panel_written(self, message: Written) -> None:
        self.query_one(".hint", Static).update(content(message.sentence))

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        self.query_one("#tabs", Static).update(content(tabs(self.page)))
        if self.ranked is None:
            return
        width = max(20, self.query_one(VerticalScroll).scrollable_content_region.width)
        standing = self.ranked.standing
        lines = page(standing, self.page, width) if standing else wrap([(self.ranked.problem, "bad")], width)
        self.query_one("#standing", Static).update(content(*lines))

    def action_turn(self, by: int) -> None:
        self.action_open((PAGES.index(self.page) + by) % len(PAGES))

    def action_open(self, number: int) -> None:
        self.page = PAGES[number]
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self._draw()

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        self.dismiss(None)
