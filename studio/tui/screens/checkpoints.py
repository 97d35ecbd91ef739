"""Screen 5: the family tree."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
from textual.app import ComposeResult
from textual.widgets import Static

from studio.checkpoints import herself, schemes
from studio.checkpoints.store import Checkpoint, all_checkpoints, delete_checkpoint
from studio.examining import why_not_examined
from studio.jobs.runs import Run
from studio.text import size
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.dialogs import Ask, Choice, Choose, Confirm
from studio.tui.look import Line, content, short_path
from studio.tui.pulse import Pulse
from studio.tui.screens.marks import COLUMNS, card_lines, herself_lines, toggle, tree_rows
from studio.tui.screens.merging import AskShares, Shares
from studio.tui.screens.reader import ReaderScreen
from studio.tui.table import Table

MERGES = (
    ("linear", "the mean of their weights"),
    ("slerp", "between two, along the arc: keeps their strength"),
    ("ties", "what each learned; where they disagree the heavier side wins"),
    ("dare-ties", "as ties, from a random share of what each learned"),
    ("dare-linear", "the mean of a random share of what each learned"),
    ("cat adapter", "adapters of the same weights, put together exactly"),
    ("svd adapter", "the same in the rank they had"),
)


READ_ONLY = "The app was opened to read only."

SPARSE = ("ties", "dare-ties", "dare-linear")
"""Methods with a density."""


class TreeScreen(StudioScreen):
    """A tree of checkpoints that can be marked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Checkpoint] = {}
        self.served: list[str] = []
        self.states: list[tuple[str, int]] | None = None

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def refresh_data(self) -> None:
        persona = self.persona
        self.in_background(lambda: all_checkpoints(persona), self._show)

    def _show(self, found: list[Checkpoint]) -> None:
        self.found = {c.id: c for c in found}
        self.studio.marked[:] = [key for key in self.studio.marked if key in self.found]
        self._fill()

    def _fill(self) -> None:
        self.query_one(Table).fill(tree_rows(list(self.found.values()), self.studio.marked, self.served))

    def take_pulse(self, pulse: Pulse) -> None:
        self.served = [model for server in pulse.servers for model in server.models]
        states = [(run.status.state, len(run.status.checkpoints)) for run in pulse.runs]
        if states != self.states:
            self.states = states
            self.refresh_data()
        elif self.found:
            self._fill()

    def selected(self) -> Checkpoint | None:
        key = self.query_one(Table).key if self.is_mounted else None
        return self.found.get(key) if key else None

    def action_mark(self) -> None:
        if not self.refused("mark") and (c := self.selected()):
            if problem := toggle(self.studio.marked, c.id):
                self.say(problem)
            self._fill()
            self.query_one(Table).action_move(1)

    def why_not(self, action: str) -> str:
        c = self.selected()
        if c is None:
            return "The checkpoints are still being read." if not self.found else "No checkpoint is selected."
        return ""


class CheckpointsScreen(TreeScreen):
    rows_of = "checkpoints"
    BINDINGS = bindings_of("checkpoints")

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, empty="Reading …")
        yield Static(" ", id="message", classes="line", markup=False)

    def on_table_moved(self) -> None:
        c = self.selected()
        if c:
            marked = f"◉ marked: {', '.join(self.studio.marked)}   " if self.studio.marked else ""
            seen = f", {c.tokens_seen:,} tokens seen" if c.tokens_seen else ""
            about = short_path(c.name) if c.stage == "base" else f"{c.id}: {c.stage} of {c.parent}{seen}"
            if len(self.found) == 1:
                about += " · only the base so far: key 4 trains on it"
            self.query_one("#message", Static).update(content([(marked, "accent"), (about, "muted")]))
        self.redraw_keys()

    def why_not(self, action: str) -> str:
        if why := super().why_not(action):
            return why
        c = self.selected()
        assert c is not None
        if self.studio.readonly and action in ("salvage", "train_from", "quantize", "merge", "serve", "delete", "against_parent"):
            return READ_ONLY
        if action == "delete":
            if c.stage == "base":
                return "The base is not deleted from here: it belongs to this machine and not to one persona."
            if children := [o.id for o in self.found.values() if o.parent == c.id]:
                return f"{c.id} is not deleted: {', '.join(children)} was made from it; delete that first."
        if action == "merge" and len(self.studio.marked) < 2 and c.kind != "adapter":
            return "Mark two or more checkpoints with space first, or select an adapter to fold it into its weights."
        if c.kind == "external" and action in ("quantize", "train_from", "serve", "delete"):
            return f"{c.id} is an outside endpoint: it can be reviewed and chatted with."
        if action in ("quantize", "train_from") and c.scheme:
            return f"{c.id} is quantized already; take {c.parent}."
        if action == "quantize" and c.stage == "base" and not c.path:
            return "The base is not on this machine yet: key 1, then f."
        if action == "herself" and self.studio.readonly and not herself.verdict(c.metrics):
            return READ_ONLY
        if action == "herself" and (why := why_not_examined(c)):
            return why
        if action == "against_parent" and c.parent not in self.found:
            return f"{c.id} has no parent here to be heard beside."
        if action == "review" and len(self.studio.marked) < 2:
            return "Mark two to eight checkpoints with space first."
        return ""

    def action_card(self) -> None:
        if not self.refused("card") and (c := self.selected()):
            file = Path(c.path) / "checkpoint.toml" if c.path and c.stage != "base" else None
            self.app.push_screen(ReaderScreen([(c.id, "strong")], partial(card_lines, c), file=file))

    def action_best(self) -> None:
        if self.refused("best"):
            return
        from studio.checkpoints.best import MEASURES, best, best_lines

        persona = self.persona

        def chosen(by: str | None) -> None:
            if by:
                title = [("Which to hear first", "strong")]
                self.app.push_screen(ReaderScreen(title, lambda: list(best_lines(persona, by, best(persona, by))), file=None))

        self.app.push_screen(
            Choose("The best by which number?", [Choice(by, by, measure.words) for by, measure in MEASURES.items()], width=10), chosen
        )

    def action_train_from(self) -> None:
        c = self.selected()
        if self.refused("train_from") or c is None:
            return
        from studio.tui.screens.start import StartScreen

        no_cpt = "an adapter: CPT starts from full weights" if c.kind == "adapter" else ""
        choices = [
            Choice("cpt", "CPT", "continued pre-training on the lore", no_cpt),
            Choice("sft", "SFT", "fine-tuning on the dialogue"),
            Choice("dpo", "DPO", "preference on the pairs from votes"),
            Choice("orpo", "ORPO", "preference on the pairs from votes, learning the better replies too"),
        ]

        def chosen(stage: str | None) -> None:
            if stage:
                self.app.push_screen(StartScreen(stage, c.id))

        self.app.push_screen(Choose(f"Train on from {c.id}: which stage?", choices), chosen)

    def action_quantize(self) -> None:
        c = self.selected()
        if self.refused("quantize") or c is None:
            return

        def refusal(scheme: str) -> str:
            return f"{c.id}-{scheme} exists already" if f"{c.id}-{scheme}" in self.found else ""

        def chosen(scheme: str | None) -> None:
            if scheme:
                from studio.tui.screens.start import StartScreen

                self.app.push_screen(StartScreen("quantize", c.id, (f"scheme={scheme}",)))

        choices = [Choice(s.name, s.name, f"{s.cards}: {s.words}", refusal(s.name)) for s in schemes.SCHEMES.values()]
        self.app.push_screen(Choose(f"Make {c.id} smaller for serving. By which scheme?", choices, width=15), chosen)

    def action_herself(self) -> None:
        c, persona = self.selected(), self.persona
        if self.refused("herself") or c is None:
            return
        if herself.verdict(c.metrics):
            self.app.push_screen(ReaderScreen([(f"Is {c.id} still herself?", "strong")], partial(herself_lines, c), file=None))
            return
        from studio.examining import start_examining
        from studio.recipes.schema import Herself

        self.in_background(lambda: start_examining(persona, c.id, Herself()), self._queued)

    def action_against_parent(self) -> None:
        c = self.selected()
        if not self.refused("against_parent") and c:
            from studio.tui.screens.chooser import open_review_screen

            open_review_screen(self, [c.parent, c.id])

    def _queued(self, run: Run) -> None:
        self.studio.heart.beat()
        self.say(f"{run.id} is queued: key 4 shows it.")

    def action_merge(self) -> None:
        c, persona = self.selected(), self.persona
        if self.refused("merge") or c is None:
            return
        names = list(self.studio.marked) if len(self.studio.marked) > 1 else [c.id]

        def start(method: str, result: str, shares: Shares) -> Run:
            from studio.merging import start_merge
            from studio.recipes.schema import Merge

            return start_merge(persona, msgspec.convert({"checkpoints": names, "method": method, "result": result, **shares._asdict()}, Merge))

        def chosen(answer: str | None) -> None:
            if not answer:
                return
            method, _, result = answer.partition(" ")

            def weighed(shares: Shares | None) -> None:
                if shares:
                    self.in_background(lambda: start(method, result or "full", shares), self._queued)

            self.app.push_screen(AskShares(names, method, not result, method in SPARSE), weighed)

        if len(names) == 1:
            self.in_background(lambda: start("linear", "full", Shares([], [], 0.5)), self._queued)
            return
        self.app.push_screen(Choose(f"Make one of {', '.join(names)}. How?", [Choice(name, name, words) for name, words in MERGES], width=14), chosen)

    def action_salvage(self) -> None:
        persona = self.persona
        if self.refused("salvage"):
            return
        from studio import salvage

        def shown(found: tuple[list[salvage.Failure], list[salvage.Suggestion]]) -> None:
            _, suggested = found
            if not suggested:
                self.say("Nothing to salvage: no two failed neighbours on the same weights that were not merged already.")
                return

            def chosen(key: str | None) -> None:
                if key is None:
                    return
                picked = suggested[int(key)]

                def started(runs: list[Run]) -> None:
                    # The review is one key away when the merge is there: its parents are marked already.
                    self.studio.marked[:] = picked.checkpoints
                    self._queued(runs[0])

                self.in_background(lambda: salvage.start(persona, [picked]), started)

            choices = [Choice(str(i), f"{s.method} of {' + '.join(s.checkpoints)}", s.why) for i, s in enumerate(suggested)]
            self.app.push_screen(Choose("Failed neighbours that may be worth more together. Merge which?", choices, width=34), chosen)

        self.in_background(lambda: salvage.suggest(persona), shown)

    def action_export(self) -> None:
        c, persona = self.selected(), self.persona
        if self.refused("export") or c is None:
            return
        from studio.checkpoints.leaving import by_run, forms, leave, said
        from studio.launch import start_export

        def written(form: str) -> None:
            name = f"{persona.root.name}-{c.id}-{form.replace(' ', '-')}"

            def named(to: str | None) -> None:
                if not to:
                    return
                place, title = Path(to).expanduser(), [(f"{c.id} as {form}", "strong")]
                if by_run(form):
                    self.in_background(lambda: start_export(persona, c, form, place), self._queued)
                else:
                    self.in_background(lambda: said(leave(persona, c, form, place)), lambda lines: self._left(title, lines))

            self.app.push_screen(Ask("Into which new folder?", f"~/{name}", paths=True), named)

        def chosen(form: str | None) -> None:
            if form:
                written(form)

        readonly = READ_ONLY if self.studio.readonly else ""
        choices = [Choice(form, form, words, why or (readonly if by_run(form) else "")) for form, words, why in forms(c)]
        self.app.push_screen(Choose(f"Write {c.id} for other programs. As what?", choices, width=16), chosen)

    def _left(self, title: Line, lines: list[str]) -> None:
        self.app.push_screen(ReaderScreen(title, lambda: list(lines), file=None))

    def action_serve(self) -> None:
        c = self.selected()
        if not self.refused("serve") and c:
            from studio.tui.screens.serve import ask_and_start

            ask_and_start(self, [self.found[key] for key in self.studio.marked] or [c])

    def action_review(self) -> None:
        if not self.refused("review"):
            from studio.tui.screens.chooser import open_review_screen

            open_review_screen(self, list(self.studio.marked))

    def action_delete(self) -> None:
        c, persona = self.selected(), self.persona
        if self.refused("delete") or c is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.in_background(lambda: delete_checkpoint(persona, c.id), self._deleted)

        weight = size(c.metrics.get("bytes", 0))
        question = f"Delete {c.id} ({weight})? Its weights cannot be brought back but by training again; its card is kept."
        self.app.push_screen(Confirm(question, "delete it"), answered)

    def _deleted(self, c: Checkpoint) -> None:
        self.say(f"{c.id} is deleted; {size(c.metrics.get('bytes', 0))} are free again.")
        self.refresh_data()
