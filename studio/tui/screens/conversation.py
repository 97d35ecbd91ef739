"""One conversation, turn by turn: read, judged, tagged, edited, split at the turn under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult

from studio.dialogue.editing import Editor, as_text, from_text
from studio.dialogue.store import Row
from studio.errors import StudioError
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.look import Line
from studio.tui.outside import edit_text
from studio.tui.pager import Hung
from studio.tui.screens.dialogue_rows import conversation_turns, descent, flag_line, names_of, provenance
from studio.tui.screens.one_row import ChangedRow
from studio.tui.turns import Turns

if TYPE_CHECKING:
    from studio.tui.screens.window import Window


class ConversationScreen(ChangedRow[Row]):
    rows_of = "conversation"
    BINDINGS = bindings_of("conversation")
    changes = ("accept", "reject", "tag", "edit", "edit_all", "split", "merge", "undo", "redo")

    def __init__(self, window: Window[Row], index: int, editor: Editor, editing: bool = False) -> None:
        super().__init__(window, index, editor)
        self.editing = editing

    def body(self) -> ComposeResult:
        yield Hung(id="summary", classes="line")
        yield Turns()

    def on_mount(self) -> None:
        self.query_one(Turns).focus()

    def cannot(self, sentence: str) -> None:
        self.row = None
        self.query_one(Turns).show([[[("✗ ", "bad"), (sentence, "plain")]]])

    def show(self, row: Row) -> None:
        other = self.row is None or self.row.id != row.id
        self.row = row
        flags = self.window.flags_of(row)
        head: Line = [
            (row.id, "strong"),
            (f"   {self.index + 1:,} of {len(self.window):,} · {count(len(row.messages), 'turn')} · ", "muted"),
            (f"{sum(len(m.content) for m in row.messages):,} characters", "muted"),
        ]
        whole = [flag_line(flag) for flag in flags if flag.message < 0]
        self.query_one("#summary", Hung).show([head, provenance(row, *descent(row)), *whole])
        self.query_one(Turns).show(conversation_turns(self.persona, row, flags), top=other)
        self.redraw_keys()
        if self.editing:
            self.editing = False
            # Her first words are what is mended most.
            self.query_one(Turns).go(next((n for n, m in enumerate(row.messages) if m.role == "assistant"), 0))
            self.action_edit()

    def why_not(self, action: str) -> str:
        if action == "split" and self.is_mounted and self.row and self.query_one(Turns).cursor == 0:
            return super().why_not(action) or "Go to the turn that the second part is to begin with."
        return super().why_not(action)

    def on_turns_moved(self) -> None:
        self.redraw_keys()

    def action_edit(self) -> None:
        """The turn under the cursor."""
        if self.refused("edit") or not (row := self.row):
            return
        from studio.tui.review.writing import Writing

        turn = self.query_one(Turns).cursor
        message = row.messages[turn]

        def written(text: str | None) -> None:
            if text is not None and text != message.content:
                self.change(lambda: self.editor.rewrite(row.id, turn, text))

        who = message.name or names_of(self.persona).get(message.role, message.role)
        title: Line = [
            (who, "accent" if message.role == "assistant" else "strong"),
            (f"   turn {turn + 1}; an empty text takes the turn out", "muted"),
        ]
        self.app.push_screen(Writing(title, message.content, empty=True), written)

    def action_edit_all(self) -> None:
        """The whole conversation in the person's editor."""
        if self.refused("edit_all") or not (row := self.row):
            return
        try:
            text = edit_text(self.app, as_text(row))
            self.refresh(repaint=True, layout=True)
            messages = from_text(text)
        except StudioError as error:
            self.say(str(error), bad=True)
            return
        self.change(lambda: self.editor.write(row.id, messages))

    def action_split(self) -> None:
        if not self.refused("split") and (row := self.row):
            turn = self.query_one(Turns).cursor
            self.change(lambda: self.editor.split(row.id, turn)[0])

    def action_merge(self) -> None:
        if self.refused("merge") or not (row := self.row):
            return
        if self.index + 1 >= len(self.window):
            self.say("There is no row after this one to merge it with.")
            return
        window, after = self.window, self.index + 1
        self.change(lambda: self.editor.merge([row.id, window.row(after).id])[0])

    def action_preview(self) -> None:
        if not self.refused("preview"):
            from studio.tui.screens.preview import PreviewScreen

            self.app.push_screen(PreviewScreen(self.window, self.index))
