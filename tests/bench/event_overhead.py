"""What telling costs: the same training with the studio's events, status and log, and with their writing left out, one after the other
in pairs; and what stands beside it: the memory of the dispatcher and of a runner, and the time from ``studio`` to a live view of a run.

    python -m tests.bench.event_overhead [--pairs 300]

Neighbouring steps of one training make a pair, one told and one not, in random order: whatever else the machine does falls on both.
Printed are the median of their ratios with its 95 % interval (bootstrap over pairs), and what was spent inside the telling itself, every
write and fsync of it included.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import re
import select
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SETTINGS = ["epochs=100", "length=64", "batch=4", "evals_per_epoch=1", "saves_per_epoch=1", "probes=0", "gradient_checkpointing=false"]


def persona(folder: Path) -> Any:
    from studio.checkpoints.fetch import fetch_base
    from studio.lore import build
    from studio.persona.folder import create
    from tests.conftest import LORE

    fetch_base("pocket", lambda _line: None)
    made = create("Wen", parent=folder)
    (made.lore / "book.txt").write_text(LORE)
    build.build(made)
    return made


class Alternating:
    """One real training whose steps are told or not, in pairs of neighbours of random order; keeps what each step took."""

    def __init__(self, pairs: int) -> None:
        chance = random.Random(3)
        self.order = [told for _ in range(pairs) for told in chance.choice(((True, False), (False, True)))]
        self.steps: list[tuple[float, float]] = []
        """Wall and processor seconds of each."""
        self.tokens: list[int] = []
        """Tokens read by the end of each."""
        self.telling = [0.0, 0.0]
        """Wall and processor seconds spent inside the telling itself, in the steps that were told."""

    def measure(self, made: Any) -> None:
        from studio import readiness
        from studio.jobs.runs import create_run
        from studio.recipes.files import resolve, to_toml
        from studio.stages import story, training
        from studio.stages.__main__ import prepare_process, work
        from studio.stages.stopping import Stopped, StopWish

        prepare_process()
        recipe = resolve(made, "cpt", settings=SETTINGS)
        run = create_run(made, readiness.prepare(made, "cpt", recipe), to_toml(recipe))
        wish, counting = StopWish(), False
        real = {name: getattr(story.Story, name) for name in ("event", "status")}
        real_log, real_begin = training.Watch.on_log, training.Watch.on_step_begin
        began = clocks()

        def instead(name: str) -> Any:
            def told(self: Any, *words: Any, **more: Any) -> None:
                if not counting:
                    real[name](self, *words, **more)
                elif self_.order[len(self_.steps)]:
                    before = clocks()
                    real[name](self, *words, **more)
                    self_.telling = [kept + now - old for kept, now, old in zip(self_.telling, clocks(), before, strict=True)]

            return told

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
            nonlocal began, counting
            real_begin(self, args, state, control, **more)
            began, counting = clocks(), state.global_step >= 3 and len(self_.steps) < len(self_.order)

        def on_log(self: Any, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            nonlocal counting
            real_log(self, args, state, control, logs, **more)
            if counting and "loss" in logs:
                now = clocks()
                self_.steps.append((now[0] - began[0], now[1] - began[1]))
                self_.tokens.append(int(logs["num_tokens"]))
                counting = False
                wish.wanted = len(self_.steps) == len(self_.order)  # heard at the end of the next step

        self_ = self
        story.Story.event, story.Story.status = instead("event"), instead("status")  # type: ignore[method-assign]
        training.Watch.on_log, training.Watch.on_step_begin = on_log, on_step_begin  # type: ignore[method-assign]
        try:
            work(run, story.Story(run.path), wish)
        except Stopped:
            pass

    def taken(self, clock: int, told: bool) -> list[float]:
        """The steps of one kind, in the pairs whose two steps read equally much: the last of an epoch is short."""
        read = [0, *(after - before for before, after in zip(self.tokens, self.tokens[1:], strict=False))]
        usual = statistics.median(read)
        found = []
        for first in range(0, len(self.order), 2):
            if all(abs(read[number] - usual) < 0.05 * usual for number in (first, first + 1)):
                found.append(self.steps[first if self.order[first] is told else first + 1][clock])
        return found


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def ratio(told: list[float], silent: list[float]) -> tuple[float, float, float]:
    """Median over pairs of told/silent, and its 95 % interval."""
    ratios = [a / b for a, b in zip(told, silent, strict=True)]
    chance = random.Random(7)
    drawn = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(4000))
    return statistics.median(ratios), drawn[100], drawn[3899]


def memory(pid: int) -> tuple[int, int]:
    """RSS and Pss of a process in kB."""
    facts = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rss, pss = (re.search(rf"^{name}:\s+(\d+)", facts, re.M) for name in ("Rss", "Pss"))
    return int(rss.group(1)) if rss else 0, int(pss.group(1)) if pss else 0


def live_view(root: Path, sign: str) -> float:
    """Seconds from ``studio`` in a real terminal to the screen showing ``sign`` of the running job."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "studio", "-p", str(root)])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    began, seen, asked = time.perf_counter(), b"", False
    try:
        while time.perf_counter() - began < 60:
            if select.select([master], [], [], 0.01)[0]:
                seen += os.read(master, 65536)
            text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen)
            if not asked and b"Persona" in text:
                os.write(master, b"\x1bOQ")  # f2: the jobs, from everywhere
                asked, seen = True, b""
            elif asked and sign.encode() in text:
                return time.perf_counter() - began
        raise SystemExit(f"the view of {sign} never came; the screen has {text[-2000:]!r}")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(master)


def beside(folder: Path) -> None:
    """Memory of the supervisors and the time to a live view, with a light stage that runs for long."""
    from tests.jobs.machine import Machine, running

    home = folder / "light-home"
    home.mkdir()
    os.environ["STUDIO_HOME"] = str(home)
    machine = Machine(home, folder / "light")
    try:
        run, _ = machine.queue(steps=100_000, seconds=0.1, every=1_000_000), machine.queue(steps=1)
        machine.wait(run, running)
        time.sleep(2)
        for kind in ("dispatcher", "runner"):
            rss, pss = memory(machine.pid(kind))
            print(f"{kind}: {rss / 1024:.1f} MB RSS, {pss / 1024:.1f} MB Pss")
        times = sorted(live_view(machine.persona.root, run.id) for _ in range(5))
        print(f"from `studio` to a live view of {run.id} (f2): median {statistics.median(times):.2f} s of {[round(t, 2) for t in times]}")
    finally:
        machine.clear_away()


def main() -> None:
    parser = argparse.ArgumentParser(description="What the telling of a training costs.")
    parser.add_argument("--pairs", type=int, default=300)
    pairs = parser.parse_args().pairs
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["STUDIO_HOME"] = str(folder / "home")
        (folder / "light").mkdir()
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {pairs} pairs of steps")
        alternating = Alternating(pairs)
        alternating.measure(persona(folder))
        for clock, what in enumerate(("wall", "processor")):
            told, silent = alternating.taken(clock, True), alternating.taken(clock, False)
            middle, low, high = ratio(told, silent)
            print(
                f"{what} time of a step: {statistics.median(silent) * 1000:.1f} ms untold; told {100 * (middle - 1):+.2f} % "
                f"(95 %: {100 * (low - 1):+.2f} to {100 * (high - 1):+.2f}); inside the telling itself {alternating.telling[clock] / sum(told):.2%}"
            )
        beside(folder)


if __name__ == "__main__":
    main()
