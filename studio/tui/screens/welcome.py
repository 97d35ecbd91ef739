"""The start screen: no persona is around, so one is opened or made here."""

from __future__ import annotations

from pathlib import Path

from textual.app import ComposeResult
from textual.widgets import Static

from studio.errors import StudioError
from studio.home import samples
from studio.persona.folder import Persona, create, create_from_sample, slug
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.dialogs import Ask, Choice
from studio.tui.look import content
from studio.tui.screens.persona import other_personas
from studio.tui.table import Column, Row, Table


class WelcomeScreen(StudioScreen):
    rows_of = "welcome"
    BINDINGS = bindings_of("welcome")

    def body(self) -> ComposeResult:
        yield Static(
            content(
                [("A workshop for one character in one small open model.", "strong")],
                "Material in, checkpoints out, and a blind way to judge which one is more her.",
                "",
                [
                    ("n", "accent"),
                    (" new persona   ", "plain"),
                    ("w", "accent"),
                    (" start from the sample   ", "plain"),
                    ("⏎", "accent"),
                    (" open one below", "plain"),
                ],
            ),
            classes="head",
        )
        yield Static("", classes="rule")
        yield Table(
            [Column("persona", 20), Column("base and folder", 0, keep=5)], empty="No persona on this machine yet: press n, or w for the sample."
        )

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def refresh_data(self) -> None:
        self.in_background(other_personas, self._show)

    def _show(self, found: list[Choice]) -> None:
        self.query_one(Table).fill([Row(c.key, (c.label, (c.refused or c.note, "bad" if c.refused else "muted"))) for c in found])

    def why_not(self, action: str) -> str:
        if action == "open" and self.is_mounted and not self.query_one(Table).rows:
            return "There is no persona to open yet: press n to make one, or w for the sample."
        return ""

    def action_open(self) -> None:
        if not self.refused("open") and (key := self.query_one(Table).key):
            self.app.exit(Path(key))

    def action_new(self) -> None:
        def named(name: str | None) -> None:
            if name is not None:
                self.app.push_screen(
                    Ask(
                        f"The base {name.strip()} grows from: pocket (4 M parameters, always there), a model folder, or a hub id (owner/name).",
                        "pocket",
                        hint="Examples: Qwen/Qwen3.5-2B-Base, ~/models/my-base",
                        check=_base_problem,
                    ),
                    lambda base: self._make(name, base),
                )

        self.app.push_screen(Ask("Her name (the folder is made here, in the current folder).", check=_name_problem), named)

    def _make(self, name: str, base: str | None) -> None:
        if base is not None:
            self.in_background(lambda: create(name, base.strip()), self._made)

    def action_sample(self) -> None:
        found = sorted(path.parent for path in samples().glob("*/card.json"))
        if not found:
            self.say("No sample came with this installation.", bad=True)
            return
        self.in_background(lambda: from_sample(found[0], Path.cwd()), self._made)

    def _made(self, persona: Persona) -> None:
        self.app.exit(persona.root)


def from_sample(sample: Path, parent: Path) -> Persona:
    """The sample as a persona of one's own, its lore and dialogue added: ready to build and train."""
    from studio.dialogue.adding import add as add_dialogue
    from studio.lore.sources import add as add_lore

    persona = create_from_sample(sample, parent)
    for folder, add in ((sample / "lore", add_lore), (sample / "dialogue", add_dialogue)):
        if folder.is_dir():
            add(persona, [folder])
    return persona


def _name_problem(name: str) -> str:
    if not name.strip():
        return "A persona needs a name."
    if (Path.cwd() / slug(name)).exists():
        return f"There is a folder {slug(name)} here already; take another name."
    return ""


def _base_problem(base: str) -> str:
    from studio.checkpoints.base import check_base_name

    try:
        check_base_name(base.strip())
    except StudioError as error:
        return str(error)
    return ""
