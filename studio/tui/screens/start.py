"""Before a training: what it would read, do and need, and every value of its recipe in plain words."""

from __future__ import annotations

from typing import Any

import msgspec
from textual.app import ComposeResult
from textual.widgets import Static

from studio import benching, chain, forecast, planning, readiness
from studio.checkpoints.base import require_base
from studio.checkpoints.store import Checkpoint, all_checkpoints
from studio.errors import StudioError
from studio.jobs import executors
from studio.jobs.runs import Run
from studio.recipes.files import explained, resolve
from studio.recipes.schema import Cpt, Preference, Recipe, Sft
from studio.text import count, size
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.dialogs import Ask, Choice, Choose
from studio.tui.look import Line, Span, content, short_path
from studio.tui.pager import Hung
from studio.tui.table import Column, Row, Table

NAMES = {
    "cpt": "Continued pre-training on the lore",
    "sft": "Fine-tuning on the dialogue",
    "dpo": "Preference (DPO) on the pairs from votes",
    "orpo": "Preference (ORPO) on the pairs from votes",
    "quantize": "Quantizing",
}


def shown(value: Any) -> str:
    """A recipe value as the person would type it."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def plan_lines(planned: forecast.Plan) -> list[Line]:
    """The plan in three lines of numbers, then its warnings."""

    def known(value: int | None, what: str) -> str:
        return count(value, what) if value is not None else f"{what}s unknown"

    reads: list[Span] = [
        ("reads   ", "muted"),
        (planned.snapshot or "nothing", "plain"),
        (f"  {count(planned.rows, 'row')}, {known(planned.tokens, 'token')}", "plain"),
    ]
    does: list[Span] = [("does    ", "muted"), (known(planned.steps, "step"), "strong")]
    if planned.sequences is not None:
        does.append((f"  {count(planned.sequences, 'sequence')} an epoch", "plain"))
    if planned.trainable:
        does.append((f"  trains {_millions(planned.trainable)} of {_millions(planned.parameters)} parameters", "plain"))
    parts = ", ".join(f"{name} {size(value)}" for name, value in planned.memory.items() if name != "total")
    needs: list[Span] = [("needs   ", "muted"), (f"about {size(planned.memory.get('total', 0))} of memory", "strong"), (f" ({parts})", "muted")]
    disk: list[Span] = [("        ", "muted"), (f"{size(planned.disk)} of disk, {size(planned.disk_free)} are free", "plain")]
    if planned.seconds:
        disk.append((f"; takes {forecast.time_said(planned)}", "plain"))
    else:
        tried = "" if planned.stage == "quantize" else "; m tries a few steps"
        disk.append((f"; time: not known before a first run{tried}", "muted"))
    if planned.stage == "quantize":
        does = [("does    ", "muted"), (planned.notes[0], "strong")]
    notes: list[Line] = [[("        ", "muted"), (note, "plain")] for note in planned.notes[planned.stage == "quantize" :]]
    return [reads, does, needs, disk, *notes, *([("! ", "warn"), (warning, "warn")] for warning in planned.warnings)]


def _millions(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


class StartScreen(StudioScreen):
    rows_of = "start"
    BINDINGS = bindings_of("start")

    def __init__(self, stage: str, parent: str = "", settings: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.settings = settings
        """``key=value`` chosen on the way here, over the persona's own recipe."""
        self.stage = stage
        self.parent_id = parent
        self.recipe: Recipe | None = None
        self.from_file: Recipe | None = None
        self.words: dict[str, str] = {}
        self.problem = "The plan is being computed."
        """Why it cannot be started now; empty once there is a plan."""
        self.following: list[str] = []
        """Stages that are queued behind it."""
        self.place = ""
        """Where it is executed; empty: as ``config.toml`` says."""
        self.ticket = 0
        self.starting = self.measuring = False
        self.change: planning.Change | None = None
        """What makes it fit, where it does not."""

    def body(self) -> ComposeResult:
        yield Static(content([(NAMES[self.stage], "strong")]), id="head", classes="line", markup=False)
        yield Hung([[("Planning …", "muted")]], id="plan", classes="line")
        yield Static(" ", classes="line")
        yield Table([Column("recipe", 22), Column("value", 14), Column("what it does", 0, keep=5, least=20)])
        yield Static(" ", id="words", classes="line", markup=False)

    def on_mount(self) -> None:
        self.query_one("#words").styles.height = 2
        self.query_one(Table).focus()
        persona, stage, settings = self.persona, self.stage, self.settings

        def read() -> tuple[Recipe, str]:
            return resolve(persona, stage, None, settings), self.parent_id or readiness.default_parent(persona, stage)

        self.in_background(read, self._begin, self._refuse)

    def refresh_data(self) -> None:
        if self.recipe is not None:
            self._plan()

    def _begin(self, read: tuple[Recipe, str]) -> None:
        self.recipe, self.parent_id = read
        self.from_file = self.recipe
        self._fill()
        self._plan()

    def _refuse(self, sentence: str) -> None:
        self.problem = sentence
        self.query_one("#plan", Hung).show([[("✗ ", "bad"), (sentence, "plain")]])

    def _fill(self) -> None:
        if self.recipe is None or self.from_file is None:
            return
        rows = []
        for key, value, words in explained(self.recipe):
            self.words[key] = words
            changed = value != getattr(self.from_file, key)
            rows.append(Row(key, (key, (f"{shown(value)}{' *' if changed else ''}", "accent" if changed else "strong"), (words, "muted"))))
        self.query_one(Table).fill(rows)
        self.query_one("#head", Static).update(
            content([(NAMES[self.stage], "strong"), (f"   starts from {self.parent_id}{self._besides()}", "plain"), ("   * changed here", "muted")])
        )

    def _besides(self) -> str:
        """What follows it, and where it goes, if that was chosen."""
        then = f"   then {', '.join(self.following)}" if self.following else ""
        return then + (f"   on {self.place}" if self.place else "")

    def _plan(self) -> None:
        self.ticket += 1
        ticket, persona, stage, recipe, parent = self.ticket, self.persona, self.stage, self.recipe, self.parent_id
        assert recipe is not None
        self.problem = "The plan is being computed."

        def planned(plan: forecast.Plan) -> None:
            if ticket == self.ticket:
                self.problem = ""
                self.change = plan.change
                self.redraw_keys()
                self.query_one("#plan", Hung).show(plan_lines(plan))

        def refused(sentence: str) -> None:
            if ticket == self.ticket:
                self._refuse(sentence)

        self.in_background(lambda: forecast.plan(persona, stage, recipe, parent), planned, refused)

    def on_table_moved(self) -> None:
        key = self.query_one(Table).key or ""
        self.query_one("#words", Static).update(content([(self.words.get(key, " "), "muted")]))
        self.redraw_keys()

    def why_not(self, action: str) -> str:
        if action == "start":
            if self.studio.readonly:
                return "The app was opened to read only."
            return "It is being queued already." if self.starting else self.problem
        if action == "measure":
            if self.stage == "quantize":
                return "Only trainings are measured ahead."
            return "It is being measured." if self.measuring else self.problem
        if action == "fit" and self.change is None:
            return "It fits as it is."
        if action == "card" and not isinstance(self.recipe, Cpt | Sft | Preference):
            return "There are presets for trainings only."
        if action in ("edit", "default", "after") and self.recipe is None:
            return "The recipe is not read yet."
        if action == "default" and self.recipe is not None and self.is_mounted and (key := self.query_one(Table).key):
            return f"{key} stands where the recipe has it." if getattr(self.recipe, key) == getattr(self.from_file, key) else ""
        return ""

    def _changed(self, key: str, text: str) -> Recipe:
        """The recipe with one value changed; StudioError if the value is not allowed."""
        assert self.recipe is not None
        values = {k: v for k, v, _ in explained(self.recipe)}
        settings = [f"{k}={shown(v)}" for k, v in values.items() if k != key]
        return resolve(self.persona, self.stage, None, [*settings, f"{key}={text}"])

    def action_edit(self) -> None:
        key = self.query_one(Table).key
        if self.refused("edit") or not key:
            return

        def check(text: str) -> str:
            try:
                self._changed(key, text)
            except StudioError as error:
                return str(error).removeprefix("--set: ")
            return ""

        def asked(text: str | None) -> None:
            if text is not None:
                self.recipe = self._changed(key, text)
                self._fill()
                self._plan()

        self.app.push_screen(Ask([(key, "strong"), (f"   {self.words.get(key, '')}", "plain")], shown(getattr(self.recipe, key)), check=check), asked)

    def action_default(self) -> None:
        key = self.query_one(Table).key
        if not self.refused("default") and key and self.recipe is not None:
            self.recipe = msgspec.structs.replace(self.recipe, **{key: getattr(self.from_file, key)})
            self._fill()
            self._plan()

    def action_card(self) -> None:
        recipe, persona = self.recipe, self.persona
        if self.refused("card") or not isinstance(recipe, Cpt | Sft | Preference):
            return

        def made() -> list[planning.Preset]:
            shape = planning.shape_of(require_base(persona.manifest.base))
            return [planning.preset(recipe, shape, card) for card in planning.CARDS]

        def chosen(presets: list[planning.Preset]) -> None:
            by_size = {str(each.card): each for each in presets}

            def take(key: str | None) -> None:
                if key:
                    self.recipe = msgspec.structs.replace(recipe, **by_size[key].settings)
                    self._fill()
                    self._plan()

            choices = [
                Choice(
                    str(each.card),
                    f"{each.card} GB",
                    f"about {size(each.bytes)}: " + (", ".join(f"{k} = {shown(v)}" for k, v in each.settings.items()) or "as it is"),
                    "" if each.fits else f"does not fit, it wants {size(each.bytes)}",
                )
                for each in presets
            ]
            self.app.push_screen(Choose("What suits a card of which size?", choices, width=8), take)

        self.in_background(made, chosen)

    def action_fit(self) -> None:
        if not self.refused("fit") and self.change is not None and self.recipe is not None:
            self.recipe = msgspec.structs.replace(self.recipe, **self.change.settings)
            self._fill()
            self._plan()

    def action_measure(self) -> None:
        if self.refused("measure") or self.recipe is None:
            return
        persona, stage, recipe, parent = self.persona, self.stage, self.recipe, self.parent_id
        self.measuring = True
        self.say("A few steps are tried on made-up rows; the plan tells the time then.")

        def measured(rate: benching.Probed) -> None:
            self.measuring = False
            self.say(f"{rate.tokens_per_s:,.0f} tokens/s, the median of {rate.steps} steps on {rate.device}.")
            self._plan()

        def failed(sentence: str) -> None:
            self.measuring = False
            self.say(sentence, bad=True)

        self.in_background(lambda: forecast.measure(persona, stage, recipe, parent), measured, failed)

    def action_parent(self) -> None:
        persona = self.persona
        self.in_background(lambda: all_checkpoints(persona), self._choose_parent)

    def _choose_parent(self, found: list[Checkpoint]) -> None:
        def refusal(c: Checkpoint) -> str:
            if c.scheme:
                return f"quantized ({c.scheme}): training cannot start from it"
            return "an adapter: CPT starts from full weights" if self.stage == "cpt" and c.kind == "adapter" else ""

        def chosen(key: str | None) -> None:
            if key:
                self.parent_id = key
                self._fill()
                self._plan()

        choices = [Choice(c.id, c.id, short_path(c.name) if c.stage == "base" else f"{c.stage} of {c.parent}", refusal(c)) for c in found]
        self.app.push_screen(Choose("Start from which checkpoint?", choices, self.parent_id), chosen)

    def action_after(self) -> None:
        if self.refused("after") or self.recipe is None:
            return
        persona, first = self.persona, chain.Link(self.stage, self.recipe)

        def check(text: str) -> str:
            try:
                chain.links(persona, first, text.replace(",", " ").split(), [])
            except StudioError as error:
                return str(error).removeprefix("--then ")
            return ""

        def asked(text: str | None) -> None:
            if text is not None:
                self.following = text.replace(",", " ").split()
                self._fill()

        hint = f"Of {', '.join(chain.LINKS)}; none: leave it empty. Each goes by the persona's own recipe."
        self.app.push_screen(Ask([(f"After {self.stage}, then", "strong")], " ".join(self.following), hint, check=check), asked)

    def action_place(self) -> None:
        def refusal(place: str) -> str:
            try:
                executors.choose(self.stage, place)
            except StudioError as error:
                return str(error)
            return ""

        def chosen(key: str | None) -> None:
            if key:
                self.place = key
                self._fill()

        notes = {executors.HERE: "on this machine, when its turn comes", executors.SLURM: "handed to a cluster that sees the same files"}
        choices = [Choice(place, place, note, refusal(place)) for place, note in notes.items()]
        if not self.refused("place"):
            self.app.push_screen(Choose("Where is it executed?", choices, self.place or executors.HERE, width=8), chosen)

    def action_start(self) -> None:
        if self.refused("start") or self.recipe is None:
            return
        persona, parent, place = self.persona, self.parent_id, self.place
        first, following = chain.Link(self.stage, self.recipe), self.following
        self.starting = True

        def failed(sentence: str) -> None:
            self.starting = False
            self.say(sentence, bad=True)

        self.in_background(lambda: chain.start(persona, chain.links(persona, first, following, []), parent, on=place), self._started, failed)

    def _started(self, runs: list[Run]) -> None:
        from studio.tui.screens.run import RunScreen

        run = runs[0]
        self.studio.heart.beat()
        if self.studio.current_mode == "train":
            self.app.switch_screen(RunScreen(run))
        else:
            self.app.pop_screen()
            names = ", ".join(queued.id for queued in runs)
            self.say(f"{names} {'is' if len(runs) == 1 else 'are'} queued: key 4 shows {'it' if len(runs) == 1 else 'them'}.")
