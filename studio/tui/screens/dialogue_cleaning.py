"""Personal data in the dialogue: chosen kind by kind, looked at place by place, then replaced in all rows; one step that can be undone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.widgets import Static

from studio.dialogue.checks import load_settings, save_settings
from studio.dialogue.cleaning import Example, Plan, carry_out, plan, pseudonyms_path
from studio.dialogue.editing import Editor
from studio.dialogue.privacy import KINDS, Pseudonyms
from studio.text import count
from studio.tui.actions import bindings_of
from studio.tui.dialogs import Ask, Confirm
from studio.tui.look import Line, content
from studio.tui.screens.reader import ReaderScreen
from studio.tui.screens.stoppable import OverDialogue
from studio.tui.table import Column, Row, Table

if TYPE_CHECKING:
    from studio.tui.screens.dialogue import DialogueScreen

LEAD = 8
"""Characters shown before what is replaced."""

WHAT = {
    "mail": "mail addresses",
    "phone": "phone numbers that can exist",
    "ip": "IP addresses",
    "card": "payment card numbers, by their check digit",
    "iban": "bank accounts, by their check digits",
    "name": "names of your own list: n",
}


class PrivacyScreen(OverDialogue):
    rows_of = "dialogue-cleaning"
    BINDINGS = bindings_of("dialogue-cleaning")
    DEFAULT_CSS = """
    PrivacyScreen #kinds { height: 7; }
    PrivacyScreen #places { height: 1fr; margin-top: 1; }
    PrivacyScreen Table:blur > .kind--cursor { background: transparent; }
    """

    def __init__(self, over: DialogueScreen) -> None:
        super().__init__(over)
        self.names: list[str] = []
        self.kinds = {kind for kind in KINDS if kind != "name"}
        self.pseudonyms = False
        self.made: tuple[Plan, Pseudonyms] | None = None
        self.begun = False
        self.last = ""
        """What undo would take back."""

    def body(self) -> ComposeResult:
        yield Static(" ", id="summary", classes="line", markup=False)
        yield Table([Column("", 1), Column("kind", 8), Column("places", 8, right=True), Column("what it is", 0, least=20)], id="kinds")
        yield Table([Column("row", 22), Column("before", 0, least=20), Column("after", 0, least=20)], id="places", empty="Looking …")

    def on_mount(self) -> None:
        self.query_one("#kinds", Table).focus()
        self._fill_kinds()

    def refresh_data(self) -> None:
        if not self.begun:
            self.begun = True
            self._begin()

    def _begin(self) -> None:
        persona = self.persona

        def read(names: list[str]) -> None:
            self.names = names
            self.kinds = self.kinds | {"name"} if names else self.kinds - {"name"}
            self._plan()

        self.in_background(lambda: load_settings(persona).names, read)

    def read_again(self) -> None:
        self._plan()

    def _plan(self) -> None:
        """Look through all rows for what is switched on; nothing is changed."""
        persona, pseudonyms, index = self.persona, self.pseudonyms, self.over.index
        kinds = [kind for kind in KINDS if kind in self.kinds]
        self.made, self.working = None, True
        places = self.query_one("#places", Table)
        places.empty = "Looking …"
        places.fill([])
        self._fill_kinds()

        def look() -> tuple[tuple[Plan, Pseudonyms], str]:
            return plan(persona, kinds, pseudonyms, progress=self.progress), Editor(persona, index).last()

        self.in_background(look, self._planned, self._failed)

    def _failed(self, sentence: str) -> None:
        self.working = False
        self.query_one("#places", Table).say("Not looked through: r looks again.")
        self.query_one("#summary", Static).update(" ")
        self.say(sentence, bad=True)

    def _planned(self, found: tuple[tuple[Plan, Pseudonyms], str]) -> None:
        self.working = False
        self.made, self.last = found
        made = self.made[0]
        places = self.query_one("#places", Table)
        places.empty = "There is none of these kinds in any row."
        places.fill([Row(str(n), ((told(one), "accent"), *excerpts(one))) for n, one in enumerate(made.examples)])
        self._fill_kinds()
        how = "pseudonyms" if self.pseudonyms else "marks such as [mail]"
        if made.texts:
            number = sum(made.replaced.values())
            line: Line = [(f"{count(number, 'place')} in {count(len(made.texts), 'row')} would become {how}; nothing is changed yet", "plain")]
        else:
            line = [("✓ ", "good"), (f"none found in {count(made.read, 'row')}", "muted")]
        self.query_one("#summary", Static).update(content(line))

    def _fill_kinds(self) -> None:
        rows = []
        for kind in KINDS:
            on = kind in self.kinds
            number = self.made[0].replaced[kind] if self.made else 0
            shown = f"{number:,}" if self.made and on else ""
            colour = "plain" if on else "muted"
            what = f"{count(len(self.names), 'name')} of your own list" if kind == "name" and self.names else WHAT[kind]
            rows.append(Row(kind, (("✓", "good") if on else " ", (kind, colour), (shown, "warn" if number else "muted"), (what, colour))))
        self.query_one("#kinds", Table).fill(rows)
        self.redraw_keys()

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in ("apply", "undo", "names"):
            return "The app was opened to read only."
        if self.working and action in ("apply", "undo", "names", "toggle_kind", "way", "again"):
            return "The rows are being gone through: Escape stops it."
        if action == "apply" and (self.made is None or not self.made[0].texts):
            return "There is nothing to replace." if self.made else "The rows were not looked through: r does it."
        if action == "read" and (self.made is None or not self.made[0].examples):
            return "There is no place to look at."
        if action == "undo" and not self.last:
            return "There is nothing to undo."
        return ""

    def action_toggle_kind(self) -> None:
        if self.refused("toggle_kind"):
            return
        kind = self.query_one("#kinds", Table).key or ""
        if kind == "name" and not self.names:
            self.say("There are no names to look for yet: n takes them.")
            return
        self.kinds ^= {kind}
        self._plan()

    def action_way(self) -> None:
        if not self.refused("way"):
            self.pseudonyms = not self.pseudonyms
            self._plan()

    def action_names(self) -> None:
        if self.refused("names"):
            return
        persona = self.persona

        def asked(text: str | None) -> None:
            if text is None:
                return
            names = [name.strip() for name in text.split(",") if name.strip()]

            def save() -> None:
                settings = load_settings(persona)
                settings.names = names
                save_settings(persona, settings)

            self.in_background(save, lambda _: self._begin())

        hint = "A comma between names; Tom = Robin says what Tom shall be called. Their endings in English, German and Hungarian are known."
        self.app.push_screen(Ask("Names that are not to be in the dialogue", ", ".join(self.names), hint=hint), asked)

    def action_switch(self) -> None:
        kinds, places = self.query_one("#kinds", Table), self.query_one("#places", Table)
        (places if kinds.has_focus else kinds).focus()

    def action_again(self) -> None:
        if not self.refused("again"):
            self._plan()

    def action_read(self) -> None:
        if not self.refused("read") and self.made:
            one = self.made[0].examples[self.query_one("#places", Table).cursor]
            self.app.push_screen(ReaderScreen([(told(one), "strong")], lambda: example_lines(one)))

    def action_apply(self) -> None:
        if self.refused("apply") or self.made is None:
            return
        persona, (made, stand_ins) = self.persona, self.made
        writing = partial(self.told, more="   (being written)")

        def replace() -> list[str]:
            return carry_out(persona, made, stand_ins, writing)

        def answered(yes: bool | None) -> None:
            if yes:
                self.work(replace, lambda steps: self.say(f"{'; '.join(steps)}. u takes it back."))

        kinds = ", ".join(f"{number:,} {kind}" for kind, number in made.replaced.items())
        key = f" Who is who is kept in {pseudonyms_path(persona)}; delete it, and nobody can tell any more." if self.pseudonyms else ""
        question = (
            f"Replace {kinds} in {count(len(made.texts), 'row')}? u takes it back. The originals in sources/ and the steps to undo "
            f"still hold the old words.{key}"
        )
        self.app.push_screen(Confirm(question, "replace"), answered)


def told(one: Example) -> str:
    return f"{one.id} turn {one.message + 1}"


def excerpts(one: Example) -> tuple[str, str]:
    """Before and after from shortly before they differ, so that a narrow column shows what changes."""
    shared = next((n for n, (old, new) in enumerate(zip(one.before, one.after, strict=False)) if old != new), 0)
    start = max(0, shared - LEAD)
    return ("…" + one.before[start:], "…" + one.after[start:]) if start else (one.before, one.after)


def example_lines(one: Example) -> list[Line]:
    return [[("before", "muted")], [("− ", "bad"), (one.before, "plain")], "", [("after", "muted")], [("+ ", "good"), (one.after, "plain")]]
