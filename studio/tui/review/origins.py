"""From a reply to its cause: the training rows that are nearest to it, with what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType

from studio.checkpoints.lineage import dialogue_of
from studio.dialogue.nearest import Near, Nearest
from studio.errors import StudioError
from studio.text import count, one_line
from studio.tui.look import Line, Span
from studio.tui.review.asking import Asking
from studio.tui.review.overlay import Overlay


def near_lines(found: list[Near], of: str) -> list[Line]:
    """Each row with its prompt and reply, what the reply shares with the one asked about marked."""
    if not found:
        return [[(f"No reply in {of} shares anything with this one.", "plain")]]
    lines: list[Line] = [[(f"The rows of {of} whose replies are nearest to this one. ", "strong"), ("What both say is marked.", "muted")]]
    for near in found:
        place = f"{one_line(near.source)}:{near.line}" if near.line else one_line(near.source)
        tags = f" · {', '.join(map(one_line, near.tags))}" if near.tags else ""
        lines += ["", [(near.id, "strong"), (f" · {place} · shares {near.covered:.0%} of what is particular{tags}", "muted")]]
        if near.prompt:
            lines.append([("user: ", "muted"), (near.prompt, "muted")])
        lines.append(_marked(near))
    return lines


def _marked(near: Near) -> list[Span]:
    spans: list[Span] = []
    at = 0
    for start, stop in near.shared:
        spans += [(near.reply[at:start], "plain"), (near.reply[start:stop], "accent")]
        at = stop
    return [*spans, (near.reply[at:], "plain")]


class Origin(Overlay):
    """``look`` reads in a thread; a large dialogue takes it some seconds."""

    key = "o"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "leave", show=False)]

    def __init__(self, look: Callable[[], list[Line]]) -> None:
        super().__init__([[("Looking through the training rows …", "muted")]])
        self.look = look

    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(self._look, thread=True)

    def _look(self) -> None:
        try:
            lines = self.look()
        except StudioError as error:
            lines = [[(str(error), "bad")]]
        self.app.call_from_thread(self.show, lines)


class Origins(Asking):
    sought: tuple[str, Nearest] | None = None
    """The snapshot that was read last; a second question costs a tenth of the first."""

    def action_origin(self) -> None:
        """Of the reply that won, else the one gone to. While the names are hidden the dialogue as it is now is searched for all alike."""
        state = self.state
        number = state.chosen if state.at is None else state.at
        if self.refused("origin") or state.round is None or number is None:
            return
        side = state.round.sides[number]
        blind = state.blind

        def look() -> list[Line]:
            snapshot = "" if blind else dialogue_of(self.persona, side.checkpoint)
            if self.sought is None or self.sought[0] != snapshot or not snapshot:
                self.sought = snapshot, Nearest(self.persona, snapshot)
            found = self.sought[1].find(side.reply)
            rows = snapshot or f"the dialogue as it is ({count(len(self.sought[1].places), 'reply', 'replies')})"
            return near_lines(found, rows)

        self.app.push_screen(Origin(look))
