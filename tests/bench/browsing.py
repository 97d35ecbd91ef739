"""A million conversations (700 MB): opened, jumped in, filtered, searched, one of them edited; against reading the whole set.

    python -m tests.bench.browsing [ROWS] [FOLDER]

The folder is kept and used again if one is named. Times are the median of several, by the clock and of processor time (which is what counts
on a machine that is busy with something else; a search for a text shares it out among the cores); the file cache is warm, as it is after the
rows were added.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from studio.dialogue.editing import Editor
from studio.dialogue.filtering import parse
from studio.dialogue.index import Index
from studio.dialogue.store import REJECTED, rows
from studio.persona.folder import Persona, create
from studio.shards import SHARD_ROWS

WORDS = (
    "the a of and lamp ferry dusk keeper book said never always quiet storm kettle tea water stone bridge letter window late again she he "
    "hosszú lámpa este őrzi könyv mindig csendes vihar 灯 房 码头 傍晚 点灯 清晨"
)


def fill(persona: Persona, number: int) -> None:
    """Rows of four turns, about 700 bytes each, of twelve sources."""
    drawn = random.Random(17)
    texts = [" ".join(drawn.choices(WORDS.split(), k=drawn.randint(12, 42))) for _ in range(4000)]
    for first in range(0, number, SHARD_ROWS):
        lines = []
        for n in range(first, min(first + SHARD_ROWS, number)):
            messages = [
                {"role": ("user", "assistant")[turn % 2], "content": f"{texts[drawn.randrange(4000)]} {n if turn == 1 else ''}".strip()}
                for turn in range(4)
            ]
            row: dict[str, Any] = {"id": f"d{n:010x}", "messages": messages, "source": f"chat-{n % 12}.jsonl", "line": n}
            if n % 97 == 0:
                row["tags"] = ["keep"]
            if n % 50 == 0:
                row["state"] = "rejected"
            if n % 100_000 == 77_777:
                messages[3]["content"] += " zebra crossing"
            lines.append(msgspec.json.encode(row))
        (persona.dialogue / f"{first // SHARD_ROWS + 1:04}.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def worked_so_far() -> float:
    """Seconds of processor time of this process and of those it started and saw end."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def timed(work: Callable[[], Any], times: int = 1) -> tuple[tuple[float, float], Any]:
    """Milliseconds by the clock and of work (medians), and what came of it."""
    taken, worked = [], []
    for _ in range(times):
        begun, busy = time.perf_counter(), worked_so_far()
        found = work()
        taken.append(1000 * (time.perf_counter() - begun))
        worked.append(1000 * (worked_so_far() - busy))
    return (median(taken), median(worked)), found


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    place = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp())
    persona = create("Bench", parent=place) if not (place / "bench").exists() else None
    if persona is None:
        from studio.persona.folder import open_persona

        persona = open_persona(place / "bench")
    else:
        fill(persona, number)
    size = sum(path.stat().st_size for path in persona.dialogue.iterdir())
    print(f"{number:,} rows, {size / 1e6:.0f} MB in {len(list(persona.dialogue.iterdir())):,} shards\n")
    naive, _ = timed(lambda: sum(1 for _ in rows(persona)), 2)

    def told(what: str, taken: tuple[float, float], note: str = "") -> None:
        print(
            f"{what:42} {taken[0]:9.1f} ms  work {taken[1]:9.1f} ms  {naive[1] / max(taken[1], 0.01):9.1f} times less than the whole read  {note}",
            flush=True,
        )

    told("the whole set read row by row", naive)
    shutil.rmtree(persona.private, ignore_errors=True)
    index = Index(persona)
    told("index made from nothing", timed(index.refresh)[0])
    index.close()

    def opened() -> Index:
        fresh = Index(persona)
        fresh.refresh()
        fresh.read([fresh.layout.key(i) for i in range(40)])
        return fresh

    taken, index = timed(opened, 5)
    told("opened, first page read", taken)
    drawn = random.Random(3)

    def page() -> None:
        first = drawn.randrange(number - 40)
        index.read([index.layout.key(i) for i in range(first, first + 40)])

    told("a page of 40 rows anywhere", timed(page, 50)[0])
    told("a row by its id", timed(lambda: index.beginning(f"d{drawn.randrange(number):010x}"), 50)[0])
    for line in ("src:chat-7", "tag:keep -is:rejected", "len>600", "is:rejected len<300", "turns>=2"):
        taken, found = timed(partial(index.find, parse(line)), 5)
        told(f"filter {line}", taken, f"{len(found):,} rows")
    told("texts written for the first search", timed(index.write_texts)[0])
    for line in ('"zebra crossing"', "zebra src:chat-5", '"lamp ferry storm"', "kettle", '"őrzi könyv"', "点灯 -tag:keep", "kettle -点灯"):
        taken, found = timed(partial(index.find, parse(line)), 5)
        told(f"search {line}", taken, f"{len(found):,} rows")

    editor = Editor(persona, index)
    told("one row edited, durably, and seen again", timed(lambda: editor.rewrite(f"d{drawn.randrange(number):010x}", 1, "Then sit."), 20)[0])
    told("undone", timed(editor.undo, 20)[0])
    scattered = [f"d{n:010x}" for n in range(7, number, number // 1000)]
    told("1,000 rows all over the set rejected", timed(lambda: editor.judge(scattered, REJECTED))[0])
    told("undone", timed(editor.undo)[0])
    told("menu of filters counted", timed(index.counts, 3)[0])
    disk = sum(path.stat().st_size for path in persona.private.iterdir())
    print(f"\nmemory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB, index and texts {disk / 1e6:.0f} MB on disk")
    if len(sys.argv) < 3:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
