"""One conversation, turn by turn: read, judged, tagged, edited, split at the turn under the cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.widgets import Static

from studio.dialogue.editing import Editor, as_text, from_text
from studio.dialogue.store import ACCEPTED, REJECTED, Row
from studio.errors import StudioError
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.dialogs import Ask
from studio.tui.look import Line, content
from studio.tui.outside import edit_text
from studio.tui.turns import Turns

if TYPE_CHECKING:
    from studio.tui.screens.dialogue import Window

CHANGES = ("accept", "reject", "tag", "edit", "edit_all", "split", "merge", "undo", "redo")


class ConversationScreen(StudioScreen):
    rows_of = "conversation"
    BINDINGS = bindings_of("conversation")

    def __init__(self, window: Window, index: int, editing: bool = False) -> None:
        super().__init__()
        self.window, self.index, self.editing = window, index, editing
        self.row: Row | None = None

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Turns()

    def on_mount(self) -> None:
        self.query_one(Turns).focus()

    def refresh_data(self) -> None:
        window, index = self.window, self.index
        self.in_background(lambda: window.row(index), self._show, self._cannot, quiet=True)

    def _cannot(self, sentence: str) -> None:
        self.row = None
        self.query_one(Turns).show([[[("✗ ", "bad"), (sentence, "plain")]]])

    def _show(self, row: Row) -> None:
        from studio.tui.screens.dialogue import conversation_turns, flag_line, provenance

        other = self.row is None or self.row.id != row.id
        self.row = row
        flags = self.window.flags.get(row.id, [])
        head: Line = [
            (row.id, "strong"),
            (f"   {self.index + 1:,} of {len(self.window):,} · {count(len(row.messages), 'turn')} · ", "muted"),
            (f"{sum(len(m.content) for m in row.messages):,} characters", "muted"),
        ]
        whole = [flag_line(flag) for flag in flags if flag.message < 0]
        self.query_one("#summary", Static).update(content(head, provenance(row), *whole))
        self.query_one(Turns).show(conversation_turns(self.persona, row, flags), top=other)
        self.redraw_keys()
        if self.editing:
            self.editing = False
            # Her first words are what is mended most.
            turns = self.query_one(Turns)
            turns._go(next((n for n, m in enumerate(row.messages) if m.role == "assistant"), 0))
            self.action_edit()

    def why_not(self, action: str) -> str:
        if action == "previous":
            return "This is the first conversation." if self.index == 0 else ""
        if action == "next":
            return "This is the last conversation." if self.index + 1 >= len(self.window) else ""
        if self.studio.readonly and action in CHANGES:
            return "The app was opened to read only."
        if action in (*CHANGES, "preview") and action not in ("undo", "redo") and self.row is None:
            return "This row cannot be read."
        if action == "split" and self.is_mounted and self.row and self.query_one(Turns).cursor == 0:
            return "Go to the turn that the second part is to begin with."
        return ""

    def on_turns_moved(self) -> None:
        self.redraw_keys()

    def _go(self, action: str, by: int) -> None:
        if not self.refused(action):
            self.index += by
            self.refresh_data()

    def action_previous(self) -> None:
        self._go("previous", -1)

    def action_next(self) -> None:
        self._go("next", 1)

    def _change(self, work: Callable[[Editor], str], on: bool = False) -> None:
        """Do it in the background and show the row as it is then; ``on``: the next one."""
        window, place = self.window, self.index
        identity = self.row.id if self.row else ""
        persona = self.persona

        def job() -> tuple[str, int]:
            before = window.lookup.layout
            told = work(Editor(persona, window.lookup))
            if list(before.starts) != list(window.lookup.layout.starts):
                return told, window.renew(identity, place)
            window.drawn.clear()
            window.layout = window.lookup.layout
            return told, place

        def done(result: tuple[str, int]) -> None:
            told, self.index = result
            if told:
                self.say(f"{told}." if told.startswith(("Undone", "Done")) else f"{told}. u takes it back.")
            if on and self.index + 1 < len(window):
                self.index += 1
            self.refresh_data()

        self.in_background(job, done)

    def action_accept(self) -> None:
        self._judge("accept", ACCEPTED)

    def action_reject(self) -> None:
        self._judge("reject", REJECTED)

    def _judge(self, action: str, state: str) -> None:
        if not self.refused(action) and (row := self.row):
            wanted = "" if row.state == state else state
            self._change(lambda editor: editor.judge([row.id], wanted), on=bool(wanted))

    def action_tag(self) -> None:
        if self.refused("tag") or not (row := self.row):
            return

        def asked(text: str | None) -> None:
            if text:
                words = text.split()
                add, remove = [w.lstrip("+") for w in words if not w.startswith("-")], [w[1:] for w in words if w.startswith("-")]
                self._change(lambda editor: editor.tag([row.id], add, remove))

        have = f" It has: {' '.join(row.tags)}" if row.tags else ""
        self.app.push_screen(Ask("Tags", hint=f"Words are given, -words taken away.{have}"), asked)

    def action_edit(self) -> None:
        """The turn under the cursor."""
        if self.refused("edit") or not (row := self.row):
            return
        from studio.tui.review.writing import Writing

        turn = self.query_one(Turns).cursor
        message = row.messages[turn]
        names = {"assistant": self.persona.manifest.character.name, "user": self.persona.manifest.character.user}

        def written(text: str | None) -> None:
            if text is not None and text != message.content:
                self._change(lambda editor: editor.rewrite(row.id, turn, text))

        who = message.name or names.get(message.role, message.role)
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
        self._change(lambda editor: editor.write(row.id, messages))

    def action_split(self) -> None:
        if not self.refused("split") and (row := self.row):
            turn = self.query_one(Turns).cursor
            self._change(lambda editor: editor.split(row.id, turn)[0])

    def action_merge(self) -> None:
        if self.refused("merge") or not (row := self.row):
            return
        if self.index + 1 >= len(self.window):
            self.say("There is no row after this one to merge it with.")
            return
        window, after = self.window, self.index + 1
        self._change(lambda editor: editor.merge([row.id, window.row(after).id])[0])

    def action_undo(self) -> None:
        if not self.refused("undo"):
            self._change(lambda editor: f"Undone: {editor.undo()}")

    def action_redo(self) -> None:
        if not self.refused("redo"):
            self._change(lambda editor: f"Done again: {editor.redo()}")

    def action_preview(self) -> None:
        if not self.refused("preview"):
            from studio.tui.screens.preview import PreviewScreen

            self.app.push_screen(PreviewScreen(self.window, self.index))
