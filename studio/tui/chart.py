"""The loss curve in braille: every step as fine dots, their running mean as a line, the validation loss as marks on a line.

Steps are thinned to the smallest and largest of each column before anything is drawn, so that ten steps and a million cost the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from textual.strip import Strip
from textual.widget import Widget

from studio.tui.look import COMPONENTS, KIND_CSS, Span, strip_of

Point = tuple[float, float]
"""Step and loss."""

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille cell, by row and column (Unicode 2800)."""

LABELS = 8
"""Cells left of the plot, for the numbers of the vertical axis."""


class Laid(NamedTuple):
    """One of several runs laid over one another: a running mean, marked at its validations by its letter."""

    name: str
    sign: str
    smooth: Sequence[Point]
    val: Sequence[Point]


LAID_KINDS = ("accent", "strong", "good", "warn", "special", "muted")


class Curves(NamedTuple):
    train: Sequence[Point] = ()
    smooth: Sequence[Point] = ()
    """Running mean of ``train``."""
    val: Sequence[Point] = ()
    steps: int = 0
    """Planned steps: the width of the horizontal axis."""
    laid: Sequence[Laid] = ()
    """Several runs instead of one."""


def smoothed(points: Sequence[Point], weight: float = 0.0) -> list[Point]:
    """Exponential running mean, corrected for its start; by default over about a twentieth of the points."""
    weight = weight or 1 - 1 / max(1.0, len(points) / 20)
    mean, mass, found = 0.0, 0.0, []
    for step, loss in points:
        mean, mass = weight * mean + (1 - weight) * loss, weight * mass + (1 - weight)
        found.append((step, mean / mass))
    return found


def thinned(points: Sequence[Point], columns: int, span: float) -> list[Point]:
    """At most two points a column: the smallest and the largest in it."""
    if len(points) <= 2 * columns:
        return list(points)
    low: dict[int, Point] = {}
    high: dict[int, Point] = {}
    for point in points:
        column = int(point[0] / span * columns)
        if column not in low or point[1] < low[column][1]:
            low[column] = point
        if column not in high or point[1] > high[column][1]:
            high[column] = point
    return [p for column in sorted(low) for p in sorted({low[column], high[column]})]


class Canvas:
    """Cells of braille dots, each with the kind of what was drawn there last."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.bits = [[0] * width for _ in range(height)]
        self.kinds = [["plain"] * width for _ in range(height)]
        self.marks: dict[tuple[int, int], tuple[str, str]] = {}

    def dot(self, x: int, y: int, kind: str) -> None:
        """A dot at dot coordinates (2 a cell across, 4 down); outside is left out."""
        if 0 <= x < 2 * self.width and 0 <= y < 4 * self.height:
            self.bits[y // 4][x // 2] |= DOTS[y % 4][x % 2]
            self.kinds[y // 4][x // 2] = kind

    def line(self, a: tuple[int, int], b: tuple[int, int], kind: str) -> None:
        steps = max(abs(b[0] - a[0]), abs(b[1] - a[1]), 1)
        for i in range(steps + 1):
            self.dot(round(a[0] + (b[0] - a[0]) * i / steps), round(a[1] + (b[1] - a[1]) * i / steps), kind)

    def mark(self, x: int, y: int, sign: str, kind: str) -> None:
        self.marks[min(max(y // 4, 0), self.height - 1), min(max(x // 2, 0), self.width - 1)] = (sign, kind)

    def row(self, y: int) -> list[Span]:
        spans: list[Span] = []
        for x in range(self.width):
            bits = self.bits[y][x]
            text, kind = self.marks.get((y, x)) or (chr(0x2800 + bits) if bits else " ", self.kinds[y][x])
            if spans and spans[-1][1] == kind:
                spans[-1] = (spans[-1][0] + text, kind)
            else:
                spans.append((text, kind))
        return spans


def plot(curves: Curves, width: int, height: int) -> list[list[Span]]:
    """The chart as ``height`` lines: plot, axis, legend. Says so while there is nothing to draw."""
    everything = [*curves.train, *curves.val, *(point for each in curves.laid for point in (*each.smooth, *each.val))]
    if not everything or width < LABELS + 10 or height < 4:
        return [[("", "plain")]] * (height // 2) + [[("  no loss measured yet", "muted")]]
    rows, columns = height - 2, width - LABELS - 1
    span = float(max(curves.steps, *(int(step) for step, _ in everything), 1))
    guides = [loss for _, loss in (*curves.smooth, *curves.val)] or [loss for _, loss in everything]
    laid = [(each, LAID_KINDS[number % len(LAID_KINDS)]) for number, each in enumerate(curves.laid)]
    low, high = min(guides), max(guides)
    raw = sorted(loss for _, loss in curves.train)
    if raw:
        # One odd step, or one in fifty, does not press all others flat: it lies on the edge.
        odd = max(len(raw) // 50, int(len(raw) >= 12))
        low, high = min(low, raw[odd]), max(high, raw[-1 - odd])
    margin = (high - low) * 0.04 or max(abs(high) * 0.05, 0.01)
    low, high = low - margin, high + margin
    canvas = Canvas(columns, rows)

    def place(point: Point) -> tuple[int, int]:
        return round(point[0] / span * (2 * columns - 1)), round((high - min(max(point[1], low), high)) / (high - low) * (4 * rows - 1))

    for point in thinned(curves.train, 2 * columns, span):
        canvas.dot(*place(point), "muted")
    for series, kind in ((thinned(curves.smooth, 2 * columns, span), "strong"), (curves.val, "accent")):
        placed = [place(point) for point in series]
        for a, b in pairwise(placed):
            canvas.line(a, b, kind)
    for point in curves.val:
        canvas.mark(*place(point), "◆", "accent")
    for each, kind in laid:
        placed = [place(point) for point in thinned(each.smooth, 2 * columns, span)]
        for a, b in pairwise(placed):
            canvas.line(a, b, kind)
        for point in each.val:
            canvas.mark(*place(point), each.sign, kind)
    lines = []
    for y in range(rows):
        labelled = y in (0, rows - 1, (rows - 1) // 2) and rows > 2
        value = high - (high - low) * (y + 0.5) / rows
        lines.append([(f"{value:>{LABELS - 1}.3f}" if labelled else " " * (LABELS - 1), "muted"), ("┤" if labelled else "│", "rule"), *canvas.row(y)])
    last = f"step {int(span):,}"
    lines.append([(" " * (LABELS - 1), "plain"), ("└", "rule"), ("─" * (columns - len(last) - 1) + " ", "rule"), (last, "muted")])
    if laid:
        named = [span for each, kind in laid for span in ((f"{each.sign} ", kind), (f"{each.name}   ", "plain"))]
        lines.append([(" " * LABELS, "plain"), *named, ("line: training, running mean; letter: validation", "muted")])
        return lines
    legend: list[Span] = [
        (" " * LABELS, "plain"),
        ("⠢⠔ ", "muted"),
        ("train, every step   ", "muted"),
        ("━ ", "strong"),
        ("train, running mean   ", "plain"),
    ]
    lines.append([*legend, ("◆ ", "accent"), ("validation", "plain")])
    return lines


class Chart(Widget):
    """Draws again only when the curves changed."""

    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = f"Chart {{ height: 1fr; min-height: 6; {KIND_CSS} }}"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.curves = Curves()
        self._drawn: tuple[object, list[list[Span]]] = (None, [])

    def show(self, curves: Curves) -> None:
        if curves != self.curves:
            self.curves = curves
            self._drawn = (None, [])
            self.refresh()

    def render_line(self, y: int) -> Strip:
        size = self.size
        if self._drawn[0] != size:
            self._drawn = (size, plot(self.curves, size.width - 1, size.height))
        lines = self._drawn[1]
        return strip_of(self, lines[y] if y < len(lines) else "", size.width)
