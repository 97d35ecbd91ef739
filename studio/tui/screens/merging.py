"""How much of each checkpoint goes into a merge, set by arrows: in the first layers, in the last, and how much of what each learned."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.cells import padded
from studio.tui.dialogs import BOX
from studio.tui.look import Line, Span, content

STEP = 0.05
BAR = 12


class Shares(NamedTuple):
    """What was set. ``late`` is empty where all layers are merged alike."""

    weights: list[float]
    late: list[float]
    density: float


class AskShares(ModalScreen[Shares | None]):
    """Arrows move and turn, Enter merges, Escape leaves (None). ``layered``: the last layers may differ; ``sparse``: there is a density."""

    DEFAULT_CSS = BOX.format(name="AskShares") + "AskShares #lines { margin-top: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"move({step})", show=False) for key, step in (("up,k", -1), ("down,j", 1))),
        *(Binding(key, f"turn({sign})", show=False) for key, sign in (("left,h", -1), ("right,l", 1))),
        Binding("enter", "take", show=False),
        Binding("escape,q", "leave", show=False),
    ]

    def __init__(self, names: list[str], method: str, layered: bool, sparse: bool) -> None:
        super().__init__()
        self.method = method
        places = ("in the first layers", "in the last layers") if layered else ("",)
        self.rows = [(name, place) for place in places for name in names] + ([("density", "of what each learned is kept")] if sparse else [])
        self.values = [round(1 / len(names), 2)] * (len(names) * len(places)) + ([0.5] if sparse else [])
        self.names, self.layered, self.sparse = names, layered, sparse
        self.at = 0

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(content([("How much of each? ", "strong"), (self.method, "muted")]))
            yield Static("", id="lines", markup=False)
            yield Static("↑ ↓: which · ← →: less, more · Enter: merge · Escape: leave", classes="hint", markup=False)

    def on_mount(self) -> None:
        self._draw()

    def _draw(self) -> None:
        count = len(self.names)
        shown: list[Line] = []
        for number, ((name, place), value) in enumerate(zip(self.rows, self.values, strict=True)):
            group = self.values[number // count * count :][:count] if number < len(self.rows) - self.sparse else [1.0]
            share = value / sum(group) if sum(group) else 0.0
            line: list[Span] = [("› " if number == self.at else "  ", "accent"), (padded(name, 24), "strong" if number == self.at else "plain")]
            line += [(f" {share:4.0%} ", "plain"), ("█" * round(share * BAR) + "·" * (BAR - round(share * BAR)), "accent"), (f" {place}", "muted")]
            shown.append(line)
        self.query_one("#lines", Static).update(content(*shown))

    def action_move(self, step: int) -> None:
        self.at = (self.at + step) % len(self.rows)
        self._draw()

    def action_turn(self, sign: int) -> None:
        """More or less of one. Of the first layers it takes the last ones along as long as both were alike."""
        count = len(self.names)
        least = STEP if self.rows[self.at][0] == "density" else 0.0
        before = self.values[self.at]
        changed = min(1.0, max(least, round(before + sign * STEP, 2)))
        also = self.at + count if self.layered and self.at < count and self.values[self.at + count] == before else self.at
        trial = list(self.values)
        trial[self.at] = trial[also] = changed
        if all(sum(trial[start : start + count]) > 0 for start in range(0, count * (1 + self.layered), count)):
            self.values = trial
        self._draw()

    def action_take(self) -> None:
        count = len(self.names)
        weights, late = self.values[:count], self.values[count : 2 * count] if self.layered else []
        self.dismiss(Shares(weights, late if late != weights else [], self.values[-1] if self.sparse else 0.5))

    def action_leave(self) -> None:
        self.dismiss(None)
