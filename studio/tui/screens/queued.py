"""What the queue can be told from a screen that shows runs: hold, go on, earlier, later, servers to give way."""

from __future__ import annotations

from collections.abc import Callable

from studio.jobs import control, queue
from studio.jobs.runs import PAUSED, QUEUED, RUNNING, Run
from studio.tui.base import StudioScreen

CHANGES = frozenset(("retry", "cancel", "pause", "move('up')", "move('down')", "move('first')", "pause_queue", "give_way"))
"""Actions that change something: refused when the app was opened to read only."""


class QueueActions(StudioScreen):
    def chosen(self) -> Run | None:
        raise NotImplementedError

    def why_not_queue(self, action: str) -> str:
        """Why an action on the queue cannot be done now; empty if it can, or if it is none of ours."""
        run = self.chosen()
        if action == "pause":
            if run is None:
                return "There is no run to pause."
            if run.status.state not in (QUEUED, RUNNING, PAUSED):
                return f"{run.id} is {run.status.state}; only what waits, runs or is paused can be paused or go on."
        if action.startswith("move(") or action == "give_way":
            if run is None or run.status.state not in (QUEUED, PAUSED):
                return f"{run.id if run else 'Nothing'} does not wait in the queue."
            if action == "give_way" and run.inputs.give_way:
                return f"Servers give way to {run.id} already."
        return ""

    def action_pause(self) -> None:
        """Pause, or go on when it is paused."""
        run, persona = self.chosen(), self.persona
        if self.refused("pause") or run is None:
            return
        does = control.resume if run.status.state == PAUSED else control.pause
        self.in_background(lambda: does(persona, run.id), self._paused)

    def _paused(self, run: Run) -> None:
        words = {QUEUED: "queued again and goes on where it was", PAUSED: "paused"}
        self.say(f"{run.id} is {words.get(run.status.state, 'being saved and stopped')}.")
        self.studio.heart.beat()

    def action_move(self, where: str) -> None:
        run, persona = self.chosen(), self.persona
        if not self.refused(f"move('{where}')") and run:
            self._then(lambda: f"{run.id} is number {queue.move(persona, run.id, where)} in the queue.")

    def action_pause_queue(self) -> None:
        def turn() -> str:
            if queue.is_paused():
                queue.resume()
                return "The queue goes on."
            queue.pause()
            return "The queue is paused: what runs goes on, nothing more is started. The same key lets it go on."

        if not self.refused("pause_queue"):
            self._then(turn)

    def action_give_way(self) -> None:
        run, persona = self.chosen(), self.persona
        if not self.refused("give_way") and run:
            self._then(lambda: f"Servers that hold the device stop for {control.give_way(persona, run.id).id} and come back after it.")

    def _then(self, job: Callable[[], str]) -> None:
        def told(sentence: str) -> None:
            self.say(sentence)
            self.studio.heart.beat()

        self.in_background(job, told)
