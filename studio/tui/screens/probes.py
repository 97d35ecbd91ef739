"""Step by prompt: what the model said to each probe at each evaluation of a run. Left and right go through time, up and down through prompts."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.widgets import Static

from studio.seeing.course import Event
from studio.seeing.probed import NUMBERS, answer, numbers, prompts
from studio.text import one_line
from studio.tui.base import StudioScreen, with_escape
from studio.tui.look import Line, Span, content
from studio.tui.pager import Pager


class ProbesScreen(StudioScreen):
    """``read`` gives the ``probes`` events so far; it is asked again while the screen is open."""

    rows_of = "probes"
    BINDINGS = with_escape("probes")

    def __init__(self, run: str, read: Callable[[], list[Event]]) -> None:
        super().__init__()
        self.run_id, self.read = run, read
        self.events: list[Event] = read()
        self.step = len(self.events) - 1
        self.prompt = 0

    def body(self) -> ComposeResult:
        yield Static(" ", id="head", classes="line", markup=False)
        yield Static(" ", id="numbers", classes="line", markup=False)
        yield Pager()

    def on_mount(self) -> None:
        self.query_one(Pager).focus()
        self.set_interval(1.0, self._again)
        self._draw()

    def _again(self) -> None:
        """A new evaluation: whoever looks at the newest one is taken along."""
        events = self.read()
        if events != self.events:
            newest = self.step == len(self.events) - 1
            self.events = events
            self.step = len(events) - 1 if newest else min(self.step, len(events) - 1)
            self._draw()

    def _draw(self) -> None:
        asked = prompts(self.events)
        event = self.events[self.step] if self.events else {}
        head: list[Span] = [(f"{self.run_id}  ", "strong")]
        for number, each in enumerate(self.events):
            head.append((f"[{each['step']}]" if number == self.step else f" {each['step']} ", "accent" if number == self.step else "muted"))
        self.query_one("#head", Static).update(content(head))
        told = [(name, value) for name, value in zip(NUMBERS, numbers(event), strict=True) if value] if event else []
        self.query_one("#numbers", Static).update(
            content([span for name, value in told for span in ((f"{name} ", "muted"), (f"{value}   ", "plain"))] or " ")
        )
        lines: list[Line] = []
        if asked and event:
            self.prompt %= len(asked)
            identity, prompt = asked[self.prompt]
            lines = [
                [(f"{self.prompt + 1} of {len(asked)}  {one_line(identity)}", "muted")],
                [(prompt, "strong")],
                "",
                *(answer(event, identity) or "(not put at this step)").split("\n"),
            ]
            before = answer(self.events[self.step - 1], identity) if self.step else ""
            if before:
                lines += [
                    "",
                    [(f"before, at step {self.events[self.step - 1]['step']}", "muted")],
                    *([(part, "muted")] for part in before.split("\n")),
                ]
        self.query_one(Pager).show(lines or [[("No probes were put yet: they are at each evaluation.", "muted")]])
        self.redraw_keys()

    def why_not(self, action: str) -> str:
        if action == "earlier" and self.step <= 0:
            return "This is the first evaluation."
        if action == "later" and self.step + 1 >= len(self.events):
            return "This is the last evaluation so far."
        if action in ("next_prompt", "previous_prompt") and len(prompts(self.events)) < 2:
            return "There is no other probe."
        return ""

    def _go(self, action: str, steps: int = 0, prompts_: int = 0) -> None:
        if not self.refused(action):
            self.step += steps
            self.prompt += prompts_
            self._draw()

    def action_earlier(self) -> None:
        self._go("earlier", steps=-1)

    def action_later(self) -> None:
        self._go("later", steps=1)

    def action_next_prompt(self) -> None:
        self._go("next_prompt", prompts_=1)

    def action_previous_prompt(self) -> None:
        self._go("previous_prompt", prompts_=-1)
