"""How a new review is held: how many replies side by side, when the names are shown, what goes on after a vote, how replies are drawn."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from studio.tui.look import Line, Span, content


class Manner(NamedTuple):
    panes: int = 2
    reveal: str = "vote"
    talk: str = "shared"
    temperature: float = 0.8
    max_tokens: int = 300


class AskManner(ModalScreen["Manner | None"]):
    """Digits turn a line to its next choice; Enter begins, Escape leaves (None)."""

    DEFAULT_CSS = """
    AskManner { align: center middle; background: $background 60%; }
    AskManner > Vertical { width: 72; max-width: 96%; height: auto; background: $panel; padding: 1 2; }
    AskManner Static { height: auto; }
    AskManner #lines { margin: 1 0; }
    AskManner .hint { color: $foreground 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n), f"turn({n - 1})", show=False) for n in range(1, 6)),
        Binding("enter", "take", show=False),
        Binding("escape,q", "leave", show=False),
    ]

    def __init__(self, checkpoints: int) -> None:
        super().__init__()
        most = min(4, checkpoints)
        self.lines: list[tuple[str, list[tuple[object, str]]]] = [
            ("replies side by side", [(n, str(n)) for n in range(2, most + 1)]),
            ("names are shown", [("vote", "after each vote"), ("end", "only in the ranking")]),
            ("a talk goes on with", [("shared", "the winner, for all"), ("own", "each one's own")]),
            ("temperature", [(t, f"{t:g}") for t in (0.0, 0.3, 0.6, 0.8, 1.0, 1.2)]),
            ("tokens at most", [(n, str(n)) for n in (60, 120, 300, 500)]),
        ]
        # What is not asked for is as ``Manner`` has it.
        self.at = [[value for value, _ in choices].index(usual) for (_, choices), usual in zip(self.lines, Manner(), strict=True)]

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(content([("How is it held?", "strong")]))
            yield Static("", id="lines", markup=False)
            yield Static("1 to 5: change · Enter: begin · Escape: leave", classes="hint", markup=False)

    def on_mount(self) -> None:
        self._draw()

    def _draw(self) -> None:
        shown: list[Line] = []
        for number, (label, choices) in enumerate(self.lines):
            line: list[Span] = [(f"{number + 1} ", "accent"), (label.ljust(24), "muted")]
            for place, (_, word) in enumerate(choices):
                line += [(f"[{word}]" if place == self.at[number] else f" {word} ", "strong" if place == self.at[number] else "muted")]
            shown.append(line)
        self.query_one("#lines", Static).update(content(*shown))

    def action_turn(self, number: int) -> None:
        self.at[number] = (self.at[number] + 1) % len(self.lines[number][1])
        self._draw()

    def action_take(self) -> None:
        chosen = (choices[at][0] for (_, choices), at in zip(self.lines, self.at, strict=True))
        self.dismiss(Manner(*chosen))  # type: ignore[arg-type]

    def action_leave(self) -> None:
        self.dismiss(None)
