"""One pair: the prompt above, chosen and rejected side by side; judged, mended, or told the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container

from studio.preference.editing import PairEditor
from studio.preference.store import Pair
from studio.tui.actions import bindings_of
from studio.tui.look import Line
from studio.tui.pager import Hung
from studio.tui.screens.dialogue_rows import names_of, provenance, turn_lines
from studio.tui.screens.one_row import ChangedRow
from studio.tui.screens.pairs import flag_line, origin_words, reply_lines
from studio.tui.turns import Turns

if TYPE_CHECKING:
    from studio.tui.screens.window import Window

PARTS = ("prompt", "chosen", "rejected")


class PairScreen(ChangedRow[Pair]):
    rows_of = "pair"
    noun = "pair"
    BINDINGS = bindings_of("pair")
    AUTO_FOCUS = "#chosen"
    changes = ("accept", "reject", "tag", "edit", "swap", "undo", "redo")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (78, "-wide")]  # noqa: RUF012  Textual declares it so
    DEFAULT_CSS = """
    PairScreen #prompt { height: auto; max-height: 40%; margin-top: 1; }
    PairScreen #replies { height: 1fr; margin-top: 1; layout: horizontal; }
    PairScreen.-narrow #replies { layout: vertical; }
    PairScreen #replies Turns { width: 1fr; }
    """

    def __init__(self, window: Window[Pair], index: int, editor: PairEditor, editing: bool = False) -> None:
        super().__init__(window, index, editor)
        self.editing = editing

    def body(self) -> ComposeResult:
        yield Hung(id="summary", classes="line")
        yield Turns(id="prompt")
        with Container(id="replies"):
            yield Turns(id="chosen")
            yield Turns(id="rejected")

    def part(self, name: str) -> Turns:
        return self.query_one(f"#{name}", Turns)

    @property
    def at(self) -> str:
        """The part that has the focus."""
        return next((name for name in PARTS if self.part(name).has_focus), "chosen")

    def cannot(self, sentence: str) -> None:
        self.row = None
        for name in PARTS:
            self.part(name).show([[[("✗ ", "bad"), (sentence, "plain")]]] if name == "chosen" else [])
        self.query_one("#summary", Hung).show([])

    def show(self, row: Pair) -> None:
        other = self.row is None or self.row.id != row.id
        self.row = row
        names = names_of(self.persona)
        head: Line = [(row.id, "strong"), (f"   {self.index + 1:,} of {len(self.window):,}", "muted")]
        flags = [flag_line(flag) for flag in self.window.flags_of(row)]
        self.query_one("#summary", Hung).show([head, provenance(row, *origin_words(row)), *flags])
        self.part("prompt").show([turn_lines(message, names) for message in row.prompt], top=other)
        if other:
            self.part("prompt").action_jump(-1)  # what is answered stands last
        for side in ("chosen", "rejected"):
            self.part(side).show([reply_lines(row, side)], top=other)
        self.redraw_keys()
        if self.editing:
            self.editing = False
            self.action_edit()

    def action_switch(self) -> None:
        self.part(PARTS[(PARTS.index(self.at) + 1) % len(PARTS)]).focus()

    def action_edit(self) -> None:
        """The reply (or the turn of the prompt) that has the cursor."""
        if self.refused("edit") or not (row := self.row):
            return
        from studio.tui.review.writing import Writing

        at = self.at
        turn = self.part("prompt").cursor if at == "prompt" else len(row.prompt) + ("chosen", "rejected").index(at)
        before = row.messages[turn].content

        def written(text: str | None) -> None:
            if text is not None and text != before:
                self.change(lambda: self.editor.rewrite(row.id, turn, text))

        what = {"prompt": f"turn {turn + 1} of the prompt", "chosen": "the chosen reply", "rejected": "the rejected reply"}[at]
        self.app.push_screen(Writing([(row.id, "strong"), (f"   {what}", "muted")], before), written)

    def action_swap(self) -> None:
        if not self.refused("swap") and (row := self.row):
            self.change(lambda: self.editor.swap(row.id))
