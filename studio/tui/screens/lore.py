"""Screen 2: the lore, file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from textual.app import ComposeResult
from textual.widgets import Static

from studio.persona.folder import Persona
from studio.reports import AddReport, Fault
from studio.snapshots import Snapshot, all_snapshots
from studio.tui.actions import bindings_of
from studio.tui.look import Line, content
from studio.tui.screens.material import MaterialScreen, totals
from studio.tui.screens.reader import ReaderScreen
from studio.tui.table import Column, Row, Table

LANGUAGES = {"latin": "Latin", "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "ru": "Cyrillic"}


class LoreFacts(NamedTuple):
    files: list[dict[str, Any]]
    snapshots: list[Snapshot]


def gather(persona: Persona) -> LoreFacts:
    from studio.lore.sources import stats

    return LoreFacts(stats(persona), all_snapshots(persona, "lore"))


class LoreScreen(MaterialScreen):
    rows_of = "lore"
    kind = "lore"
    noun = "file"
    what_to_add = "txt or md files: a file, or a folder of them"
    BINDINGS = bindings_of("lore")

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Table(
            [
                Column("file", 0, least=27),
                Column("words", 9, right=True, keep=6),
                Column("characters", 10, right=True, keep=2),
                Column("paragraphs", 10, right=True, keep=1),
                Column("tokens", 9, right=True, keep=7),
                Column("language", 8, keep=4),
            ],
            empty="Counting …",
        )

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def refresh_data(self) -> None:
        persona = self.persona
        self.in_background(lambda: gather(persona), self._show)

    def _show(self, facts: LoreFacts) -> None:
        table = self.query_one(Table)
        table.empty = "No lore yet. Press a and give a txt or md file, or a folder of them."
        table.fill(
            [
                Row(
                    row["file"],
                    (
                        row["file"],
                        f"{row['words']:,}",
                        f"{row['characters']:,}",
                        f"{row['paragraphs']:,}",
                        f"{row['tokens']:,}" if row["tokens"] is not None else ("?", "muted"),
                        LANGUAGES.get(row["language"], row["language"]),
                    ),
                )
                for row in facts.files
            ]
        )
        self.query_one("#summary", Static).update(content(self._summary(facts)))

    def _summary(self, facts: LoreFacts) -> Line:
        if not facts.files:
            return " "
        words, characters = (sum(row[key] for row in facts.files) for key in ("words", "characters"))
        known = all(row["tokens"] is not None for row in facts.files)
        tokens = [(sum(row["tokens"] for row in facts.files), "tokens")] if known else [("", "tokens unknown until the base is here (key 1, f)")]
        newest = [("", f"newest snapshot {facts.snapshots[-1].id}" if facts.snapshots else "no snapshot yet (b builds one)")]
        return totals([(len(facts.files), "files"), (words, "words"), (characters, "characters"), *tokens, *newest])

    def adder(self) -> Callable[[Persona, list[Path]], AddReport]:
        from studio.lore.sources import add

        return add

    def builder(self) -> Callable[[Persona], Snapshot]:
        from studio.lore.build import build

        return build

    def checker(self) -> Callable[[Persona], list[Fault]]:
        from studio.lore.sources import check

        return check

    def has_nothing(self) -> bool:
        return not self.query_one(Table).rows

    @property
    def _file(self) -> Path:
        return self.persona.lore / (self.query_one(Table).key or "")

    def action_read(self) -> None:
        if self.refused("read"):
            return
        path = self._file
        self.app.push_screen(ReaderScreen([(path.name, "strong")], lambda: path.read_text(encoding="utf-8", errors="replace").split("\n"), file=path))

    def action_edit(self) -> None:
        if not self.refused("edit"):
            self.edit_outside(self._file, self.refresh_data)
