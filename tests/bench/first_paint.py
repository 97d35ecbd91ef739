"""How long until the app's first screen stands in a real terminal, against a bare Textual app in the same minute.

    python tests/bench/first_paint.py [PERSONA] [ROUNDS]

Both are started in turn on a pty of 80×24; the time runs from the start of the process to its first drawn text. Prints the medians
in milliseconds and their ratio.
"""

from __future__ import annotations

import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path

BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("READY")
Bare().run()
"""
STUDIO = "import sys; from pathlib import Path; from studio.tui.app import run; run(Path(sys.argv[1]))"


def first_text(code: str, argument: str, wanted: bytes) -> float:
    """Milliseconds from the start of the process until ``wanted`` was written to the terminal."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, argument],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=os.environ | {"TERM": "xterm-256color"},
    )
    os.close(slave)
    seen = b""
    try:
        while wanted not in seen:
            if not select.select([master], [], [], 30)[0]:
                raise SystemExit(f"nothing was drawn: {seen[-500:]!r}")
            seen += os.read(master, 65536)
        return 1000 * (time.perf_counter() - began)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def main() -> None:
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STUDIO_HOME"] = folder
        from studio.persona.folder import create

        root = Path(sys.argv[1]) if len(sys.argv) > 1 else create("Mira", parent=Path(folder)).root
        first_text(BARE, "", b"READY")
        first_text(STUDIO, str(root), b"character")
        bare, studio = [], []
        for _ in range(rounds):
            bare.append(first_text(BARE, "", b"READY"))
            studio.append(first_text(STUDIO, str(root), b"character"))
    medians = statistics.median(bare), statistics.median(studio)
    print(json.dumps({"bare_ms": round(medians[0]), "studio_ms": round(medians[1]), "ratio": round(medians[1] / medians[0], 2), "rounds": rounds}))


if __name__ == "__main__":
    main()
