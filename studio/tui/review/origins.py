"""From a reply to its cause: the training rows that are nearest to it, with what they share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType

from studio.checkpoints.lineage import dialogue_of
from studio.dialogue.embedding import Meaning
from studio.dialogue.nearest import Near, Nearest
from studio.errors import StudioError
from studio.progress import Progress
from studio.settings import settings
from studio.text import count, one_line
from studio.tui.dialogs import Ask
from studio.tui.look import Line, Span
from studio.tui.review.asking import Asking
from studio.tui.review.overlay import Overlay

EMBED_HINT = "A folder of a sentence-embedding or language model, or pocket. It runs on this machine; what it made of a reply is kept."


def near_lines(found: list[Near], of: str) -> list[Line]:
    """Each row with its prompt and reply, what the reply shares with the one asked about marked."""
    if not found:
        return [[(f"No reply in {of} shares anything with this one.", "plain")]]
    how = "nearest to this one" if found[0].likeness is None else "nearest to this one in meaning"
    lines: list[Line] = [[(f"The rows of {of} whose replies are {how}. ", "strong"), ("What both say is marked.", "muted")]]
    for near in found:
        place = f"{one_line(near.source)}:{near.line}" if near.line else one_line(near.source)
        tags = f" · {', '.join(map(one_line, near.tags))}" if near.tags else ""
        alike = "" if near.likeness is None else f" · {near.likeness:.2f} alike in meaning"
        lines += ["", [(near.id, "strong"), (f" · {place}{alike} · shares {near.covered:.0%} of what is particular{tags}", "muted")]]
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
    """``look`` reads in a thread, which a large dialogue and a model take some time for; closing it or asking again ends that."""

    key = "o"
    more = " · e: nearest in meaning, by a model"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "leave", show=False), Binding("e", "embed", show=False)]

    def __init__(self, look: Callable[[str, Progress], list[Line]], model: str) -> None:
        """``look`` gets the model (empty: none) and whom to tell how far it is; ``model`` is the one that is offered."""
        super().__init__([])
        self.look, self.model = look, model
        self.unwanted = threading.Event()

    def on_mount(self) -> None:
        super().on_mount()
        self._begin("")

    def on_unmount(self) -> None:
        self.unwanted.set()

    def action_embed(self) -> None:
        def asked(model: str | None) -> None:
            if model and model.strip():
                self.model = model.strip()
                self._begin(self.model)

        self.app.push_screen(Ask("Nearest in meaning by which model?", self.model, EMBED_HINT, paths=True), asked)

    def _begin(self, model: str) -> None:
        self.unwanted.set()
        self.unwanted = unwanted = threading.Event()
        self.show([[("Looking through the training rows …", "muted")]])
        self.run_worker(partial(self._look, model, unwanted), thread=True)

    def _look(self, model: str, unwanted: threading.Event) -> None:
        said = time.monotonic()

        def tell(what: str, done: int, whole: int) -> None:
            nonlocal said
            if unwanted.is_set():
                raise StudioError("No longer wanted.")
            if time.monotonic() - said > 0.2:
                said = time.monotonic()
                share = f": {min(100, 100 * done // whole)} %" if whole else ""
                self.app.call_from_thread(self._show, unwanted, [[(f"{what}{share}", "muted")]])

        try:
            lines = self.look(model, tell)
        except StudioError as error:
            lines = [[(str(error), "bad")]]
        self.app.call_from_thread(self._show, unwanted, lines)

    def _show(self, unwanted: threading.Event, lines: list[Line]) -> None:
        if not unwanted.is_set():
            self.show(lines)


class Origins(Asking):
    sought: tuple[tuple[str, str], Nearest] | None = None
    """The snapshot and the model of what was read last; a second question costs a tenth of the first."""

    def action_origin(self) -> None:
        """Of the reply that won, else the one gone to. While the names are hidden the dialogue as it is now is searched for all alike."""
        state = self.state
        number = state.chosen if state.at is None else state.at
        if self.refused("origin") or state.round is None or number is None:
            return
        side = state.round.sides[number]
        blind = state.blind

        def look(model: str, progress: Progress) -> list[Line]:
            snapshot = "" if blind else dialogue_of(self.persona, side.checkpoint)
            if self.sought is None or self.sought[0] != (snapshot, model) or not snapshot:
                meaning = Meaning(self.persona, model) if model else None
                self.sought = (snapshot, model), Nearest(self.persona, snapshot, progress, meaning, [side.reply])
            found = self.sought[1].find(side.reply)
            rows = snapshot or f"the dialogue as it is ({count(len(self.sought[1].places), 'reply', 'replies')})"
            return near_lines(found, rows)

        try:
            model = self.sought[0][1] if self.sought and self.sought[0][1] else settings().nearest.model
        except StudioError as error:
            self.say(str(error))
            return
        self.app.push_screen(Origin(look, model))
