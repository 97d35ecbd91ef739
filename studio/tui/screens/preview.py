"""A conversation as the model sees it. What is learned from is underlined and coloured, the rest is plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.widgets import Static

from studio.dialogue.preview import Preview, preview_row
from studio.dialogue.store import Row
from studio.tui.actions import bindings_of
from studio.tui.look import Line, Span, content
from studio.tui.pager import Pager
from studio.tui.screens.one_row import OneRow

if TYPE_CHECKING:
    from studio.tui.screens.window import Window


def preview_lines(seen: Preview, tokens: bool) -> list[Line]:
    """The text with its line breaks shown; with ``tokens``, a thin bar between tokens."""
    row: list[Span] = []
    for text, loss in seen.pieces if tokens else seen.spans:
        for number, part in enumerate(text.split("\n")):
            if number:
                row += [("⏎", "rule"), ("\n", "plain")]
            if part:
                row.append((part, "loss" if loss else "plain"))
        if tokens:
            row.append(("│", "rule"))
    return [row]


class PreviewScreen(OneRow[Row]):
    rows_of = "preview"
    BINDINGS = bindings_of("preview")

    def __init__(self, window: Window[Row], index: int) -> None:
        super().__init__(window, index)
        self.seen: Preview | None = None
        self.tokens = False

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Pager([[("Reading …", "muted")]])

    def on_mount(self) -> None:
        self.query_one(Pager).focus()

    def refresh_data(self) -> None:
        from studio.checkpoints.base import require_base

        manifest, window, index = self.persona.manifest, self.window, self.index

        def look() -> Preview:
            return preview_row(require_base(manifest.base), window.row(index), manifest.character.system_prompt)

        self.in_background(look, self._show, self._cannot)

    def _cannot(self, sentence: str) -> None:
        self.seen = None
        self.query_one(Pager).show([[("✗ ", "bad"), (sentence, "plain")]])

    def _show(self, seen: Preview) -> None:
        self.seen = seen
        end = (
            ("and the end of her turn is learned", "plain")
            if seen.end_learned
            else ("but the end of her turn is NOT learned: she would not stop", "bad")
        )
        self.query_one("#summary", Static).update(
            content(
                [
                    (f"{seen.row}  ", "strong"),
                    (f"template {seen.template} · {seen.tokens:,} tokens · {seen.loss_tokens:,} ", "muted"),
                    ("underlined", "loss"),
                    (" are learned from, ", "muted"),
                    end,
                ]
            )
        )
        self.query_one(Pager).show(preview_lines(seen, self.tokens))

    def why_not(self, action: str) -> str:
        if action == "tokens" and self.seen is None:
            return "There are no tokens to show."
        return super().why_not(action)

    def action_tokens(self) -> None:
        if not self.refused("tokens") and self.seen:
            self.tokens = not self.tokens
            self.query_one(Pager).show(preview_lines(self.seen, self.tokens))
