"""Screen 4: every run with its state, the newest on top."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.widgets import Static

from studio.jobs import control
from studio.jobs.runs import AGAIN, CANCELLED, DONE, ENDED, FAILED, INTERRUPTED, PAUSED, QUEUED, RUNNING, SKIPPED, Run
from studio.persona.folder import Persona
from studio.text import count, duration, one_line
from studio.tui.actions import bindings_of
from studio.tui.dialogs import Confirm
from studio.tui.look import ago, content
from studio.tui.pulse import Pulse
from studio.tui.screens.queued import CHANGES, QueueActions
from studio.tui.table import Column, Row, Table

SIGNS = {QUEUED: "○", RUNNING: "●", DONE: "✓", FAILED: "✗", CANCELLED: "–", INTERRUPTED: "!", PAUSED: "=", SKIPPED: "·"}
STATE_KINDS = {
    QUEUED: "muted",
    RUNNING: "accent",
    DONE: "good",
    FAILED: "bad",
    CANCELLED: "muted",
    INTERRUPTED: "warn",
    PAUSED: "warn",
    SKIPPED: "muted",
}


def bar(step: int, steps: int, width: int = 10) -> str:
    """``████▌·····  43%``; empty where no steps are planned."""
    if not steps:
        return ""
    eighths = round(8 * width * min(step / steps, 1))
    full, part = divmod(eighths, 8)
    drawn = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return f"{drawn:·<{width}} {100 * step // steps:>3}%"


def took(run: Run, now: float) -> str:
    if not run.status.started:
        return ""
    # A clock that was set back meanwhile makes no negative times.
    return duration(max(0.0, (run.status.ended if run.status.state in ENDED and run.status.ended else now) - run.status.started))


def why_not_retry(run: Run | None) -> str:
    if run is None:
        return "There is no run yet: c starts one on the lore, s one on the dialogue."
    if run.status.state not in AGAIN:
        return f"{run.id} is {run.status.state}; only failed, cancelled, interrupted and skipped runs are tried again."
    return ""


def why_not_cancel(run: Run | None) -> str:
    if run is None:
        return "There is no run to cancel."
    return f"{run.id} is {run.status.state} already; there is nothing to cancel." if run.status.state in ENDED else ""


def freeze_pairs(persona: Persona) -> str:
    """Bring the pairs up to date with the votes and freeze them; what came of it, in a sentence."""
    from studio.preference.build import build
    from studio.preference.checks import check
    from studio.preference.pairs import update

    told = update(persona)
    snapshot = build(persona)
    faults = check(persona)
    wrong = f" {count(len(faults), 'fault')} in them: studio preference check." if faults else ""
    made = f"{count(told.new, 'new pair')}, {told.rows:,} in all; {snapshot.train_rows:,} to train on, {snapshot.val_rows:,} held out."
    return made + wrong


class RunActions(QueueActions):
    """Retry, cancel and the queue, for the list and for one run."""

    def why_not(self, action: str) -> str:
        if self.studio.readonly and (action in CHANGES or action == "pairs" or action.startswith("start_")):
            return "The app was opened to read only."
        if action == "retry":
            return why_not_retry(self.chosen())
        if action == "cancel":
            return why_not_cancel(self.chosen())
        return self.why_not_queue(action)

    def action_retry(self) -> None:
        run, persona = self.chosen(), self.persona
        if not self.refused("retry") and run:
            self.in_background(lambda: control.retry(persona, run.id), self._changed)

    def action_cancel(self) -> None:
        run, persona = self.chosen(), self.persona
        if self.refused("cancel") or run is None:
            return
        question = f"Stop {run.id}? It saves its state first, so that r can go on from there later."
        if run.status.state in (QUEUED, PAUSED):
            question = f"Take {run.id} off the queue?"

        def answered(yes: bool | None) -> None:
            if yes:
                self.in_background(lambda: control.cancel(persona, run.id), self._changed)

        self.app.push_screen(Confirm(question, "stop it"), answered)

    def _changed(self, run: Run) -> None:
        ended = run.status.state in ENDED
        self.say(f"{run.id} is {run.status.state}." if ended or run.status.state == QUEUED else f"{run.id} was asked to save and stop.")
        self.studio.heart.beat()


class TrainScreen(RunActions):
    rows_of = "train"
    BINDINGS = bindings_of("train")

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, Run] = {}
        self.marked: list[str] = []
        """Runs to be laid over one another, in the order they were marked."""

    def body(self) -> ComposeResult:
        yield Table(
            [
                Column("run", 12),
                Column("state", 13),
                Column("progress", 16, keep=7),
                Column("from", 14, keep=4),
                Column("took", 13, right=True, keep=5),
                Column("made", 7, right=True, keep=6),
                Column("phase, result or reason", 0, keep=3, least=10),
            ],
            empty="Nothing has been trained yet: c trains on the lore, s on the dialogue.",
        )
        yield Static(" ", id="message", classes="line", markup=False)

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        if self.is_current and any(run.status.state == RUNNING for run in self.runs.values()):
            self._fill()

    def take_pulse(self, pulse: Pulse) -> None:
        self.runs = {run.id: run for run in reversed(pulse.runs)}
        self._fill()

    def _fill(self) -> None:
        now = time.time()
        rows = []
        for run in self.runs.values():
            status = run.status
            what = status.message or (status.phase if status.state == RUNNING else ", ".join(status.checkpoints))
            rows.append(
                Row(
                    run.id,
                    (
                        f"{'▪ ' if run.id in self.marked else ''}{run.id}",
                        (f"{SIGNS.get(status.state, '?')} {status.state}", STATE_KINDS.get(status.state, "plain")),
                        (bar(status.step, status.steps), "accent" if status.state == RUNNING else "muted"),
                        run.inputs.parent,
                        took(run, now),
                        ago(max(0.0, now - status.created)),
                        (what, "muted"),
                    ),
                )
            )
        self.query_one(Table).fill(rows)
        self._explain()

    def on_table_moved(self) -> None:
        self._explain()
        self.redraw_keys()

    def _explain(self) -> None:
        run = self.chosen()
        text = " "
        if run:
            text = run.status.message or (run.status.phase if run.status.state == RUNNING else "")
            made = f"made {', '.join(run.status.checkpoints)}" if run.status.checkpoints else ""
            text = " · ".join(one_line(part) for part in (text, made, f"reads {run.inputs.snapshot}" if run.inputs.snapshot else "") if part) or " "
        self.query_one("#message", Static).update(content([(text, "muted")]))

    def chosen(self) -> Run | None:
        key = self.query_one(Table).key if self.is_mounted else None
        return self.runs.get(key) if key else None

    def why_not(self, action: str) -> str:
        if action == "compare" and len([name for name in self.marked if name in self.runs]) < 2:
            return "Mark two runs or more with space first."
        if action in ("follow", "log", "mark") and self.chosen() is None:
            return "There is no run yet: c starts one on the lore, s one on the dialogue."
        return super().why_not(action)

    def action_mark(self) -> None:
        if (run := self.chosen()) and not self.refused("mark"):
            self.marked = [name for name in self.marked if name != run.id] if run.id in self.marked else [*self.marked, run.id]
            self._fill()

    def action_compare(self) -> None:
        if not self.refused("compare"):
            from studio.tui.screens.compare import CompareScreen

            self.app.push_screen(CompareScreen([self.runs[name] for name in self.marked if name in self.runs]))

    def _start(self, stage: str) -> None:
        if not self.refused(f"start_{stage}"):
            from studio.tui.screens.start import StartScreen

            self.app.push_screen(StartScreen(stage))

    def action_start_cpt(self) -> None:
        self._start("cpt")

    def action_start_sft(self) -> None:
        self._start("sft")

    def action_start_dpo(self) -> None:
        self._start("dpo")

    def action_start_orpo(self) -> None:
        self._start("orpo")

    def action_pairs(self) -> None:
        persona = self.persona
        if not self.refused("pairs"):
            self.in_background(lambda: freeze_pairs(persona), self.say)

    def action_follow(self, log: bool = False) -> None:
        run = self.chosen()
        if not self.refused("follow") and run:
            from studio.tui.screens.run import RunScreen

            self.app.push_screen(RunScreen(run, log))

    def action_log(self) -> None:
        self.action_follow(log=True)
