"""Screen 2: the lore, file by file, and how much of it there is in each language."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.widgets import Static

from studio.lore.languages import NAMES
from studio.persona.folder import Persona
from studio.reports import Fault
from studio.snapshots import Snapshot, all_snapshots
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.dialogs import Choice, Choose, Confirm
from studio.tui.look import Line, content
from studio.tui.screens.material import MaterialScreen, fault_lines, totals
from studio.tui.screens.reader import ReaderScreen
from studio.tui.screens.stoppable import Stoppable
from studio.tui.table import Column, Row, Table

if TYPE_CHECKING:
    from studio.lore.measuring import Lore, Measured

LANGUAGES = {**NAMES, "latin": "Latin"}
"""As tables say a language told by its script alone."""

TALL = 30
"""Rows of the terminal from which files and coverage stand below each other."""


class LoreFacts(NamedTuple):
    lore: Lore
    snapshots: list[Snapshot]


class LoreScreen(Stoppable, MaterialScreen):
    rows_of = "lore"
    kind = "lore"
    noun = "file"
    what_to_add = "books, pages, subtitles, scripts, wikis, lorebooks, cards: a file, a folder or a zip file"
    BINDINGS = bindings_of("lore")
    DEFAULT_CSS = """
    LoreScreen #files { height: 1fr; }
    LoreScreen #coverage { height: auto; max-height: 40%; margin-top: 1; }
    LoreScreen #coverage:blur > .kind--cursor { background: transparent; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.facts: LoreFacts | None = None
        self.coverage_alone = False

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Table(
            [
                Column("file", 0, least=24),
                Column("language", 11, keep=5),
                Column("tokens", 10, right=True, keep=8),
                Column("characters", 11, right=True, keep=2),
                Column("repeated", 8, right=True, keep=6),
                Column("junk", 5, right=True, keep=7),
                Column("mended", 7, right=True, keep=4),
                Column("format", 15, keep=3),
                Column("from", 30, keep=1),
            ],
            empty="Counting …",
            id="files",
        )
        yield Table([Column("", 0)], id="coverage")

    def on_mount(self) -> None:
        self.query_one("#files", Table).focus()
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def _arrange(self) -> None:
        tall = self.size.height >= TALL and bool(self.facts and self.facts.lore.files)
        files, coverage = self.query_one("#files", Table), self.query_one("#coverage", Table)
        files.display = tall or not self.coverage_alone
        coverage.display = tall or self.coverage_alone
        coverage.styles.max_height = "40%" if tall else "100%"

    def refresh_data(self) -> None:
        persona = self.persona
        self.in_background(lambda: gather(persona, self.progress), self._show)

    def _show(self, facts: LoreFacts) -> None:
        self.facts = facts
        table = self.query_one("#files", Table)
        table.empty = "No lore yet. Press a and give a file, a folder or a zip file."
        table.fill([file_row(row) for row in facts.lore.files])
        self._show_coverage(facts.lore)
        self._arrange()
        self.query_one("#summary", Static).update(content(self._summary(facts)))

    def _show_coverage(self, lore: Lore) -> None:
        coverage = self.query_one("#coverage", Table)
        codes = list(lore.languages)[:12]
        width = max(10, *(len(LANGUAGES.get(code, code)) for code in codes)) if codes else 10
        coverage.columns = (
            Column(f"work ({lore.unit})", 0, least=20),
            *(Column(LANGUAGES.get(code, code), width, right=True, keep=9 - number // 2) for number, code in enumerate(codes)),
            Column("translations", 19, keep=3),
        )
        coverage.titled = 1
        whole = max(1, sum(lore.languages.values()))
        rows = []
        for work in lore.works:
            sizes = work[lore.unit]
            cells = [f"{sizes[code]:,}" if code in sizes else ("–", "muted") for code in codes]
            rows.append(Row(work["work"], (work["work"], *cells, (KNOWN.get(work["how"], ""), "muted"))))
        if rows:
            shares = [(f"{number / whole:.0%}".replace("%", " %"), "muted") for number in list(lore.languages.values())[:12]]
            rows.insert(0, Row("", (("all", "strong"), *((f"{lore.languages[code]:,}", "strong") for code in codes), "")))
            rows.insert(1, Row(" ", (("share", "muted"), *shares, "")))
        coverage.fill(rows)

    def _summary(self, facts: LoreFacts) -> Line:
        files = facts.lore.files
        if not files:
            return " "
        if facts.lore.unit == "tokens":
            tokens = f"{sum(row.tokens or 0 for row in files):,} tokens"
        else:
            tokens = f"{sum(row.characters for row in files):,} characters, tokens unknown until the base is here (key 1, f)"
        repeated = sum(row.duplicates for row in files)
        parts: list[tuple[object, str]] = [(len(files), "file" if len(files) == 1 else "files"), ("", tokens)]
        if repeated:
            parts.append((repeated, "repeated paragraphs" if repeated > 1 else "repeated paragraph"))
        parts.append(("", f"newest snapshot {facts.snapshots[-1].id}" if facts.snapshots else "no snapshot yet: b"))
        return totals(parts)

    def begin_adding(self, paths: list[Path]) -> None:
        from studio.lore.sources import add

        persona = self.persona
        self.in_background(lambda: add(persona, paths, progress=self.progress), self.added)

    def action_build(self) -> None:
        if self.refused("build"):
            return
        from studio.lore.build import build

        persona = self.persona

        self.in_background(lambda: build(persona, progress=self.progress), lambda snapshot: self.frozen(snapshot, [("c", "accent")]))

    def action_check(self) -> None:
        """In the background of this screen, where one sees how far it is and can stop it."""
        if self.refused("check"):
            return
        from studio.lore.checking import check

        persona = self.persona

        def checked(faults: list[Fault]) -> None:
            lines: list[Line] = [f"{count(len(faults), 'place')} to look at.", "", *fault_lines(faults)]
            clean: list[Line] = [[("✓ ", "good"), ("Nothing is obviously wrong.", "plain")]]
            self.app.push_screen(ReaderScreen([("Check of the lore", "strong")], lambda: lines if faults else clean))

        self.in_background(lambda: check(persona, progress=self.progress), checked)

    def has_nothing(self) -> bool:
        return not self.query_one("#files", Table).rows

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in ("drop", "parallel"):
            return "The app was opened to read only."
        if action in ("drop", "clean", "coverage", "parallel") and self.is_mounted and self.has_nothing():
            return "There is no lore yet: press a to add some."
        if action == "parallel" and self.is_mounted and len(self.query_one("#files", Table).rows) < 2:
            return "A translation needs two files."
        return super().why_not(action)

    @property
    def selected(self) -> str:
        return self.query_one("#files", Table).key or ""

    def action_read(self) -> None:
        if not self.refused("read"):
            from studio.tui.screens.lore_reader import LoreReader

            self.app.push_screen(LoreReader(self.persona, self.selected))

    def action_edit(self) -> None:
        if not self.refused("edit"):
            self.edit_outside(self.persona.lore / self.selected, self.refresh_data)

    def action_clean(self) -> None:
        if not self.refused("clean"):
            from studio.tui.screens.lore_cleaning import CleaningScreen

            self.app.push_screen(CleaningScreen())

    def action_coverage(self) -> None:
        if self.refused("coverage"):
            return
        self.coverage_alone = not self.coverage_alone
        self._arrange()
        focused = self.query_one("#coverage" if self.coverage_alone else "#files", Table)
        focused.focus()

    def action_drop(self) -> None:
        if self.refused("drop"):
            return
        persona, name = self.persona, self.selected

        def dropped(kept: list[str]) -> None:
            self.say(f"{name} is out of the lore; it is kept as sources/{kept[0]}.")
            self.refresh_data()

        def answered(yes: bool | None) -> None:
            if yes:
                from studio.lore.sources import drop

                self.in_background(lambda: drop(persona, [name]), dropped)

        self.app.push_screen(Confirm(f"Take {name} out of the lore? What it holds stays in sources/.", "take it out"), answered)

    def action_parallel(self) -> None:
        if self.refused("parallel") or self.facts is None:
            return
        persona, name = self.persona, self.selected
        spoken = {row.file: LANGUAGES.get(row.language, row.language) for row in self.facts.lore.files}

        def said(groups: list[list[str]]) -> None:
            self.say("They are read as translations of each other." if groups else "They are no longer said to be translations.")
            self.refresh_data()

        def chosen(other: str | None) -> None:
            if other:
                from studio.lore.parallel import declare

                self.in_background(lambda: declare(persona, [name] if other == name else [name, other], apart=other == name), said)

        others = [Choice(file, file, spoken[file]) for file in spoken if file != name]
        self.app.push_screen(
            Choose(f"{name} ({spoken.get(name, '')}) tells the same as", [*others, Choice(name, "nothing", "take it back")], width=44), chosen
        )


KNOWN = {"name": "by their names", "declared": "declared", "recognised": "by their numbers"}


def gather(persona: Persona, progress: Callable[[str, int, int], None]) -> LoreFacts:
    from studio.lore.measuring import measure

    return LoreFacts(measure(persona, progress), all_snapshots(persona, "lore"))


def file_row(row: Measured) -> Row:
    names = [LANGUAGES.get(code, code) for code in row.languages]
    spoken = names[0] if len(names) == 1 else "+".join(list(row.languages)[:4]) if names else "?"
    junk = f"{row.junk:.0%}".replace("%", " %") if row.junk >= 0.005 else "<1 %" if row.junk else "–"
    return Row(
        row.file,
        (
            row.file,
            spoken,
            f"{row.tokens:,}" if row.tokens is not None else ("?", "muted"),
            f"{row.characters:,}",
            (f"{row.duplicates:,}", "warn") if row.duplicates else ("–", "muted"),
            (junk, "bad" if row.junk >= 0.2 else "warn" if row.junk >= 0.02 else "muted"),
            f"{row.changed:,}" if row.changed else ("–", "muted"),
            (row.format or "by hand", "muted"),
            ("/".join(row.source.split("/")[-2:]), "muted"),
        ),
    )
