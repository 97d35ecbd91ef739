"""Screen 7 before a review: which checkpoints are compared, and how they stand so far."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from studio.checkpoints.store import Checkpoint, all_checkpoints
from studio.review.rounds import Review, all_reviews
from studio.text import one_line
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.look import content
from studio.tui.screens.checkpoints import TreeScreen
from studio.tui.screens.marks import COLUMNS
from studio.tui.table import ArrowTable

ONLY_THE_BASE = "There is only the base yet: key 4 trains a checkpoint to compare it with."


def open_review_screen(screen: StudioScreen, ids: list[str]) -> None:
    """Go to the review of these checkpoints, on tab 7; without any, to the newest one."""
    from studio.tui.review.screen import ReviewScreen

    app = screen.studio
    app.action_go("review")
    app.call_after_refresh(lambda: app.push_screen(ReviewScreen(screen.persona, ids or None)))


class ChooserScreen(TreeScreen):
    rows_of = "chooser"
    BINDINGS = bindings_of("chooser")

    def body(self) -> ComposeResult:
        yield Static(
            content(
                [
                    ("Which one is her?", "strong"),
                    ("  Mark two to eight checkpoints with space, then Enter. Names stay hidden until the vote.", "muted"),
                ]
            ),
            classes="line",
        )
        yield ArrowTable(COLUMNS, empty="Reading …")
        yield Static(" ", id="message", classes="line", markup=False)

    def __init__(self) -> None:
        super().__init__()
        self.newest: Review | None = None
        """The review that is gone on with while nothing is marked."""

    def refresh_data(self) -> None:
        persona = self.persona
        self.in_background(lambda: (all_checkpoints(persona), next(reversed(all_reviews(persona)), None)), self._read)

    def _read(self, found: tuple[list[Checkpoint], Review | None]) -> None:
        checkpoints, self.newest = found
        self._show(checkpoints)

    def on_table_moved(self) -> None:
        marked = self.studio.marked
        text, kind = "none marked", "muted"
        if marked:
            text, kind = f"◉ {len(marked)} marked: {', '.join(marked)}", "accent"
        elif self.newest:
            text = f"none marked: ⏎ goes on with {self.newest.id}, {', '.join(one_line(name) for name in self.newest.checkpoints)}"
        elif len(self.found) == 1:
            text = ONLY_THE_BASE
        self.query_one("#message", Static).update(content([(text, kind)]))
        self.redraw_keys()

    def why_not(self, action: str) -> str:
        if action == "begin" and len(self.studio.marked) < 2:
            if len(self.found) == 1:
                return ONLY_THE_BASE
            if self.studio.marked or not self.newest:
                return "Mark two to eight checkpoints with space first."
        return super().why_not(action) if action == "mark" else ""

    def action_begin(self) -> None:
        if not self.refused("begin"):
            open_review_screen(self, list(self.studio.marked))

    def action_ranking(self) -> None:
        from studio.review.standing import standing
        from studio.tui.review.ranking import RankingPanel

        persona = self.persona
        self.app.push_screen(RankingPanel(lambda: standing(persona)))

    def action_pairs(self) -> None:
        from studio.tui.screens.pairs import PairsScreen

        self.app.push_screen(PairsScreen())

    def _show(self, found: list[Checkpoint]) -> None:
        super()._show(found)
        self.on_table_moved()
