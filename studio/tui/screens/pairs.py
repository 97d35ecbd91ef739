"""The preference set, pair by pair: browsed as the dialogue is; what in it would teach something wrong is flagged, put aside or mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studio.dialogue.filtering import HELP
from studio.dialogue.flags import Flag
from studio.dialogue.store import REJECTED
from studio.preference.editing import PairEditor, PairIndex
from studio.preference.store import Pair
from studio.reports import Fault
from studio.snapshots import Snapshot
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.look import Line, Span
from studio.tui.screens.browser import Browser
from studio.tui.screens.dialogue_rows import names_of, provenance, signs, turn_lines
from studio.tui.screens.material import fault_lines
from studio.tui.screens.reader import ReaderScreen
from studio.tui.screens.window import Window
from studio.tui.table import Column, Row

if TYPE_CHECKING:
    from studio.tui.screens.pair import PairScreen

LEAST = 18
"""Cells of a reply in the table at least."""


class PairsScreen(Browser[Pair]):
    rows_of = "pairs"
    kind = "preference"
    noun = "pair"
    several = "pairs"
    none_yet = "There are no pairs yet: v makes them of the votes, a adds a file."
    what_to_add = "preference pairs (TRL, ShareGPT or KTO): a file or a folder"
    changes = ("accept", "reject", "tag", "edit", "undo", "redo")
    filters = tuple(example for example, _ in HELP if not example.startswith(("turns", "time")))
    columns = (
        Column("", 3, keep=9),
        Column("id", 11, keep=2),
        Column("prompt", 22, keep=6),
        Column("chosen", 0, least=LEAST),
        Column("rejected", 0, least=LEAST, keep=8),
        Column("length", 6, right=True, keep=5),
        Column("made by", 8, keep=4),
        Column("tags", 12, keep=1),
    )
    BINDINGS = bindings_of("pairs")

    def __init__(self) -> None:
        super().__init__()
        self.checked = False
        """Whether the flags are those of the pairs as they were when the screen was opened."""

    def open_index(self) -> PairIndex:
        return PairIndex(self.persona)

    @property
    def editor(self) -> PairEditor:
        return PairEditor(self.persona, self.index)

    def draw(self, row: Pair, flagged: bool) -> Row:
        return table_row(row, flagged)

    def beside(self, row: Pair, flags: Sequence[Flag]) -> list[Line]:
        names = names_of(self.persona)
        lines: list[Line] = [[(row.id, "strong")], provenance(row, *origin_words(row)), *(flag_line(flag) for flag in flags), ""]
        for message in row.prompt:
            lines += turn_lines(message, names)
        return [*lines, *reply_lines(row, "chosen"), "", *reply_lines(row, "rejected")]

    # Where they come from, and what becomes of them

    def begin_adding(self, paths: list[Path]) -> None:
        from studio.preference.store import add

        persona = self.persona
        self.work("Adding", lambda progress: add(persona, paths), self.added, "nothing was added")

    def action_votes(self) -> None:
        """Bring the set up to date with the votes."""
        if self.refused("votes"):
            return
        from studio.preference.pairs import Update, update

        persona = self.persona

        def told(found: Update) -> None:
            gone = f", {found.withdrawn:,} taken out with their votes" if found.withdrawn else ""
            self.checked = False
            self.refresh_data()
            self.say(f"{count(found.new, 'new pair')} of the votes, {found.there:,} there already{gone}; {found.rows:,} in all.")

        self.work("Making pairs of the votes", lambda progress: update(persona), told, "the pairs are as they were")

    def looked(self) -> None:
        """The first look is followed by the checks, where pairs came or changed since they were made."""
        if self.checked or self.studio.readonly or self.has_nothing() or self.working:
            return
        from studio.preference.checks import up_to_date

        persona, self.checked = self.persona, True
        self.in_background(lambda: up_to_date(persona), lambda are: None if are else self._check(lambda faults: None), quiet=True)

    def _check(self, then: Callable[[list[Fault]], None]) -> None:
        from studio.preference.checks import check

        persona = self.persona

        def checked(faults: list[Fault]) -> None:
            self.refresh_data()
            then(faults)

        self.work("Checking", lambda progress: check(persona, progress), checked, "the flags are as they were")

    def action_check(self) -> None:
        def show(faults: list[Fault]) -> None:
            lines: list[Line] = [f"{count(len(faults), 'thing')} to look at. In the list: f, then a flag.", "", *fault_lines(faults)]
            clean: list[Line] = [[("✓ ", "good"), ("Nothing in these pairs would teach something wrong.", "plain")]]
            self.app.push_screen(ReaderScreen([("Check of the pairs", "strong")], lambda: lines if faults else clean))

        if not self.refused("check"):
            self._check(show)

    def action_build(self) -> None:
        if self.refused("build"):
            return
        from studio.preference.build import build

        persona = self.persona

        def built(snapshot: Snapshot) -> None:
            self.frozen(snapshot, [("d", "accent"), (" (DPO) or ", "muted"), ("o", "accent"), (" (ORPO)", "muted")])

        self.work("Building", lambda progress: build(persona), built, "no snapshot was made")

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in ("votes", "check"):
            return "The app was opened to read only."
        if self.working and action == "votes":
            return "Work is going on: Escape stops it."
        return super().why_not(action)

    # One pair

    def screen_of(self, window: Window[Pair], index: int, editing: bool) -> PairScreen:
        from studio.tui.screens.pair import PairScreen

        return PairScreen(window, index, self.editor, editing)


def table_row(row: Pair, flagged: bool) -> Row:
    text = "muted" if row.state == REJECTED else "plain"
    ratio = len(row.better) / max(1, len(row.worse))
    return Row(
        row.id,
        (
            signs(row, flagged),
            (row.id, text),
            (row.prompt[-1].content[:300], "muted"),
            (row.better[:300], text),
            (row.worse[:300], "muted"),
            (f"×{ratio:.1f}" if ratio < 100 else "×99+", "warn" if not 0.5 <= ratio <= 2 else "muted"),
            (row.origin.how if row.origin else "file", "muted"),
            (" ".join(row.tags), "accent"),
        ),
    )


def flag_line(flag: Flag) -> Line:
    """What is said of a pair is a sentence by itself."""
    return [("⚑ ", "warn"), (flag.what, "plain")]


def origin_words(row: Pair) -> list[str]:
    """The vote it was made from; nothing where it came out of a file."""
    if not row.origin:
        return []
    origin = row.origin
    how = {"vote": "voted", "edited": "rewritten", "swiped": "another reply taken"}.get(origin.how, origin.how)
    over = f"{origin.chosen} over {origin.rejected}" if origin.chosen != origin.rejected else origin.chosen
    return [f"{origin.round}, {how}, names {'hidden' if origin.blind else 'known'}: {over}"]


def reply_lines(row: Pair, side: str) -> list[Line]:
    """One of the two replies under its head."""
    text = row.better if side == "chosen" else row.worse
    head: list[Span] = [("✓ chosen", "good") if side == "chosen" else ("✗ rejected", "bad"), (f"  {count(len(text), 'character')}", "muted")]
    if side in row.cut:
        head.append(("  cut off at the length limit", "warn"))
    return [head, *text.split("\n")]
