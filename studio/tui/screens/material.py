"""What the lore and dialogue screens share: adding, checking, building, and the words for what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from studio.reports import AddReport, Fault
from studio.snapshots import Snapshot
from studio.text import count
from studio.tui.base import StudioScreen
from studio.tui.dialogs import Ask
from studio.tui.look import Line
from studio.tui.screens.reader import ReaderScreen

MOST_FAULTS = 2000
"""Faults listed at most; nobody reads more."""


def report_lines(report: AddReport, noun: str) -> list[Line]:
    """An adding in words: kept, dropped and why, mended and how."""
    lines: list[Line] = [[(f"{report.kept:,}", "strong"), (f" of {count(report.read, noun)} kept", "plain")]]
    if report.format:
        lines.append([("read as     ", "muted"), (report.format, "plain")])
    width = max((len(f"{n:,}") for n in (*report.dropped.values(), *report.changed.values())), default=0)
    lines += [[("dropped     ", "muted"), (f"{n:>{width},}  ", "warn"), (f"✗ {why}", "plain")] for why, n in report.dropped.most_common()]
    lines += [[("mended      ", "muted"), (f"{n:>{width},}  ", "plain"), (what, "plain")] for what, n in report.changed.most_common()]
    if report.speakers:
        lines.append([("speakers    ", "muted"), (", ".join(f"{name} {n:,}" for name, n in report.speakers.most_common(12)), "plain")])
    if report.faults:
        lines += ["", [("Why, with file and line", "strong")], *fault_lines(in_order(report.faults))]
    return lines


def in_order(faults: Sequence[Fault]) -> list[Fault]:
    """As they stand in the files, not by reason."""
    return sorted(faults, key=lambda fault: (fault.file, fault.line))


def fault_lines(faults: Sequence[Fault]) -> list[Line]:
    lines: list[Line] = []
    # The folder says nothing where there is one file, and one folder is enough where there are several.
    parts = -1 if len({fault.file for fault in faults}) == 1 else -2
    for fault in faults[:MOST_FAULTS]:
        file = "/".join(fault.file.split("/")[parts:]) if fault.file.startswith("/") else fault.file
        place = f"{file}:{fault.line}" if fault.line else file
        lines.append([("✗ ", "bad"), (place, "accent"), (f"  {fault.what}", "plain")])
    if len(faults) > MOST_FAULTS:
        lines.append([(f"… and {len(faults) - MOST_FAULTS:,} more", "muted")])
    return lines


class MaterialScreen(StudioScreen):
    """The actions of both kinds of material."""

    kind = ""
    noun = ""
    what_to_add = ""

    def has_nothing(self) -> bool:
        """Whether it is known that there is no material yet."""
        raise NotImplementedError

    def begin_adding(self, paths: list[Path]) -> None:
        raise NotImplementedError

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in ("add", "build", "edit", "write"):
            return "The app was opened to read only."
        if action in ("read", "check", "build", "edit", "preview", "find") and self.is_mounted and self.has_nothing():
            return f"There is no {self.kind} yet: press a to add some."
        return ""

    def action_add(self) -> None:
        if self.refused("add"):
            return

        def asked(text: str | None) -> None:
            if text is not None:
                self.begin_adding(paths_of(text))

        hint = "Several are written with a space between, those with spaces in “quotation marks”."
        self.app.push_screen(Ask(f"Add {self.what_to_add}", hint=hint, paths=True, check=_path_problem), asked)

    def added(self, report: AddReport) -> None:
        self.refresh_data()
        if report.faults or report.changed:
            self.app.push_screen(ReaderScreen([(f"Adding {self.kind}", "strong")], partial(report_lines, report, self.noun)))
        else:
            self.say(f"{count(report.kept, self.noun)} added.")

    def frozen(self, snapshot: Snapshot, key: Line) -> None:
        """A snapshot was built; ``key`` starts the training that reads it."""
        from studio.tui.screens.snapshots import told_of

        self.refresh_data()
        persona = self.persona
        title: Line = [("✓ ", "good"), (f"The {self.kind} is frozen", "strong")]
        head: list[Line] = [[("Train on it: key 4, then ", "muted"), *key], ""]
        self.app.push_screen(ReaderScreen(title, lambda: [*head, *told_of(snapshot, persona)]))

    def action_snapshots(self) -> None:
        from studio.tui.screens.snapshots import SnapshotsScreen

        self.app.push_screen(SnapshotsScreen(self.kind))


def paths_of(text: str) -> list[Path]:
    """The paths of a line: the whole of it if there is such a file, else split at spaces as a shell would."""
    whole = Path(text.strip()).expanduser()
    if whole.exists():
        return [whole]
    try:
        parts = shlex.split(text.replace("“", '"').replace("”", '"'))
    except ValueError:  # a quotation mark that is not closed
        parts = text.split()
    return [Path(part).expanduser() for part in parts]


def _path_problem(text: str) -> str:
    if not text.strip():
        return "Give the path of a file or a folder."
    missing = [path for path in paths_of(text) if not path.exists()]
    return f"{missing[0]} does not exist; Tab completes a path." if missing else ""


def totals(parts: Sequence[tuple[Any, str]]) -> Line:
    """``12 files · 19,799 words``."""
    return [(" · ".join(f"{value:,} {what}" if isinstance(value, int) else str(what) for value, what in parts), "muted")]
