"""The two lines of every screen: on top where one is and what runs, below which keys work here."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from studio.jobs.runs import RUNNING
from studio.text import one_line
from studio.tui.actions import actions_of, shown_key
from studio.tui.look import COMPONENTS, KIND_CSS, Span, fit, strip_of

if TYPE_CHECKING:
    from studio.tui.app import StudioApp
    from studio.tui.base import StudioScreen

TABS = ("persona", "lore", "dialogue", "train", "checkpoints", "serve", "review")
SHORT = {"persona": "Pers", "lore": "Lore", "dialogue": "Dial", "train": "Train", "checkpoints": "Ckpt", "serve": "Serve", "review": "Rev"}


class TopBar(Widget):
    """Persona (``…`` before it while something is computed) · tabs, the current one in brackets · the running job · the servers.

    Shorter words where there is less room.
    """

    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = f"TopBar {{ height: 1; dock: top; background: $panel; {KIND_CSS} }}"

    def render_line(self, y: int) -> Strip:
        app = cast("StudioApp", self.app)
        width = self.size.width
        right = indicators(app, short=width < 100)
        room = width - sum(cell_len(text) for text, _ in right) - 1
        name = one_line(app.persona.name) if app.persona else "persona studio"
        current = app.current_mode
        for gap, words, longest in ((2, "full", 24), (1, "full", 16), (1, "full", 8), (1, "short", 12), (1, "short", 8), (1, "digits", 10)):
            shown_name = name if cell_len(name) <= longest else fit(name, longest)
            left: list[Span] = [("…" if app.busy else " ", "muted"), (shown_name, "strong"), ("  ", "plain")]
            if app.persona:
                left += tabs(current, words, " " * gap)
            if sum(cell_len(text) for text, _ in left) <= room:
                break
        used = sum(cell_len(text) for text, _ in left)
        return strip_of(self, [*left, (" " * max(1, room - used), "plain"), *right], width)


def tabs(current: str, words: str, gap: str) -> list[Span]:
    found: list[Span] = []
    for number, mode in enumerate(TABS, 1):
        word = mode.capitalize() if words == "full" or mode == current else SHORT[mode] if words == "short" else ""
        label = f"{number} {word}".rstrip()
        found.append((f"[{label}]", "strong") if mode == current else (label, "muted"))
        found.append((gap, "plain"))
    return found[:-1]


def indicators(app: StudioApp, short: bool) -> list[Span]:
    """``● cpt-1 43%`` for the job, ``▲ 2`` for servers."""
    found: list[Span] = []
    if app.pulse and (run := app.pulse.active):
        share = f" {100 * run.status.step // run.status.steps}%" if run.status.steps else ""
        running = run.status.state == RUNNING
        sign = "●" if running else "○"
        text = f"{sign} {run.id}{share or ('' if running else ' queued')}" if not short else f"{sign}{run.id}{share}"
        found.append((text + " ", "accent"))
    if app.pulse and app.pulse.servers:
        number = len(app.pulse.servers)
        found.append((f"▲{number} " if short else f"▲ {number} serving ", "good"))
    return found


class KeyLine(Widget):
    """The keys of this screen, from the action registry. What cannot be done now is in brackets."""

    COMPONENT_CLASSES = COMPONENTS
    DEFAULT_CSS = f"KeyLine {{ height: 1; dock: bottom; background: $panel; {KIND_CSS} }}"

    def render_line(self, y: int) -> Strip:
        screen = cast("StudioScreen", self.screen)
        width = self.size.width
        own: list[tuple[bool, list[Span]]] = []
        for action in actions_of(screen.rows_of):
            if action.label:
                off = bool(screen.why_not(action.id))
                key = shown_key(action).split("/")[0] if action.keys != "slash" else "/"
                label = f" ({action.label})" if off else f" {action.label}"
                own.append((off, [(key, "muted" if off else "accent"), (label, "muted" if off else "plain")]))
        ends: list[list[Span]] = [[("?", "accent"), (" help", "plain")], [("q", "accent"), (" back", "plain")]]
        tail = [span for end in ends for span in (*end, ("  ", "plain"))][:-1]
        room = width - sum(cell_len(text) for text, _ in tail) - 3
        # Where not all have room, what cannot be done now gives way to what can.
        while sum(_length(parts) for _, parts in own) > room and (last := next((n for n in reversed(range(len(own))) if own[n][0]), -1)) >= 0:
            del own[last]
        left: list[Span] = []
        used = 0
        for _, parts in own:
            length = _length(parts)
            if used + length > room:
                left.append(("…", "muted"))
                used += 1
                break
            left += [*parts, ("  ", "plain")]
            used += length
        return strip_of(self, [(" ", "plain"), *left, (" " * max(1, room - used + 1), "plain"), *tail], width)


def _length(parts: list[Span]) -> int:
    """Cells of a key with its word and the gap behind it."""
    return sum(cell_len(text) for text, _ in parts) + 2
