"""One run, live or long ended, drawn from its folder alone: curves, numbers, events, log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from studio import again
from studio.jobs import control
from studio.jobs.control import TRAININGS
from studio.jobs.runs import ENDED, QUEUED, RUNNING, EventReader, Run, read_run
from studio.jobs.telling import GAP_ALARM
from studio.recipes.files import explained
from studio.seeing.course import Course
from studio.seeing.reading import Finding, read_course
from studio.text import duration, one_line, size
from studio.tui.base import with_escape
from studio.tui.chart import Chart, Curves, Point, smoothed
from studio.tui.dialogs import Ask, Choice, Choose, Confirm
from studio.tui.look import Line, Span, content
from studio.tui.pager import Hung, Pager
from studio.tui.pulse import Pulse
from studio.tui.screens.reader import ReaderScreen
from studio.tui.screens.train import SIGNS, STATE_KINDS, RunActions, bar, took

RATE_WINDOW = 60
"""Steps over whose times the rate behind the remaining time is measured."""

LOG_BYTES = 48_000
EVENTS_KEPT = 400


@dataclass
class Told:
    """What the events of a run say so far. Fed with each event once, in order."""

    train: list[Point] = field(default_factory=list)
    val: list[Point] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    """The newest ``step`` event."""
    measured: dict[str, Any] = field(default_factory=dict)
    """The newest ``eval`` event."""
    steps: int = 0
    peak: int = 0
    times: list[tuple[float, int]] = field(default_factory=list)
    """``(unix time, step)`` of the last steps of the current process."""
    lines: list[Line] = field(default_factory=list)
    course: Course = field(default_factory=Course)
    findings: list[Finding] = field(default_factory=list)
    """What the events mean, the gravest first."""

    def feed(self, events: Iterable[dict[str, Any]]) -> bool:
        """Take in events; whether there were any."""
        fresh = False
        for event in events:
            fresh = True
            self.course.feed(event)
            try:
                self._one(event)
            except (TypeError, ValueError, KeyError):
                continue  # an event of another version, or a damaged one: the rest still draws
        if fresh:
            self.findings = read_course(self.course)
        return fresh

    def _one(self, event: dict[str, Any]) -> None:
        match event["kind"]:
            case "plan":
                self.steps = int(event.get("steps") or 0)
            case "step":
                step = int(event["step"])
                self._back_to(step)
                self.train.append((step, float(event["loss"])))
                self.last = event
                self.times = [*self.times[-RATE_WINDOW:], (float(event["t"]), step)]
            case "eval":
                step = int(event["step"])
                self.val = [*(p for p in self.val if p[0] < step), (step, float(event["val_loss"]))]
                self.measured = event
            case "memory":
                self.peak = max(self.peak, int(event.get("peak_bytes") or 0))
            case "start" | "resume":
                self.times = []
        if line := event_line(event):
            self.lines = [*self.lines[-EVENTS_KEPT:], line]

    def _back_to(self, step: int) -> None:
        """A resumed run does some steps again: the later account of a step counts."""
        while self.train and self.train[-1][0] >= step:
            self.train.pop()

    @property
    def gap(self) -> float | None:
        gap = self.measured.get("gap")
        return float(gap) if isinstance(gap, int | float) else None

    def remaining(self) -> float | None:
        """Seconds to the last planned step at the rate of the newest steps; None where nothing was measured yet."""
        if len(self.times) < 3 or not self.steps:
            return None
        (began, first), (now, last) = self.times[0], self.times[-1]
        return (now - began) / (last - first) * (self.steps - last) if last > first else None

    def curves(self) -> Curves:
        return Curves(tuple(self.train), tuple(smoothed(self.train)), tuple(self.val), self.steps)


def event_line(event: dict[str, Any]) -> Line:
    """An event as one line with its time; empty for those only the chart needs."""
    from studio.jobs.telling import event_line as in_words

    text = in_words(event)
    if not text:
        return ""
    kind = "warn" if event["kind"] == "warning" else "good" if event["kind"] == "checkpoint" else "plain"
    line: list[Span] = [(time.strftime("%H:%M:%S  ", time.localtime(float(event.get("t", 0)))), "muted"), (one_line(text), kind)]
    if event["kind"] == "eval" and isinstance(event.get("gap"), int | float) and event["gap"] > GAP_ALARM:
        measured, sign, gap = one_line(text).partition("gap ")
        line[1:] = [(measured + sign, "plain"), (gap, "bad")]
    return line


def numbers(told: Told, run: Run, width: int = 160) -> list[Span]:
    """Losses, gap, speed, step size, remaining time, memory: only what was measured. Closer together on a narrow screen."""
    parts: list[list[Span]] = []
    if told.train:
        parts.append([("train ", "muted"), (f"{smoothed(told.train[-200:])[-1][1]:.3f}", "strong")])
    if told.val:
        parts.append([("val ", "muted"), (f"{told.val[-1][1]:.3f}", "strong")])
    if told.gap is not None:
        over = told.gap > GAP_ALARM
        parts.append([("gap ", "muted"), (f"{told.gap:+.1%}" + (" OVER 10 %" if over else ""), "bad" if over else "good")])
    if isinstance(told.measured.get("val_margin"), int | float) and isinstance(told.measured.get("val_accuracy"), int | float):
        parts.append(
            [("pairs won ", "muted"), (f"{told.measured['val_accuracy']:.0%}", "strong"), (f" by {told.measured['val_margin']:+.3f}", "plain")]
        )
    if told.last.get("tokens_per_s"):
        parts.append([(f"{float(told.last['tokens_per_s']):,.0f}", "plain"), (" tok/s", "muted")])
    if isinstance(told.last.get("mfu"), int | float):
        parts.append([("mfu ", "muted"), (f"{float(told.last['mfu']):.0%}", "plain")])
    if told.last.get("learning_rate") is not None:
        parts.append([("lr ", "muted"), (f"{float(told.last['learning_rate']):.1e}", "plain")])
    if run.status.state == RUNNING and (left := told.remaining()) is not None:
        parts.append([("left ", "muted"), (duration(left), "plain")])
    if told.peak:
        parts.append([("memory ", "muted"), (size(told.peak), "plain")])
    line: list[Span] = []
    for part in parts:
        line += [*part, ("   " if width >= 100 else "  ", "plain")]
    return line or [("Nothing measured yet.", "muted")]


FINDING = {"stop": ("✗ ", "bad"), "warn": ("! ", "warn"), "note": ("· ", "muted"), "good": ("✓ ", "good")}


def gravest(findings: list[Finding]) -> list[Span]:
    """The gravest finding, and how many more there are."""
    if not findings:
        return [(" ", "plain")]
    first, more = findings[0], len(findings) - 1
    return [FINDING[first.weight], (first.said, "plain"), (f"   d: what to try{f', {more} more' if more else ''}", "muted")]


def reading_lines(findings: list[Finding]) -> list[Line]:
    """All findings with what to try and where the rule is from."""
    lines: list[Line] = []
    for finding in findings:
        lines += [
            [FINDING[finding.weight], (finding.said, "strong")],
            [("  Try: ", "muted"), (finding.try_next, "plain")],
            [("  Rule: ", "muted"), (f"{finding.rule} ({finding.source})", "muted")],
            "",
        ]
    return lines or [[("There is nothing to read from it yet.", "muted")]]


class RunScreen(RunActions):
    rows_of = "run"
    BINDINGS = with_escape("run")

    def __init__(self, run: Run, log: bool = False) -> None:
        super().__init__()
        self.run_ = run
        self.log_shown = log
        self.told = Told()
        self.reader = EventReader(run.path)
        self.reading = False
        self.log_text = ""

    def body(self) -> ComposeResult:
        yield Static(" ", id="head", classes="line", markup=False)
        yield Static(" ", id="numbers", classes="line", markup=False)
        yield Hung(id="reading", classes="line")
        yield Chart()
        yield Static(" ", id="below", classes="line", markup=False)
        yield Pager(at_end=True)

    def on_mount(self) -> None:
        self.query_one(Pager).styles.height = "45%"
        self.query_one(Pager).focus()
        self.set_interval(0.5, self._read)
        self._draw()

    def refresh_data(self) -> None:
        self._read()

    def _read(self) -> None:
        """What is new in the folder, read in a thread; one at a time."""
        if self.reading or not self.is_current:
            return
        self.reading = True
        reader, path, with_log = self.reader, self.run_.path, self.log_shown

        def read() -> tuple[list[dict[str, Any]], Run, str]:
            return list(reader.read()), control.settle(read_run(path)), control.log_tail(path, LOG_BYTES) if with_log else ""

        self.in_background(read, self._take, self._cannot, quiet=True)

    def _cannot(self, sentence: str) -> None:
        self.query_one("#below", Static).update(content([("✗ ", "bad"), (sentence, "plain")]))
        self.reading = False

    def _take(self, new: tuple[list[dict[str, Any]], Run, str]) -> None:
        events, run, log = new
        self.reading = False
        fresh = self.told.feed(events)
        changed = fresh or run != self.run_ or log != self.log_text
        self.run_, self.log_text = run, log
        if changed or run.status.state == RUNNING:
            self._draw()

    def _draw(self) -> None:
        run, told = self.run_, self.told
        status = run.status
        steps = told.steps or status.steps
        step = max(status.step, int(told.last.get("step", 0)))
        head: list[Span] = [
            (f"{SIGNS.get(status.state, '?')} {run.id} {status.state}", STATE_KINDS.get(status.state, "plain")),
            (f"   from {one_line(run.inputs.parent)}", "muted"),
            (f"   {bar(step, steps)}" if steps else "", "accent"),
            (f"  step {step:,} of {steps:,}" if steps else "", "plain"),
            (f"   {took(run, time.time())}", "muted"),
        ]
        self.query_one("#head", Static).update(content(head))
        self.query_one("#numbers", Static).update(content(numbers(told, run, self.size.width)))
        self.query_one("#reading", Hung).show([gravest(told.findings)])
        self.query_one(Chart).show(told.curves())
        below: Line = [("log", "strong"), ("   l: events", "muted")] if self.log_shown else [("events", "strong"), ("   l: log", "muted")]
        if status.message:
            below = [*below, ("   " + one_line(status.message), STATE_KINDS.get(status.state, "plain"))]
        elif status.state == RUNNING and status.phase:
            below = [*below, (f"   {one_line(status.phase)}", "muted")]
        self.query_one("#below", Static).update(content(below))
        lines: list[Line] = list(told.lines)
        if self.log_shown:
            lines = list(self.log_text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
        nothing = (
            "Waiting in the queue." if status.state == QUEUED else "Nothing has happened yet." if status.state not in ENDED else "It left no events."
        )
        self.query_one(Pager).show(lines or [[(nothing, "muted")]])

    def take_pulse(self, pulse: Pulse) -> None:
        for run in pulse.runs:
            if run.id == self.run_.id:
                self.run_ = run

    def chosen(self) -> Run | None:
        return self.run_

    def action_log(self) -> None:
        self.log_shown = not self.log_shown
        self.log_text = ""
        self._draw()
        self._read()

    def action_reading(self) -> None:
        told = self.told
        self.app.push_screen(ReaderScreen([(f"What the numbers of {self.run_.id} say", "strong")], lambda: reading_lines(told.findings), file=None))

    def action_probes(self) -> None:
        if not self.refused("probes"):
            from studio.tui.screens.probes import ProbesScreen

            reader, course = EventReader(self.run_.path), Course()

            def read() -> list[dict[str, Any]]:
                for event in reader.read():
                    course.feed(event)
                return list(course.probes)

            self.app.push_screen(ProbesScreen(self.run_.id, read))

    def action_save_now(self) -> None:
        run, persona = self.run_, self.persona
        if not self.refused("save_now"):
            said = f"{run.id} saves a state and a checkpoint at the end of its step, and goes on."
            self.in_background(lambda: again.save_now(persona, run.id), lambda _: self.say(said))

    def action_extend(self) -> None:
        run, persona = self.run_, self.persona
        if self.refused("extend"):
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.in_background(lambda: again.extend(persona, run.id), queued)

        def queued(made: Run) -> None:
            self.studio.heart.beat()
            self.say(f"{made.id} is queued" + (f" after {run.id}." if made.inputs.after else f" from {made.inputs.parent}."))

        end = run.status.checkpoints[-1] if run.status.state in ENDED and run.status.checkpoints else f"what {run.id} makes"
        self.app.push_screen(Confirm(f"Train one epoch more, from {end}, with the same recipe?", "queue it"), answered)

    def action_branch(self) -> None:
        if self.refused("branch"):
            return
        from studio.tui.screens.start import StartScreen, shown

        run = self.run_
        settings = tuple(f"{key}={shown(value)}" for key, value, _ in explained(again.recipe_of(run)))
        self.app.push_screen(StartScreen(run.inputs.stage, run.inputs.parent, settings))

    def action_compare(self) -> None:
        if self.refused("compare"):
            return
        run, persona = self.run_, self.persona

        def found(others: list[Run]) -> None:
            choices = [Choice(r.id, r.id, f"{r.inputs.stage} from {r.inputs.parent}, {r.status.state}") for r in reversed(others) if r.id != run.id]
            if not choices:
                self.say("There is no other run to lay over this one.")
                return

            def chosen(key: str | None) -> None:
                if key:
                    from studio.tui.screens.compare import CompareScreen

                    self.app.push_screen(CompareScreen([run, next(r for r in others if r.id == key)]))

            self.app.push_screen(Choose(f"Lay which run over {run.id}?", choices), chosen)

        self.in_background(lambda: [r for r in control.runs(persona) if r.inputs.stage in TRAININGS], found)

    def action_export(self) -> None:
        from studio.seeing.export import export, said

        run = self.run_

        def named(to: str | None) -> None:
            if not to:
                return
            folder = Path(to).expanduser()

            def written(_: list[Path]) -> None:
                title = [(f"The numbers of {run.id}", "strong")]
                self.app.push_screen(ReaderScreen(title, lambda: list(said(run, folder)), file=None))

            self.in_background(lambda: export(run, folder), written)

        if not self.refused("export"):
            self.app.push_screen(Ask("Its numbers for other programs: into which folder?", f"~/{self.persona.root.name}-curves", paths=True), named)

    def why_not(self, action: str) -> str:
        if action == "export" and not (self.told.train or self.told.val):
            return f"{self.run_.id} has measured nothing yet; there is nothing to export."
        if self.studio.readonly and action in ("save_now", "extend", "branch"):
            return "The app was opened to read only."
        if action in ("extend", "branch", "compare") and self.run_.inputs.stage not in TRAININGS:
            return f"{self.run_.id} is no training ({self.run_.inputs.stage})."
        if action == "save_now" and (self.run_.status.state != RUNNING or self.run_.inputs.stage not in TRAININGS):
            return f"{self.run_.id} is {self.run_.status.state}; only a training that runs can save now."
        if action == "extend" and self.run_.status.state in ENDED and not self.run_.status.checkpoints:
            return f"{self.run_.id} made no checkpoint to go on from."
        if action == "probes" and not self.told.course.probes:
            return "No probes were put in this run yet: they are at each evaluation, if the recipe says so and the persona has some."
        return super().why_not(action)

    def action_recipe(self) -> None:
        run = self.run_

        def read() -> list[Line]:
            inputs = (run.path / "inputs.json").read_text(encoding="utf-8", errors="replace")
            return [
                [("recipe.toml", "strong")],
                *run.recipe_text.split("\n"),
                "",
                [("inputs.json", "strong")],
                *inputs.split("\n"),
                "",
                str(run.path),
            ]

        self.app.push_screen(ReaderScreen([(f"What {run.id} really runs with", "strong")], read, file=None))
