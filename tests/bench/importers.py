"""How long a six-year chat takes: 80,000 messages as WhatsApp and as Telegram write them, from file to rows in the persona folder.

    python -m tests.bench.importers [MESSAGES]

Prints seconds (wall and processor), the peak of memory above the start, and what became of the messages; twice the size beside it, for growth.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

MESSAGES = 80_000
SENTENCE = "the lamp ferry is late again and nobody counts crates but me so come up sit down mind that step it rains on all nine of them tonight"
WORDS = SENTENCE.split()


def history(count: int) -> list[tuple[datetime, str, str]]:
    """``(when, who, text)`` over six years: bursts, nights, pictures, long and short messages."""
    dice = random.Random(7)
    at = datetime(2019, 6, 13, 9, tzinfo=UTC)
    step = timedelta(days=6 * 365) / count
    found = []
    who = "Tom"
    for _ in range(count):
        night = dice.random() < 0.08
        at += step * (dice.uniform(8, 16) if night else dice.uniform(0.0, 0.1))
        if night or dice.random() < 0.6:
            who = "Mira" if who == "Tom" else "Tom"
        text = "" if dice.random() < 0.04 else " ".join(dice.choices(WORDS, k=min(80, 1 + int(dice.expovariate(1 / 9)))))
        found.append((at, who, text))
    return found


def whatsapp(path: Path, said: list[tuple[datetime, str, str]]) -> None:
    lines = (f"{at.day}/{at.month}/{at:%y}, {at:%H:%M} - {who}: {text or '<Media omitted>'}" for at, who, text in said)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def telegram(path: Path, said: list[tuple[datetime, str, str]]) -> None:
    messages = [
        {
            "id": number,
            "type": "message",
            "date": f"{at:%Y-%m-%dT%H:%M:%S}",
            "date_unixtime": str(int(at.timestamp())),
            "from": who,
            "from_id": "user1" if who == "Tom" else "user2",
            "text": text,
            "text_entities": [{"type": "plain", "text": text}] if text else [],
        }
        | ({} if text else {"photo": "photos/x.jpg"})
        for number, (at, who, text) in enumerate(said, 1)
    ]
    path.write_text(json.dumps({"name": "Mira", "type": "personal_chat", "id": 2, "messages": messages}, indent=1), encoding="utf-8")


def measure(path: Path) -> None:
    """One import in this process."""
    from studio.dialogue.adding import add
    from studio.persona.folder import create

    persona = create("Mira", parent=path.parent / "personas")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    report = add(persona, [path])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{path.stem:10} {report.read:>8,} messages  {path.stat().st_size / 1e6:6.1f} MB  {wall:6.2f} s  {cpu:6.2f} s of processor  +{peak:4.0f} MB"
        f"  {report.kept:>7,} rows, {report.used:,} used, dropped {dict(report.dropped)}",
        flush=True,
    )


def main(count: int) -> None:
    for size in (count, 2 * count):
        said = history(size)
        for write in (whatsapp, telegram):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{write.__name__}{'.txt' if write is whatsapp else '.json'}"
                write(path, said)
                # Each in a process of its own: memory that one took is not given back.
                child = os.fork()
                if not child:
                    os.environ["STUDIO_HOME"] = folder
                    measure(path)
                    os._exit(0)
                os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES)
