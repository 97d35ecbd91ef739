"""A lore file to be read, with what was changed in it since it came: marked in the margin, or before and after in full."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from studio.lore.draft import Change
from studio.persona.folder import Persona
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.look import Line
from studio.tui.pager import Pager
from studio.tui.screens.reader import ReaderScreen

MARK = "▎"
BEFORE = "− "
AFTER = "+ "
PART = 400_000
"""Characters shown at a time: a screen of any part of a whole library is there at once."""

LONGEST = 40
"""Lines shown of what was left out in one place."""


class LoreReader(ReaderScreen):
    rows_of = "lore-reader"
    BINDINGS = bindings_of("lore-reader")

    def __init__(self, persona: Persona, name: str) -> None:
        self.lore, self.name_in_lore = persona, name
        self.both = False
        self.part = 0
        self.parts = 1
        self.changes: list[Change] = []
        super().__init__([(name, "strong")], self.read_file, file=persona.lore / name)

    def read_file(self) -> Sequence[Line]:
        from studio.lore.sources import changes_of, read_text

        lines = read_text(self.lore.lore / self.name_in_lore).split("\n")
        begins = part_starts(lines)
        self.parts = len(begins)
        self.part = min(self.part, self.parts - 1)
        first = begins[self.part]
        end = begins[self.part + 1] if self.part + 1 < self.parts else len(lines)
        changes = changes_of(self.lore, self.name_in_lore)
        self.changes = [msgspec.structs.replace(change, at=change.at - first) for change in changes if first < change.at <= end]
        head: list[Line] = [[(f"part {self.part + 1:,} of {self.parts:,}, from line {first + 1:,} (J and K)", "muted")], ""] if self.parts > 1 else []
        return [*head, *marked_lines(lines[first:end], self.changes, self.both)]

    def why_not(self, action: str) -> str:
        if action in ("both", "change") and not self.changes:
            return (
                "Nothing was changed in this part of the file since it came." if self.parts > 1 else "Nothing was changed in this file since it came."
            )
        if action == "turn" and self.parts == 1:
            return "The whole file is shown."
        return super().why_not(action)

    def action_both(self) -> None:
        if self.refused("both"):
            return
        self.both = not self.both
        self.refresh_data()
        places = count(len(self.changes), "change")
        self.say(f"{places}: before (−) and after (+)." if self.both else f"{places}, marked in the margin.")

    def action_turn(self, step: int) -> None:
        """To the next or the previous part of a large file."""
        if self.refused("turn"):
            return
        part = self.part + step
        if not 0 <= part < self.parts:
            self.say("That was the last part." if step > 0 else "That was the first part.")
            return
        self.part = part
        self.query_one(Pager).scroll_to(y=0, animate=False, force=True)
        self.refresh_data()

    def action_change(self, step: int) -> None:
        """To the next or the previous changed place."""
        if self.refused("change"):
            return
        pager = self.query_one(Pager)
        places = [i for i, row in enumerate(pager.rows) if row and row[0][0].startswith((MARK, BEFORE))]
        starts = [i for n, i in enumerate(places) if not n or places[n - 1] != i - 1]
        here = round(pager.scroll_y)
        ahead = [i for i in starts if (i > here if step > 0 else i < here)]
        if ahead:
            pager.scroll_to(y=ahead[0] if step > 0 else ahead[-1], animate=False, force=True)
        else:
            self.say("That was the last change." if step > 0 else "That was the first change.")


def part_starts(lines: Sequence[str]) -> list[int]:
    """Indexes of the lines at which parts of about ``PART`` characters begin."""
    begins, held = [0], 0
    for index, line in enumerate(lines):
        if held > PART:
            begins.append(index)
            held = 0
        held += len(line) + 1
    return begins


def marked_lines(lines: Sequence[str], changes: Sequence[Change], both: bool) -> list[Line]:
    """The text with its changes: a mark where something was mended or left out, or both versions in full."""
    at: dict[int, list[Change]] = {}
    for change in changes:
        at.setdefault(change.at, []).append(change)
    shown: list[Line] = []
    mended_until = 0
    for number, line in enumerate(lines, 1):
        for change in at.get(number, []):
            shown += _told(change, both)
            if change.after:
                mended_until = max(mended_until, number + change.after.count("\n"))
        if number <= mended_until:
            shown.append([(AFTER if both else MARK + " ", "good" if both else "accent"), (line, "plain")])
        else:
            shown.append(line)
    return shown


def _told(change: Change, both: bool) -> list[Line]:
    before = change.before.split("\n")
    if not both:
        if change.after:
            return []
        return [[(MARK + " ", "accent"), (f"✗ {change.step}: {count(len(before), 'line')} left out here (t shows)", "muted")]]
    told: list[Line] = [[(BEFORE, "bad"), (f"{change.step}, line {change.line} of what came", "muted")]]
    told += [[(BEFORE, "bad"), (line, "muted")] for line in before[:LONGEST]]
    if len(before) > LONGEST:
        told.append([(BEFORE, "bad"), (f"… {len(before) - LONGEST:,} more lines", "muted")])
    return told
