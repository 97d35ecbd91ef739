"""What cleaning the lore would change: chosen step by step, looked at place by place, then done. What stood there stays in ``sources/``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from studio.lore.cleaning import STEPS, USUAL
from studio.lore.draft import Change
from studio.lore.mending import Plan, apply, counts, plan, told
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.dialogs import Confirm
from studio.tui.look import Line, content
from studio.tui.screens.reader import ReaderScreen
from studio.tui.screens.stoppable import Stoppable
from studio.tui.table import Column, Row, Table

MOST = 5000
"""Places listed at most."""


class CleaningScreen(Stoppable):
    rows_of = "lore-cleaning"
    BINDINGS = bindings_of("lore-cleaning")
    DEFAULT_CSS = """
    CleaningScreen #steps { height: 15; max-height: 50%; }
    CleaningScreen #places { height: 1fr; margin-top: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = set(USUAL)
        self.plans: list[Plan] | None = None
        self.places: list[tuple[str, Change]] = []

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Table([Column("", 1), Column("step", 14), Column("places", 8, right=True), Column("what it does", 0, least=20)], id="steps")
        yield Table([Column("place", 30), Column("step", 11, keep=3), Column("before → after", 0, least=20)], id="places", empty="Looking …")

    def on_mount(self) -> None:
        self.query_one("#steps", Table).focus()
        self._fill_steps()

    def refresh_data(self) -> None:
        if self.plans is None:
            self._plan()

    def _plan(self) -> None:
        self.plans = None
        self.query_one("#places", Table).empty = "Looking …"
        self.query_one("#places", Table).fill([])
        persona, steps = self.persona, set(self.steps)
        self.in_background(lambda: plan(persona, steps, progress=self.progress), self._planned, self._failed)

    def _failed(self, sentence: str) -> None:
        self.query_one("#places", Table).say("Not looked through: r looks again.")
        self.say(sentence, bad=True)

    def _planned(self, plans: list[Plan]) -> None:
        if not self.places:
            self.query_one("#steps", Table).action_jump(0)
        self.plans = plans
        self.places = [(each.file, change) for each in plans for change in each.cleaned.changes][:MOST]
        table = self.query_one("#places", Table)
        table.empty = "Nothing would be changed by these steps."
        table.fill(
            [
                Row(str(number), ((f"{file}:{change.line}", "accent"), change.step, told(change, 160).partition(": ")[2]))
                for number, (file, change) in enumerate(self.places)
            ]
        )
        self._fill_steps()
        self.query_one("#summary", Static).update(content(self._summary(plans)))

    def _summary(self, plans: list[Plan]) -> Line:
        if not plans:
            return [("✓ ", "good"), ("nothing to clean", "muted")]
        places = sum(len(each.cleaned.changes) for each in plans)
        return [(f"{count(places, 'place')} in {count(len(plans), 'file')} would be changed · s does it · nothing is changed yet", "muted")]

    def _fill_steps(self) -> None:
        found = counts(self.plans or [])
        rows = []
        for step, what in sorted(STEPS.items(), key=lambda item: (not found[item[0]], item[0] not in self.steps)):
            on = step in self.steps
            number = f"{found[step]:,}" if on and self.plans is not None else ""
            kind = "plain" if on else "muted"
            rows.append(Row(step, (("✓", "good") if on else " ", (step, kind), (number, kind), (what, kind))))
        self.query_one("#steps", Table).fill(rows)

    def refresh_steps(self) -> None:
        self._fill_steps()
        self._plan()

    def why_not(self, action: str) -> str:
        if action == "apply":
            if self.studio.readonly:
                return "The app was opened to read only."
            if self.plans is None:
                return "The files are still being looked through."
            return "" if self.plans else "There is nothing to clean."
        if action == "read" and not self.places:
            return "There is no place to look at."
        return ""

    def action_toggle_step(self) -> None:
        step = self.query_one("#steps", Table).key
        if step and not self.at_work():
            self.steps ^= {step}
            self.refresh_steps()

    def action_switch(self) -> None:
        steps, places = self.query_one("#steps", Table), self.query_one("#places", Table)
        (places if steps.has_focus else steps).focus()

    def action_again(self) -> None:
        if not self.at_work():
            self._plan()

    def action_read(self) -> None:
        if self.refused("read"):
            return
        file, change = self.places[self.query_one("#places", Table).cursor]
        self.app.push_screen(ReaderScreen([(f"{file}:{change.line}", "strong"), (f"  {STEPS[change.step]}", "muted")], lambda: change_lines(change)))

    def action_apply(self) -> None:
        if self.refused("apply"):
            return
        persona, plans = self.persona, list(self.plans or [])

        def applied(done: Counter[str]) -> None:
            self.say(f"{count(len(plans), 'file')} cleaned; what stood there is in sources/.")
            self._plan()

        def answered(yes: Any) -> None:
            if yes:
                self.in_background(lambda: apply(persona, plans, self.progress), applied)

        self.app.push_screen(Confirm(f"Clean {count(len(plans), 'file')}? What stands there now is kept in sources/.", "clean"), answered)


def change_lines(change: Change) -> list[Line]:
    """One change in full."""
    lines: list[Line] = [[("before", "muted")], *([("− ", "bad"), (line, "plain")] for line in change.before.split("\n")), ""]
    if not change.after:
        return [*lines, [("after: left out", "muted")]]
    return [*lines, [("after", "muted")], *([("+ ", "good"), (line, "plain")] for line in change.after.split("\n"))]
