"""Screen 3: the dialogue, row by row; only the rows on screen are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from studio.dialogue.paging import Pages
from studio.dialogue.store import Row as Conversation
from studio.lore.sources import language
from studio.persona.folder import Persona
from studio.reports import AddReport, Fault
from studio.snapshots import Snapshot, all_snapshots
from studio.tui.actions import bindings_of
from studio.tui.dialogs import Ask
from studio.tui.look import Line, content
from studio.tui.screens.lore import LANGUAGES
from studio.tui.screens.material import MaterialScreen
from studio.tui.screens.reader import ReaderScreen
from studio.tui.table import Column, Row, Table


class Window(Sequence[Any]):
    """Rows of the table, by index; None where nothing was read yet."""

    def __init__(self, pages: Pages, chosen: list[int] | None) -> None:
        self.pages, self.chosen = pages, chosen
        self.drawn: dict[int, Row] = {}

    def __len__(self) -> int:
        return len(self.pages) if self.chosen is None else len(self.chosen)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.drawn.get(index)

    def place(self, index: int) -> int:
        """Index in the dialogue of the row at ``index`` of the table."""
        return index if self.chosen is None else self.chosen[index]

    def read(self, first: int, count: int) -> dict[int, Row]:
        wanted = range(first, min(first + count, len(self)))
        rows = self.pages.read([self.place(i) for i in wanted])
        return {i: table_row(conversation) for i, conversation in zip(wanted, rows, strict=True)}


def table_row(conversation: Conversation) -> Row:
    said = next((m.content for m in conversation.messages if m.role == "user"), "")
    spoken = language(" ".join(conversation.replies))
    return Row(
        conversation.id,
        (
            conversation.id,
            str(len(conversation.replies)),
            LANGUAGES.get(spoken, spoken),
            said[:300],
            (f"{conversation.source}:{conversation.line}", "muted"),
        ),
    )


def conversation_lines(persona: Persona, conversation: Conversation) -> list[Line]:
    """A conversation to be read: who says what."""
    names = {"assistant": persona.manifest.character.name, "user": persona.manifest.character.user, "system": "system"}
    lines: list[Line] = []
    for message in conversation.messages:
        kind = {"assistant": "accent", "user": "strong"}.get(message.role, "muted")
        lines += [[(message.name or names.get(message.role, message.role), kind)], *message.content.split("\n"), ""]
    return lines


class DialogueScreen(MaterialScreen):
    rows_of = "dialogue"
    kind = "dialogue"
    noun = "row"
    what_to_add = "json or jsonl files of messages or ShareGPT conversations: a file, or a folder of them"
    BINDINGS = bindings_of("dialogue")

    def __init__(self) -> None:
        super().__init__()
        self.pages: Pages | None = None
        self.snapshots: list[Snapshot] = []
        self.wanted = ""

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Table(
            [
                Column("id", 11, keep=3),
                Column("turns", 5, right=True, keep=4),
                Column("language", 8, keep=2),
                Column("first words", 0, least=24),
                Column("source", 22, keep=1),
            ],
            empty="Reading …",
        )

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def refresh_data(self) -> None:
        persona = self.persona
        self.in_background(lambda: (Pages(persona), all_snapshots(persona, "dialogue")), self._index)

    def _index(self, read: tuple[Pages, list[Snapshot]]) -> None:
        before = self.pages
        self.pages, self.snapshots = read
        if self.wanted:
            self._search()
        elif before is None or list(before.file_of) != list(self.pages.file_of) or list(before.offset_of) != list(self.pages.offset_of):
            self._fill(None)
        self._summarise()

    def _fill(self, chosen: list[int] | None) -> None:
        assert self.pages is not None
        table = self.query_one(Table)
        table.empty = (
            f"No row contains “{self.wanted}”; / looks for something else."
            if self.wanted
            else "No dialogue yet. Press a and give a json or jsonl file."
        )
        table.fill(Window(self.pages, chosen))
        self._summarise()

    def _summarise(self) -> None:
        if self.pages is None:
            return
        shown = len(self.query_one(Table).rows)
        parts = [f"{len(self.pages):,} conversations"]
        if self.wanted:
            parts.append(f"{shown:,} with “{self.wanted}” (/ and Enter on nothing shows all)")
        newest = self.snapshots[-1] if self.snapshots else None
        tokens = f", {newest.train_tokens:,} tokens" if newest and newest.train_tokens is not None else ""
        parts.append(
            f"newest snapshot {newest.id}: {newest.train_rows:,} + {newest.val_rows:,} rows{tokens}" if newest else "no snapshot yet (b builds one)"
        )
        self.query_one("#summary", Static).update(content([(" · ".join(parts), "muted")]))

    def on_table_wanted(self, message: Table.Wanted) -> None:
        window = self.query_one(Table).rows
        if isinstance(window, Window):

            def take(rows: dict[int, Row]) -> None:
                if len(window.drawn) > 5000:
                    window.drawn.clear()
                window.drawn.update(rows)
                self.query_one(Table).refresh()

            self.in_background(lambda: window.read(message.first, message.count), take)

    def adder(self) -> Callable[[Persona, list[Path]], AddReport]:
        from studio.dialogue.adding import add

        return add

    def builder(self) -> Callable[[Persona], Snapshot]:
        from studio.dialogue.build import build

        return build

    def checker(self) -> Callable[[Persona], list[Fault]]:
        from studio.dialogue.checks import check

        return check

    def has_nothing(self) -> bool:
        return self.pages is not None and not len(self.pages)

    def why_not(self, action: str) -> str:
        why = super().why_not(action)
        if not why and action in ("read", "preview") and self.is_mounted and not len(self.query_one(Table).rows):
            return "No row is shown: / and Enter on nothing shows all." if self.wanted else "The rows are still being read."
        return why

    def action_find(self) -> None:
        if self.refused("find"):
            return

        def asked(text: str | None) -> None:
            if text is not None:
                self.wanted = text.strip()
                self._search()

        self.app.push_screen(Ask("Show conversations that contain", self.wanted, hint="Nothing shows all."), asked)

    def _search(self) -> None:
        pages, wanted = self.pages, self.wanted
        if pages is not None:
            self.in_background(lambda: pages.find(wanted) if wanted else None, self._fill)

    def _selected(self) -> tuple[Window, int] | None:
        table = self.query_one(Table)
        return (table.rows, table.cursor) if isinstance(table.rows, Window) and len(table.rows) else None

    def action_read(self) -> None:
        if not self.refused("read") and (at := self._selected()):
            (window, index), persona = at, self.persona

            def read() -> list[Line]:
                return conversation_lines(persona, window.pages.read([window.place(index)])[0])

            self.app.push_screen(ReaderScreen([(f"Conversation {self.query_one(Table).key or ''}", "strong")], read))

    def action_preview(self) -> None:
        if not self.refused("preview") and (at := self._selected()):
            from studio.tui.screens.preview import PreviewScreen

            self.app.push_screen(PreviewScreen(*at))
