"""The checks of the dialogue: how many rows each flags, by which threshold; moved, switched off, and what they flag put aside."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from textual.app import ComposeResult
from textual.widgets import Static

from studio.dialogue.checks import CHECKS, Check, Outcome, Settings, load_settings, run, save_settings
from studio.dialogue.checks.running import Finding
from studio.dialogue.editing import Editor
from studio.dialogue.flags import Ran, forget, ran
from studio.dialogue.store import REJECTED
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.dialogs import Ask, Confirm
from studio.tui.look import Line, Span, ago, content
from studio.tui.pager import Hung
from studio.tui.screens.stoppable import OverDialogue
from studio.tui.table import Cell, Column, Row, Table

if TYPE_CHECKING:
    from studio.tui.screens.dialogue import DialogueScreen

CHANGES = ("run", "run_one", "judge", "threshold", "on_off", "reject", "undo")
"""Actions that write into the persona's folder."""


class Known(NamedTuple):
    """What the last runs found, as far as it still holds."""

    settings: Settings
    ran: dict[str, Ran]
    rows: dict[str, tuple[list[int], int]]
    """By check: keys of the rows it flagged, and how many of these are rejected."""
    open: int
    """Rows that are not rejected."""
    last: str
    """What undo would take back."""


class ChecksScreen(OverDialogue):
    rows_of = "dialogue-checks"
    BINDINGS = bindings_of("dialogue-checks")
    DEFAULT_CSS = """
    ChecksScreen #about { height: 4; margin-top: 1; padding: 0 1; }
    """

    def __init__(self, over: DialogueScreen) -> None:
        super().__init__(over)
        self.known: Known | None = None
        self.told_of: dict[str, Finding] = {}
        """What this screen's runs said of each check: why it was not made, remarks on the set."""

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Table(
            [
                Column("", 1),
                Column("check", 17),
                Column("rows", 8, right=True),
                Column("rejected", 8, right=True, keep=2),
                Column("threshold", 9, right=True),
                Column("what it finds", 0, least=30),
                Column("the threshold is", 56, keep=1),
            ],
            empty="Reading …",
        )
        yield Hung(id="about")

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    # What is known

    def refresh_data(self) -> None:
        persona, index = self.persona, self.over.index
        assert index is not None

        def read() -> Known:
            index.refresh()
            made = ran(persona)
            rows = index.flagged_by(name for name in made if name in CHECKS)
            open_rows = len(index) - index.counts().states["rejected"]
            return Known(load_settings(persona), made, rows, open_rows, Editor(persona, index).last())

        self.in_background(read, self._show, self._cannot)

    def _cannot(self, sentence: str) -> None:
        self.query_one(Table).say([("✗ ", "bad"), (sentence, "plain")])
        self.say(sentence, bad=True)

    def _show(self, known: Known) -> None:
        first = self.known is None
        unsorted = self.known is None or not self.known.ran
        self.known = known
        table = self.query_one(Table)
        table.fill([self._row(check, known) for check in sorted(CHECKS.values(), key=lambda check: self._place(check, known))])
        if unsorted:
            table.action_jump(0)
        self._summarise()
        self.on_table_moved()
        if first and not known.ran and not self.why_not("run"):
            self.action_run()

    @staticmethod
    def _place(check: Check, known: Known) -> int:
        if known.rows.get(check.name, ([], 0))[0]:
            return 0
        return 3 if check.name in known.settings.off else 2 if check.asked_only else 1

    def _row(self, check: Check, known: Known) -> Row:
        off = check.name in known.settings.off
        keys, rejected = known.rows.get(check.name, ([], 0))
        made = known.ran.get(check.name)
        own = check.name in known.settings.thresholds
        kind = "muted" if off or (check.asked_only and made is None) else "plain"
        if made is None:
            rows: Cell = ("", "muted")
        else:
            rows = (f"{len(keys):,}", "warn" if len(keys) > rejected else "muted")
        sign: Cell = (" ", "muted") if off else ("·", "muted") if check.asked_only else ("✓", "good")
        return Row(
            check.name,
            (
                sign,
                (check.name, kind),
                rows,
                (f"{rejected:,}" if rejected else "", "muted"),
                (f"{threshold_of(check, known.settings):g}", "accent" if own else kind),
                (check.finds, kind),
                (check.meaning, "muted"),
            ),
        )

    def _summarise(self) -> None:
        if self.working or self.known is None:
            return
        known = self.known
        made = [one for name, one in known.ran.items() if name in CHECKS]
        if not made:
            line: Line = [("no check has run yet: r runs them", "muted")]
        else:
            flagged = {key for keys, _ in known.rows.values() for key in keys}
            finding = sum(bool(keys) for keys, _ in known.rows.values())
            newest = max(made, key=lambda one: one.t)
            age = ago(max(0.0, time.time() - newest.t))
            parts: list[Span] = [("⚑ " if flagged else "✓ ", "warn" if flagged else "good")]
            parts.append((f"{count(len(flagged), 'row')} flagged by {count(finding, 'check')}" if flagged else "nothing is flagged", "plain"))
            parts.append((f" · checked {age}{'' if age == 'now' else ' ago'}", "muted"))
            if known.open > newest.rows:
                parts.append((f" · {count(known.open - newest.rows, 'row')} since: r checks again", "warn"))
            line = parts
        self.query_one("#summary", Static).update(content(line))

    def on_table_moved(self) -> None:
        super().on_table_moved()
        check = self.selected
        if check is None or self.known is None:
            return
        known = self.known
        own = known.settings.thresholds.get(check.name)
        default = f"; {check.threshold:g} is the default" if own is not None and own != check.threshold else ""
        lines: list[Line] = [
            [(check.name, "strong"), (f"  {check.finds}", "plain")],
            [(f"threshold {threshold_of(check, known.settings):g}: {check.meaning}{default}", "muted")],
        ]
        told = self.told_of.get(check.name)
        if check.name in known.settings.off:
            lines.append([("switched off: space switches it on", "warn")])
        elif told and told.skipped:
            lines.append([("not made: ", "warn"), (told.skipped, "plain")])
        elif told and told.remarks:
            lines.append([("; ".join(told.remarks), "plain")])
        elif check.asked_only and check.name not in known.ran:
            lines.append([("made when asked for: o makes it", "muted")])
        lines.append([(f"default from: {check.source}", "muted")])
        self.query_one("#about", Hung).show(lines)

    @property
    def selected(self) -> Check | None:
        return CHECKS.get(self.query_one(Table).key or "")

    def _keys(self) -> tuple[list[int], int]:
        check = self.selected
        return self.known.rows.get(check.name, ([], 0)) if check and self.known else ([], 0)

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in CHANGES:
            return "The app was opened to read only."
        if not self.is_mounted:
            return ""
        if self.working and action in (*CHANGES, "clean"):
            return "Work is going on: Escape stops it."
        if self.known is None and action in (*CHANGES, "read", "clean"):
            return "The checks are still being read."
        check = self.selected
        if action in ("read", "reject") and check is not None:
            keys, rejected = self._keys()
            if not keys:
                made = self.known is not None and check.name in self.known.ran
                return f"{check.name} has flagged no row." if made else f"{check.name} has not run yet: o runs it."
            if action == "reject" and rejected == len(keys):
                return f"All rows that {check.name} flagged are rejected already."
        if action == "on_off" and check is not None and check.asked_only:
            return f"{check.name} runs when it is asked for: o runs it."
        if action == "undo" and self.known is not None and not self.known.last:
            return "There is nothing to undo."
        return ""

    # Running

    def remember(self, outcome: Outcome) -> None:
        self.told_of |= {finding.check: finding for finding in outcome.checks}
        for finding in outcome.checks:
            finding.offenders.clear()  # they are kept as flags

    def _run(self, only: tuple[str, ...] = ()) -> None:
        persona = self.persona

        def told(outcome: Outcome) -> None:
            self.remember(outcome)
            if only and (skipped := outcome.checks[0].skipped):
                self.say(f"{only[0]} was not made: {skipped}", bad=True)

        self.work(lambda: run(persona, only, progress=self.progress), told)

    def action_run(self) -> None:
        if not self.refused("run"):
            self._run()

    def action_run_one(self) -> None:
        if not self.refused("run_one") and (check := self.selected):
            self._run((check.name,))

    def action_judge(self) -> None:
        if not self.refused("judge"):
            from studio.tui.screens.opinions import begin

            begin(self)

    # Settings

    def action_threshold(self) -> None:
        """Asked for, saved to checks.toml, and the check made again by it."""
        if self.refused("threshold") or (check := self.selected) is None or self.known is None:
            return
        persona = self.persona
        now = threshold_of(check, self.known.settings)

        def problem(text: str) -> str:
            try:
                value = float(text) if text.strip() else check.threshold
            except ValueError:
                return f"{text.strip()!r} is not a number."
            return "" if abs(value) < 1e12 else "Give a number."

        def asked(text: str | None) -> None:
            if text is None:
                return

            def save() -> Settings:
                settings = load_settings(persona)
                settings.thresholds.pop(check.name, None)
                if text.strip() and float(text) != check.threshold:
                    settings.thresholds[check.name] = float(text)
                save_settings(persona, settings)
                return settings

            def saved(settings: Settings) -> None:
                if check.asked_only or check.name in settings.off:
                    self.refresh_data()
                else:
                    self._run((check.name,))

            self.in_background(save, saved)

        hint = f"{check.meaning}. The default is {check.threshold:g}; an empty answer takes it."
        self.app.push_screen(Ask([("Threshold of ", "plain"), (check.name, "strong")], f"{now:g}", hint=hint, check=problem), asked)

    def action_on_off(self) -> None:
        """Switched off, a check's flags go as well; switched on, it is made at once."""
        if self.refused("on_off") or (check := self.selected) is None:
            return
        persona = self.persona

        def switch() -> bool:
            settings = load_settings(persona)
            on = check.name in settings.off
            settings.off = [name for name in settings.off if name != check.name] + ([] if on else [check.name])
            save_settings(persona, settings)
            if not on:
                forget(persona, check.name)
            return on

        def switched(on: bool) -> None:
            if on:
                self._run((check.name,))
            else:
                self.refresh_data()

        self.in_background(switch, switched)

    # What they flagged

    def action_read(self) -> None:
        """Its rows in the browser."""
        if not self.refused("read") and (check := self.selected):
            self.over.asked = (f"flag:{check.name}", 0)
            self.app.pop_screen()

    def action_reject(self) -> None:
        if self.refused("reject") or (check := self.selected) is None:
            return
        persona, index = self.persona, self.over.index
        assert index is not None
        keys, rejected = self._keys()

        def reject() -> str:
            return Editor(persona, index).judge(index.ids_at(keys), REJECTED, partial(self.told, more="   (being written)"))

        def answered(yes: bool | None) -> None:
            if yes:
                self.work(reject, lambda told: self.say(f"{told}. u takes it back."))

        question = f"Reject {count(len(keys) - rejected, 'row')} that {check.name} flagged? They are kept, and in no build; u takes it back."
        self.app.push_screen(Confirm(question, "reject"), answered)

    def action_clean(self) -> None:
        if not self.refused("clean"):
            from studio.tui.screens.dialogue_cleaning import PrivacyScreen

            self.app.push_screen(PrivacyScreen(self.over))


def threshold_of(check: Check, settings: Settings) -> float:
    return settings.thresholds.get(check.name, check.threshold)
