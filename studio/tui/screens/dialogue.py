"""Screen 3: the dialogue, row by row: browsed as ``Browser`` does it, edited, merged, added to, checked and built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studio.dialogue.editing import Editor
from studio.dialogue.flags import Flag
from studio.dialogue.index import Index
from studio.dialogue.store import Row as Conversation
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.dialogs import Confirm
from studio.tui.look import Line
from studio.tui.screens.browser import Browser
from studio.tui.screens.dialogue_rows import conversation_turns, descent, flag_line, provenance, table_row
from studio.tui.screens.window import Window
from studio.tui.table import Column, Row, Table

if TYPE_CHECKING:
    from studio.tui.screens.conversation import ConversationScreen


class DialogueScreen(Browser[Conversation]):
    rows_of = "dialogue"
    kind = "dialogue"
    noun = "row"
    several = "conversations"
    none_yet = "There is no dialogue yet: press a and give a file or a folder."
    what_to_add = "chats, role play, scripts or training data: a file, a folder or a zip"
    changes = ("accept", "reject", "tag", "edit", "merge", "delete", "undo", "redo")
    columns = (
        Column("", 3, keep=8),
        Column("id", 11, keep=2),
        Column("turns", 5, right=True, keep=5),
        Column("lang", 4, keep=4),
        Column("first words", 0, least=24),
        Column("her answer", 0, least=24, keep=3),
        Column("tags", 12, keep=2),
        Column("source", 20, keep=1),
    )
    BINDINGS = bindings_of("dialogue")

    def open_index(self) -> Index:
        return Index(self.persona)

    @property
    def editor(self) -> Editor:
        return Editor(self.persona, self.index)

    def draw(self, row: Conversation, flagged: bool) -> Row:
        return table_row(row, flagged)

    def beside(self, row: Conversation, flags: Sequence[Flag]) -> list[Line]:
        head: list[Line] = [[(row.id, "strong")], provenance(row, *descent(row)), *(flag_line(flag) for flag in flags if flag.message < 0), ""]
        return [*head, *(line for turn in conversation_turns(self.persona, row, flags) for line in turn)]

    # What the shared actions ask

    def begin_adding(self, paths: list[Path]) -> None:
        from studio.tui.screens.adding import begin

        begin(self, paths)

    def action_build(self) -> None:
        if not self.refused("build"):
            from studio.tui.screens.building import begin

            begin(self)

    def action_write(self) -> None:
        if not self.refused("write"):
            from studio.tui.screens.synthesizing import begin

            begin(self)

    def action_check(self) -> None:
        if not self.refused("check"):
            from studio.tui.screens.dialogue_checks import ChecksScreen

            self.app.push_screen(ChecksScreen(self))

    def action_pairs(self) -> None:
        from studio.tui.screens.pairs import PairsScreen

        self.app.push_screen(PairsScreen())

    # Several rows

    def action_merge(self) -> None:
        """The marked rows; without marks, this one and the next."""
        if self.refused("merge"):
            return
        table, ids, editor = self.query_one(Table), list(self.marked), self.editor
        window, at = table.rows, table.cursor
        if len(ids) == 1:
            self.say("Mark two rows or more with space, or none: then this one and the next are merged.")
        elif ids:
            self._change(lambda progress: editor.merge(ids)[0])
        elif isinstance(window, Window) and at + 1 < len(window):
            self._change(lambda progress: editor.merge([window.row(at).id, window.row(at + 1).id])[0])
        else:
            self.say("There is no row after this one to merge it with.")

    def action_delete(self) -> None:
        if self.refused("delete"):
            return
        ids, editor = self._meant(), self.editor

        def answered(yes: bool | None) -> None:
            if yes:
                self._change(lambda progress: editor.remove(ids, progress))

        question = f"Take {count(len(ids), 'row')} out of the dialogue? (x rejects: kept, and never built.)"
        self.app.push_screen(Confirm(question, "delete"), answered)

    # One row

    def screen_of(self, window: Window[Conversation], index: int, editing: bool) -> ConversationScreen:
        from studio.tui.screens.conversation import ConversationScreen

        return ConversationScreen(window, index, self.editor, editing)

    def action_preview(self) -> None:
        if not self.refused("preview") and (at := self.selected()):
            from studio.tui.screens.preview import PreviewScreen

            self.app.push_screen(PreviewScreen(*at))
