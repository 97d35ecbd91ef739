"""How long a key takes to change the screen while replies stream into the review: ``python tests/bench/review_latency.py``.

A real pty, a real process, an engine over real HTTP. Keys alternate between two that answer with different sentences; the time is
from writing the key to reading its sentence. Not a test: it prints p50 and p95.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tui" / "review")]

APP = """
import sys
sys.path[:0] = [{root!r}, {helpers!r}]
from pathlib import Path
from judge import Host
from studio.persona.folder import open_persona
from studio.tui.review.screen import ReviewScreen
Host(ReviewScreen(open_persona(Path({persona!r})), ["base", "sft-1-e2"])).run()
"""
KEYS = ((b"1", b"have to be complete"), (b"p", b"s drops this round"))


class Terminal:
    """A child on a pty, and everything it wrote."""

    def __init__(self, argv: list[str], columns: int, rows: int, environment: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.child = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True)
        os.close(slave)
        self.seen = b""

    def read(self, seconds: float) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536)

    def wait_for(self, marker: bytes, seconds: float) -> bool:
        end = time.perf_counter() + seconds
        while marker not in self.seen and time.perf_counter() < end:
            self.read(0.05)
        return marker in self.seen

    def press(self, key: bytes) -> None:
        self.seen = b""
        os.write(self.master, key)


def measure(rate: float, columns: int, rows: int, presses: int = 80) -> tuple[float, float, int]:
    """p50 and p95 in ms with two replies at ``rate`` pieces a second each, and how many keys were not answered in 2 s."""
    from conftest import add_checkpoint
    from fake_engine import KEY, FakeEngine, Script

    from studio.persona.folder import create

    with tempfile.TemporaryDirectory() as folder, FakeEngine() as engine:
        os.environ["STUDIO_HOME"] = folder
        persona = create("Wen", parent=Path(folder))
        add_checkpoint(persona, "sft-1-e2")
        persona.probes.write_text('{"id":"p1","kind":"open","prompt":"Tell me."}\n')
        engine.register(persona)
        engine.default = lambda model: Script([" kettle" if n % 17 else ".\n" for n in range(100_000)], rate=rate)
        code = APP.format(root=str(ROOT), helpers=str(ROOT / "tests" / "tui" / "review"), persona=str(persona.root))
        environment = os.environ | {"STUDIO_EXTERNAL_KEY": KEY, "NO_PROXY": "127.0.0.1", "TERM": "xterm-256color"}
        terminal = Terminal([sys.executable, "-c", code], columns, rows, environment)
        try:
            assert terminal.wait_for("●".encode(), 30), "the app did not open"
            terminal.press(b"p")
            assert terminal.wait_for(b"kettle", 30), "no reply came"
            times, lost = [], 0
            for number in range(presses):
                key, sentence = KEYS[number % 2]
                end = time.perf_counter() + 0.13 + 0.011 * (number % 7)
                while time.perf_counter() < end:
                    terminal.read(0.01)
                begun = time.perf_counter()
                terminal.press(key)
                if terminal.wait_for(sentence, 2):
                    times.append((time.perf_counter() - begun) * 1000)
                else:
                    lost += 1
            times.sort()
            return times[len(times) // 2], times[int(len(times) * 0.95)], lost
        finally:
            terminal.child.kill()
            terminal.child.wait()


def main() -> None:
    for label, rate in (("2 panes at 100 pieces a second each", 100.0), ("2 panes at 200 (four panes' worth of text)", 200.0)):
        for columns, rows in ((80, 24), (160, 48)):
            middle, late, lost = measure(rate, columns, rows)
            print(f"{label}, {columns}x{rows}: key to screen p50 {middle:.0f} ms, p95 {late:.0f} ms, unanswered {lost}", flush=True)


if __name__ == "__main__":
    main()
