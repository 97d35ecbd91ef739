"""How fast a long history opens: ``studio jobs list``, the dispatcher's and the app's look at it, and the app's panel in a real terminal.

python tests/bench/history.py [--runs 5000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]


def make(folder: Path, count: int) -> Path:
    """A persona with so many ended runs, as they lie on the disk."""
    from studio.jobs.runs import DONE, FAILED, Inputs, Status
    from studio.persona.folder import create

    persona = create("Wen", parent=folder)
    for number in range(1, count + 1):
        path = persona.runs / f"cpt-{number}"
        path.mkdir(parents=True)
        failed = number % 7 == 0
        status = Status(
            FAILED if failed else DONE, "cpt", "The memory ran out; lower micro_batch." if failed else "", number, number, number + 1.0,
            step=40, steps=40, checkpoints=[f"cpt-{number}-e1"], attempts=1, place=float(number),
        )  # fmt: skip
        (path / "inputs.json").write_bytes(msgspec.json.encode(Inputs("cpt", str(persona.root), "base", "/models/base")))
        (path / "status.json").write_bytes(msgspec.json.encode(status))
        (path / "recipe.toml").write_text("")
    return persona.root


def timed(what: str, times: int, do: object) -> None:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        do()  # type: ignore[operator]
        taken.append((time.perf_counter() - began) * 1000)
    print(f"{what}: median {statistics.median(taken):.0f} ms, first {taken[0]:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a long history opens.")
    parser.add_argument("--runs", type=int, default=5000)
    count = parser.parse_args().runs
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        os.environ["STUDIO_HOME"] = f"{name}/home"
        root = make(Path(name), count)
        print(f"{count:,} runs, load {os.getloadavg()[0]:.1f}")
        from studio.jobs import control, queue
        from studio.persona.folder import open_persona
        from tests.bench.event_overhead import live_view

        persona = open_persona(root)
        timed("the list, in a process that has it open", 7, lambda: control.listing(persona))
        timed("the machine's queue", 7, queue.waiting)
        for words in (["--version"], ["-p", str(root), "jobs", "list"], ["-p", str(root), "jobs", "list", "--json"]):
            command = [sys.executable, "-m", "studio", *words]
            timed("studio " + " ".join(words[2:] or words), 5, lambda command=command: subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL))
        times = sorted(live_view(root, f"cpt-{count}") for _ in range(3))
        print(f"from `studio` to the panel with the newest run: median {times[1]:.2f} s")


if __name__ == "__main__":
    main()
