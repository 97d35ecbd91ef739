"""Several runs laid over one another: their curves, where the recipes differ, what came of each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.widgets import Static

from studio.jobs.runs import Run, read_events
from studio.seeing.compare import Comparison, compare
from studio.seeing.course import Course, course
from studio.text import one_line
from studio.tui.base import StudioScreen, with_escape
from studio.tui.chart import Chart, Curves, Laid, smoothed
from studio.tui.look import Line, content, fit
from studio.tui.pager import Pager

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def laid_over(runs: Sequence[Run], courses: Sequence[Course], by_tokens: bool) -> Curves:
    """Curves over steps, or over tokens where steps are of different size."""

    def at(seen: Course) -> dict[int, float]:
        return {int(e["step"]): float(e.get("tokens") or 0) / 1000 for e in seen.steps} | {0: 0.0} if by_tokens else {}

    laid = []
    for letter, run, seen in zip(LETTERS, runs, courses, strict=False):
        places = at(seen)
        train, val = (
            [(places.get(step, float(step)) if by_tokens else float(step), loss) for step, loss in points]
            for points in (seen.losses(), seen.validation())
        )
        laid.append(Laid(run.id, letter, tuple(smoothed(train)), tuple(val)))
    return Curves(laid=tuple(laid))


def table_lines(found: Comparison) -> list[Line]:
    """The comparison as aligned text; what differs in the results is not judged here."""
    rows = [("", [f"{letter} {run}" for letter, run in zip(LETTERS, found.runs, strict=False)], "strong")]
    rows += [("recipe", ["" for _ in found.runs], "strong")]
    rows += [(line.name, line.values, "plain") for line in found.recipe] or [("the same in all", ["" for _ in found.runs], "muted")]
    rows += [("", ["" for _ in found.runs], "plain"), ("came of it", ["" for _ in found.runs], "strong")]
    rows += [(line.name, line.values, "plain") for line in found.results]
    if found.weights:
        rows += [("weights of the last", [found.weights, ""], "plain")]
    widths = [max(cell_len(one_line(values[i])) for _, values, _ in rows) for i in range(len(found.runs))]
    left = max(cell_len(name) for name, _, _ in rows)
    return [
        [(fit(name, left) + "  ", "muted" if kind == "plain" else kind)]
        + [(fit(one_line(value), width) + "  ", kind) for value, width in zip(values, widths, strict=True)]
        for name, values, kind in rows
    ]


class CompareScreen(StudioScreen):
    rows_of = "compare"
    BINDINGS = with_escape("compare")

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self.runs = list(runs)
        self.courses: list[Course] = []
        self.by_tokens = False

    def body(self) -> ComposeResult:
        yield Static(" ", id="head", classes="line", markup=False)
        yield Chart()
        yield Pager([[("Reading …", "muted")]])

    def on_mount(self) -> None:
        self.query_one(Pager).styles.height = "45%"
        self.query_one(Pager).focus()
        self.set_interval(2.0, self.refresh_data)

    def refresh_data(self) -> None:
        runs = self.runs

        def read() -> tuple[list[Course], Comparison]:
            return [course(read_events(run.path)) for run in runs], compare(runs)

        self.in_background(read, self._show, quiet=True)

    def _show(self, read: tuple[list[Course], Comparison]) -> None:
        self.courses = read[0]
        self._draw()
        self.query_one(Pager).show(table_lines(read[1]))

    def _draw(self) -> None:
        across = "thousands of tokens" if self.by_tokens else "steps"
        names = " · ".join(run.id for run in self.runs)
        self.query_one("#head", Static).update(content([(names, "strong"), (f"   across: {across}", "muted")]))
        self.query_one(Chart).show(laid_over(self.runs, self.courses, self.by_tokens))

    def action_across(self) -> None:
        self.by_tokens = not self.by_tokens
        self._draw()
