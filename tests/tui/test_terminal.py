"""The app in a real terminal (a pty): it draws, leaves, survives a vanished terminal without spinning, and crashes politely."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

from studio.jobs import control, queue
from studio.jobs.runs import Inputs, create_run
from studio.persona.folder import Persona

APP = "import sys; from pathlib import Path; from studio.tui.app import run; sys.exit(run(Path(sys.argv[1])))"
CRASHING = """
import sys
from pathlib import Path
from studio.tui import app
from studio.tui.screens.lore import LoreScreen
def broken(self):
    secret_key = "sk-hidden-in-a-local"
    raise RuntimeError("the lamp fell")
LoreScreen.on_mount = broken
sys.exit(app.run(Path(sys.argv[1])))
"""


class Terminal:
    """A process on a pty of its own."""

    def __init__(self, code: str, root: Path, ignore_hangup: bool = False) -> None:
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

        def prepare() -> None:
            os.setsid()
            ioctl(0, termios.TIOCSCTTY, 0)
            if ignore_hangup:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)

        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(root)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=prepare,
            env=os.environ | {"TERM": "xterm-256color"},
        )
        os.close(slave)
        self.seen = b""

    def read(self, seconds: float = 0.1) -> bool:
        """Take what was written; False when the other end is closed."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                return False
        return True

    def wait_for(self, text: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, self.seen[-3000:].decode(errors="replace")
            if not self.read():
                assert text.encode() in self.seen, self.seen[-3000:].decode(errors="replace")

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def ended(self, seconds: float = 60) -> int:
        """Exit code; the pty is emptied meanwhile, so that the process is not held up."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        while self.read(0.05) and select.select([self.master], [], [], 0)[0]:
            pass
        code = self.process.poll()
        if code is None:
            self.process.kill()
            raise AssertionError("the app did not end")
        return code


BELL = b"\x07"


def bare(written: bytes) -> bytes:
    """Without the commands to the terminal that end with a bell's byte, as that for its title."""
    return re.sub(rb"\x1b\][^\x07\x1b]*(\x07|\x1b\\)", b"", written)


def test_the_app_opens_shows_screens_and_leaves(persona: Persona) -> None:
    terminal = Terminal(APP, persona.root)
    terminal.wait_for("What to do next")
    terminal.press("5")
    terminal.wait_for("sft-2-e2")
    queue.pause()
    run = create_run(persona, Inputs(stage="cpt", persona=str(persona.root), parent="base", parent_path=""), "")
    terminal.wait_for(run.id)
    assert BELL not in bare(terminal.seen)
    control.cancel(persona, run.id)
    terminal.wait_for("is cancelled")
    assert BELL in bare(terminal.seen), "a run has ended and nobody was told"
    terminal.press("q")
    assert terminal.ended() == 0
    assert b"\x1b[?1049l" in terminal.seen  # the alternate screen was left


def test_the_editor_gets_the_terminal_and_the_app_comes_back_with_what_was_written(
    persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "editor.py"
    script.write_text(
        "import os, sys\n"
        "assert os.isatty(0) and os.isatty(1)\n"
        "print('THE EDITOR HAS', os.path.basename(sys.argv[-1]), flush=True)\n"
        "input()\n"
        "with open(sys.argv[-1], 'a', encoding='utf-8') as file: file.write('\\nA fourth lamp was lit.\\n')\n"
    )
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
    file = sorted(persona.lore.glob("*"))[0]
    before = file.read_text(encoding="utf-8")
    terminal = Terminal(APP, persona.root)
    terminal.wait_for("What to do next")
    terminal.press("2")
    terminal.wait_for(file.name)
    terminal.press("e")
    terminal.wait_for(f"THE EDITOR HAS {file.name}")
    terminal.press("\n")
    terminal.seen = b""
    terminal.wait_for(file.name)  # the screen is drawn again
    assert file.read_text(encoding="utf-8") == before + "\nA fourth lamp was lit.\n"
    terminal.press("q")
    assert terminal.ended() == 0


def test_an_editor_that_is_not_installed_is_named(persona: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "no-such-editor --wait")
    terminal = Terminal(APP, persona.root)
    terminal.wait_for("What to do next")
    terminal.press("e")
    terminal.wait_for("no-such-editor")  # the sentence is broken over lines
    terminal.press("q")
    assert terminal.ended() == 0


def test_a_closed_terminal_ends_the_app(persona: Persona) -> None:
    terminal = Terminal(APP, persona.root)
    terminal.wait_for("What to do next")
    os.close(terminal.master)
    assert terminal.process.wait(timeout=60) != 0


def test_a_closed_terminal_ends_the_app_even_where_hangup_was_ignored(persona: Persona) -> None:
    terminal = Terminal(APP, persona.root, ignore_hangup=True)
    terminal.wait_for("What to do next")
    os.close(terminal.master)
    terminal.process.wait(timeout=60)


def test_a_crash_is_one_sentence_and_a_log(persona: Persona) -> None:
    terminal = Terminal(CRASHING, persona.root)
    terminal.wait_for("What to do next")
    terminal.press("2")
    terminal.wait_for("Something went wrong inside the studio (RuntimeError: the lamp fell)")
    assert terminal.ended() == 1
    log = Path(os.environ["STUDIO_HOME"]) / "crash.log"
    assert b"Traceback" not in terminal.seen and b"sk-hidden" not in terminal.seen.replace(b"\r\n", b"")
    assert "Traceback" in log.read_text() and "the lamp fell" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_outside_a_terminal_it_says_what_to_do_instead(persona: Persona) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "studio", "-p", str(persona.root)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 1
    assert "The app needs a terminal" in done.stderr and "Traceback" not in done.stderr
