"""Having replies written ahead of the sitting: which prompts, the run that writes them, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from textual.timer import Timer

from studio.errors import StudioError
from studio.jobs import control
from studio.jobs.runs import ENDED, QUEUED, Run
from studio.review import prompts
from studio.review.ahead import Pool, add_prompts
from studio.review.probes import load_probes
from studio.review.sitting import PROBE, Sitting
from studio.text import count
from studio.tui.dialogs import Choice, Choose
from studio.tui.review.asking import Asking
from studio.tui.review.writing import Writing

HELD_OUT = 20
"""Held-out conversations put into the pool at a time: with the probes about what one sitting gets through."""

LOOK = 2.0
"""Seconds between two looks at how far the writing is."""


class Pooled(NamedTuple):
    """What is written ahead for a review."""

    prompts: int
    done: int
    """Replies that are here."""
    total: int
    run: Run | None
    """The newest run that writes the rest."""

    @property
    def going(self) -> bool:
        return self.run is not None and self.run.status.state not in ENDED


def pooled(sitting: Sitting) -> Pooled:
    """Reads files: call it from a thread."""
    pool = Pool(sitting.persona, sitting.review)
    total = len(pool.prompts) * len(sitting.review.checkpoints)
    done = total - len(pool.missing)
    runs = control.runs(sitting.persona) if done < total else []
    of_review = [r for r in runs if r.inputs.stage == "ahead" and r.inputs.parent == sitting.review.id]
    return Pooled(len(pool.prompts), done, total, of_review[-1] if of_review else None)


class Beforehand(Asking):
    looking: Timer | None = None
    """When the next look at the writing is due."""

    def action_write_ahead(self) -> None:
        if self.refused("write_ahead") or self.state.sitting is None:
            return
        sitting = self.state.sitting

        def look() -> tuple[Pooled, list[prompts.Prompt], list[prompts.Prompt], str]:
            try:
                unseen, none = prompts.held_out(self.persona, HELD_OUT), ""
            except StudioError as error:
                unseen, none = [], str(error)
            probes = [prompts.Prompt("", self.begin(p.prompt), PROBE + p.id) for p in load_probes(self.persona) if p.kind == "open"]
            return pooled(sitting), probes, unseen, none

        self.in_thread(look, lambda found: self._choose_pool(*found))

    def _choose_pool(self, pool: Pooled, probes: list[prompts.Prompt], unseen: list[prompts.Prompt], no_dialogue: str) -> None:
        here = f"{count(pool.prompts, 'prompt')}, {pool.done} of {pool.total} replies are here." if pool.prompts else "Nothing is written yet."
        choices = [
            Choice("probes", f"the probes ({len(probes)})", "the open ones of probes.jsonl", "" if probes else "there is no open probe"),
            Choice("dialogue", f"held-out dialogue ({len(unseen)})", "conversations she was never trained on", no_dialogue),
            Choice("own", "your own", "one prompt a line, typed or pasted"),
            Choice("rest", f"only the rest ({pool.total - pool.done})", "what is missing", "" if pool.done < pool.total else "nothing is missing"),
        ]

        def write(asked: Callable[[], list[prompts.Prompt]]) -> None:
            assert self.state.sitting is not None
            sitting = self.state.sitting
            self.at_desk(lambda: self._queue(sitting, asked()), self._queued)

        def own(text: str | None) -> None:
            if text:
                write(lambda: [prompts.Prompt("", self.begin(line.strip())) for line in text.splitlines() if line.strip()])

        def take(chosen: str | None) -> None:
            match chosen:
                case "own":
                    self.app.push_screen(Writing([("Prompts to answer ahead, ", "strong"), ("one a line.", "muted")], done="queue"), own)
                case "probes":
                    write(lambda: probes)
                case "dialogue":
                    write(lambda: unseen)
                case "rest":
                    write(list)

        question = [("Have every checkpoint answer ahead, ", "strong"), (f"one after the other; you wait for none. {here}", "muted")]
        self.app.push_screen(Choose(question, choices, width=26), take)

    def _queue(self, sitting: Sitting, asked: list[prompts.Prompt]) -> Pooled:
        from studio import launch

        add_prompts(self.persona, sitting.review, asked)
        found = pooled(sitting)
        if found.done == found.total or (found.run and found.run.status.state == QUEUED):
            return found
        return found._replace(run=launch.start_ahead(self.persona, sitting.review.id, self.engine or sitting.review.engine))

    def _queued(self, pool: Pooled) -> None:
        if pool.run is None or not pool.going:
            self.say("All of these are written already; ⏎ takes the next.")
            return
        self._watch(pool)
        self.say(f"{pool.run.id} writes {pool.total - pool.done} replies; ⏎ takes the first that are whole, f2 shows the run.")

    def watch_ahead(self) -> None:
        """Look how far the writing is, and go on looking while a run is at it."""
        if self.state.sitting is not None:
            sitting = self.state.sitting
            self.in_thread(lambda: pooled(sitting), lambda pool: self._watch(pool) if self.state.sitting is sitting else None)

    def _watch(self, pool: Pooled) -> None:
        if self.looking:
            self.looking.stop()
        went, self.state.pooled = self.state.pooled, (pool.done, pool.total) if pool.going else None
        self.draw_head()
        if pool.going:
            self.looking = self.set_timer(LOOK, self.watch_ahead)
        elif went and pool.run and pool.done < pool.total:
            self.say(f"{pool.run.id} ended with {pool.done} of {pool.total} replies. {pool.run.status.message}".rstrip())
