"""How long a judge waits at the review screen: ``python tests/bench/review_latency.py [keys|first|next|open]``.

A real pty, the app alone in its process, an engine over real HTTP in another, and this one, which reads what the app writes and nothing
else. Measured are: a key while two or four replies stream at 100 pieces a second each; the first piece of text from the engine to the
screen; from the vote to the next round that was written ahead; opening a review of five thousand rounds. Wall times depend on what else
the machine does, so the processor time of the app stands beside them. Not a test: it prints.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from studio.checkpoints.store import get_checkpoint  # noqa: E402
from studio.persona.folder import Persona, create  # noqa: E402
from studio.review.rounds import Review, Round, Side, digest, open_review  # noqa: E402
from studio.review.votes import Vote  # noqa: E402
from tests.tui.review.conftest import add_checkpoint  # noqa: E402
from tests.tui.review.fake_engine import KEY, FakeEngine  # noqa: E402

APP = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from studio.tui.app import run
persona = Path({persona!r})
run(persona, review=[])
"""
KEYS = ((b"1", b"have to be complete"), (b"p", b"s drops this round"))
NAMES = ["base", "sft-1-e1", "sft-1-e2", "sft-1-e3"]


class Engine(FakeEngine):
    """``stamping_engine.py``, in a process of its own: what it does takes no turn from whoever reads the terminal."""

    def __enter__(self) -> Engine:
        script = str(Path(__file__).with_name("stamping_engine.py"))
        self.child = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.child.stdout
        self.stamps = self.child.stdout
        self.port = int(self.stamps.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()

    def replies(self, **manner: object) -> None:
        """What the coming replies are like, see ``stamping_engine.py``."""
        assert self.child.stdin
        self.child.stdin.write(json.dumps(manner).encode() + b"\n")
        time.sleep(0.1)

    def last_began(self, replies: int) -> int:
        """When the last of so many replies began, by ``time.monotonic_ns``."""
        return max(int(self.stamps.readline()) for _ in range(replies))


class Terminal:
    """A child on a pty, and everything it wrote."""

    def __init__(self, persona: Persona, columns: int, rows: int) -> None:
        code = APP.format(root=str(ROOT), persona=str(persona.root))
        environment = os.environ | {"STUDIO_EXTERNAL_KEY": KEY, "NO_PROXY": "127.0.0.1", "TERM": "xterm-256color"}
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.began = time.perf_counter()
        self.child = subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True)
        os.close(slave)
        self.seen = b""

    def read(self, seconds: float) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536)

    def idle(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)

    def wait_for(self, marker: bytes, seconds: float = 30) -> bool:
        end = time.perf_counter() + seconds
        while marker not in self.seen and time.perf_counter() < end:
            self.read(0.05)
        return marker in self.seen

    def press(self, key: bytes) -> None:
        self.seen = b""
        os.write(self.master, key)

    def processor(self) -> float:
        """Seconds that all threads of the app have run so far."""
        total = 0
        for task in Path(f"/proc/{self.child.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9


@contextmanager
def sitting(panes: int, columns: int = 160, rows: int = 48, probes: int = 1, old: int = 0, ahead: int = 0) -> Iterator[tuple[Terminal, Engine]]:
    """The app on a review with ``old`` decided rounds and ``ahead`` prompts whose replies were written ahead."""
    with tempfile.TemporaryDirectory() as folder, Engine() as engine:
        os.environ["STUDIO_HOME"] = folder
        persona = create("Wen", parent=Path(folder))
        for name in NAMES[1:]:
            add_checkpoint(persona, name)
        persona.probes.write_text("".join(f'{{"id":"p{n}","kind":"open","prompt":"Tell me {n}."}}\n' for n in range(probes)))
        review = open_review(persona, NAMES[:panes], panes=panes)
        make_past(persona, review, old)
        make_pool(persona, review, ahead)
        engine.register(persona, NAMES)
        terminal = Terminal(persona, columns, rows)
        try:
            yield terminal, engine
        finally:
            terminal.child.kill()
            terminal.child.wait()


def make_past(persona: Persona, review: Review, count: int) -> None:
    digests = {name: digest(get_checkpoint(persona, name)) for name in review.checkpoints}
    chance = random.Random(1)
    rounds, votes = [], []
    for n in range(1, count + 1):
        sides = [Side(name, digests[name], "kettle water letters " * 50, "stop", 150, 3.2, 0.1, n) for name in review.checkpoints]
        made = Round(f"{review.id}.{n}", review.id, n, [{"role": "user", "content": f"Tell me {n}."}], sides, t=time.time())
        rounds.append(made)
        votes.append(Vote(f"v{n}", made.t, review.id, made.id, chance.choice("12"), True, made.messages, sides, review.sampling))  # type: ignore[arg-type]
    if count:
        (persona.reviews / review.id / "rounds.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in rounds))
        persona.votes.write_bytes(b"".join(msgspec.json.encode(v) + b"\n" for v in votes))


def make_pool(persona: Persona, review: Review, count: int) -> None:
    from studio.files import append_line
    from studio.review.ahead import Reply, add_prompts
    from studio.review.prompts import Prompt

    asked = [Prompt("", [{"role": "user", "content": f"Question{n:03}."}]) for n in range(count)]
    for prompt in add_prompts(persona, review, asked) if count else ():
        for name in review.checkpoints:
            side = Side(name, digest(get_checkpoint(persona, name)), f"{name[-1]} kettle " * 40, "stop", 150, 3.2, 0.1, 1)
            append_line(persona.reviews / review.id / "replies.jsonl", Reply(prompt.id, side), durable=False)


def spread(times: list[float]) -> str:
    found = sorted(times)
    return f"p50 {found[len(found) // 2]:.1f} ms, p95 {found[int(len(found) * 0.95)]:.1f} ms, worst {found[-1]:.1f} ms"


def keys(presses: int = 80) -> None:
    """From writing a key to reading its sentence, while replies stream. Keys alternate between two that answer with different sentences."""
    for panes in (2, 4):
        for columns, rows in ((80, 24), (160, 48)):
            with sitting(panes, columns, rows) as (terminal, engine):
                engine.replies(first="A kettle", then=" kettle", count=100_000, rate=100.0)
                assert terminal.wait_for("●".encode()), "the app did not open"
                terminal.press(b"p")
                assert terminal.wait_for(b"kettle"), "no reply came"
                terminal.idle(1)
                before, began = terminal.processor(), time.perf_counter()
                terminal.idle(5)
                streaming = (terminal.processor() - before) / (time.perf_counter() - began)
                before, began = terminal.processor(), time.perf_counter()
                times, lost = [], 0
                for number in range(presses):
                    key, sentence = KEYS[number % 2]
                    terminal.idle(0.13 + 0.011 * (number % 7))
                    asked = time.perf_counter()
                    terminal.press(key)
                    if terminal.wait_for(sentence, 2):
                        times.append((time.perf_counter() - asked) * 1000)
                    else:
                        lost += 1
                took = terminal.processor() - before - streaming * (time.perf_counter() - began)
                print(
                    f"key to screen, {panes} replies at 100 pieces a second each, {columns}x{rows}: {spread(times)}, unanswered {lost}; "
                    f"processor: {1000 * streaming:.0f} ms a second for the streams, {1000 * took / presses:.1f} ms a key",
                    flush=True,
                )


def first(rounds: int = 40) -> None:
    """From the engine's sending the first piece of the reply that begins last to all first pieces on screen.

    No reply is drawn before all have begun, or the order would tell who is who: so the time counts from the last. The engine reads the
    prompt for 60 ms before, as engines do.
    """
    for panes in (2, 4):
        for columns, rows in ((80, 24), (160, 48)):
            on_screen = len(NAMES[:panes]) if columns == 160 else 2
            with sitting(panes, columns, rows, probes=rounds + 1) as (terminal, engine):
                engine.replies(first="KettleKettle", then="x", count=100, rate=20.0, prefill=0.06)
                assert terminal.wait_for("●".encode()), "the app did not open"
                times = []
                for _ in range(rounds):
                    terminal.press(b"p")
                    while terminal.seen.count(b"Kettle") < on_screen:
                        terminal.seen += os.read(terminal.master, 65536)
                    drawn = time.monotonic_ns()
                    times.append((drawn - engine.last_began(panes)) / 1e6)
                    terminal.press(b"s")
                    assert terminal.wait_for(b"dropped")
                    terminal.idle(0.1)
                print(f"first text of {panes} replies, {columns}x{rows}, engine to screen: {spread(times)}", flush=True)


def following(rounds: int = 40, old: int = 5000) -> None:
    """From the vote to its confirmation, and from Enter to the next round that was written ahead."""
    for panes in (2, 4):
        with sitting(panes, old=old, ahead=rounds + 2) as (terminal, _):
            assert terminal.wait_for(b"votes"), "the app did not open"
            terminal.press(b"\r")
            assert terminal.wait_for(b"Question"), "no round came"
            voted, shown = [], []
            before = terminal.processor()
            for _ in range(rounds):
                terminal.idle(0.2)
                asked = time.perf_counter()
                terminal.press(b"1")
                assert terminal.wait_for(b"Saved"), "the vote was not saved"
                voted.append((time.perf_counter() - asked) * 1000)
                terminal.idle(0.3)  # the names are read
                asked = time.perf_counter()
                terminal.press(b"\r")
                assert terminal.wait_for(b"Question"), "no next round came"
                shown.append((time.perf_counter() - asked) * 1000)
            took = (terminal.processor() - before) / rounds
            print(f"{panes} replies after {old} rounds: vote to saved {spread(voted)}; Enter to the next round {spread(shown)}; ", end="")
            print(f"processor {1000 * took:.0f} ms a round", flush=True)


def opening() -> None:
    """From starting the process to the review's head, with no round behind it and with five thousand."""
    for old in (0, 5000):
        times, took = [], []
        for _ in range(5):
            with sitting(2, old=old) as (terminal, _):
                assert terminal.wait_for(f"{old:,} vote".encode()), "the app did not open"
                times.append((time.perf_counter() - terminal.began) * 1000)
                took.append(1000 * terminal.processor())
        print(f"opening a review of {old} rounds, the process included: {spread(times)}; processor {sorted(took)[2]:.0f} ms", flush=True)


def main() -> None:
    parts = {"keys": keys, "first": first, "next": following, "open": opening}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
