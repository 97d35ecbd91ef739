"""Near duplicates among 100,000 dialogues: the studio's search against libraries, by time, memory, recall and precision.

    python tests/bench/near_duplicates.py [--rows N] [--seed N] [--python PYTHON] [--only NAME]… [--out FILE]

``--python`` is an interpreter that has the libraries (``pip install datasketch gaoya`` in an environment of its own). Every way runs in a
process of its own on one core; time is from texts in memory to pairs in memory, memory is the process's peak with the texts in it. The ratio
is of processor time, which other work on the machine hardly changes. The dialogues are made of a skewed vocabulary, three in a
hundred are others with up to one word in twelve changed. Truth: the planted pairs whose exact Jaccard index of 5-grams of characters is at
least 0.7; what else a way finds is checked against the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

THRESHOLD = 0.7
BANDS, ROWS = 25, 5
WAYS = ("studio", "gaoya", "datasketch")

Pairs = list[tuple[int, int]]


def dialogues(rows: int, seed: int) -> tuple[list[str], Pairs]:
    """Texts of 20 to 110 words, and the pairs that were planted."""
    chance = random.Random(seed)
    words = ["".join(chance.choice("bcdfghjklmnprstvw") + chance.choice("aeiou") for _ in range(chance.randint(1, 4))) for _ in range(30_000)]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    planted = rows * 3 // 100
    drawn = chance.choices(words, weights, k=rows * 66)
    texts, at = [], 0
    for _ in range(rows - planted):
        length = chance.randint(20, 110)
        texts.append(drawn[at : at + length] if at + length <= len(drawn) else chance.choices(words, weights, k=length))
        at += length
    pairs = []
    for _ in range(planted):
        source = chance.randrange(rows - planted)
        copy = list(texts[source])
        for _ in range(chance.randint(1, max(1, len(copy) // 12))):
            copy[chance.randrange(len(copy))] = chance.choice(words)
        pairs.append((source, len(texts)))
        texts.append(copy)
    return [" ".join(text) for text in texts], pairs


def by_studio(texts: list[str]) -> Pairs:
    from studio.near import pairs

    return [(i, j) for i, j, _ in pairs(texts, THRESHOLD)]


def by_datasketch(texts: list[str]) -> Pairs:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(params=(BANDS, ROWS), num_perm=BANDS * ROWS)
    grams = ([text[i : i + 5].encode() for i in range(max(1, len(text) - 4))] for text in texts)
    found = []
    hashes: list[Any] = []
    for number, one in enumerate(MinHash.generator(grams, num_perm=BANDS * ROWS, seed=7)):
        for other in index.query(one):
            if one.jaccard(hashes[other]) >= THRESHOLD - 0.1:
                found.append((other, number))
        index.insert(number, one, check_duplication=False)
        hashes.append(one)
    return found


def by_gaoya(texts: list[str]) -> Pairs:
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        hash_size=32, jaccard_threshold=THRESHOLD, num_bands=BANDS, band_size=ROWS, num_hashes=BANDS * ROWS, analyzer="char", ngram_range=(5, 5)
    )
    index.par_bulk_insert_docs(list(range(len(texts))), texts)
    return [(min(i, j), max(i, j)) for i, others in enumerate(index.par_bulk_query(texts)) for j in others if i < j]


def jaccard(one: str, other: str) -> float:
    a, b = ({text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in (one, other))
    return len(a & b) / len(a | b)


def work(way: str, folder: Path) -> None:
    texts = json.loads((folder / "texts.json").read_text())
    began, used = time.perf_counter(), time.process_time()
    found = {"studio": by_studio, "datasketch": by_datasketch, "gaoya": by_gaoya}[way](texts)
    made = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - used,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "pairs": found,
    }
    (folder / f"{way}.json").write_text(json.dumps(made))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--only", action="append", default=[], choices=WAYS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker[0], Path(asked.worker[1]))
        return 0
    texts, planted = dialogues(asked.rows, asked.seed)
    truth = {pair for pair in planted if jaccard(texts[pair[0]], texts[pair[1]]) >= THRESHOLD}
    print(f"{len(texts):,} dialogues, {sum(map(len, texts)) / len(texts):.0f} characters each, {len(truth):,} planted pairs of {THRESHOLD} and more")
    told = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts.json").write_text(json.dumps(texts))
        for way in asked.only or WAYS:
            python = sys.executable if way == "studio" else asked.python
            alone = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            core = ["taskset", "-c", "0"] if Path("/usr/bin/taskset").exists() else []
            if subprocess.run([*core, python, __file__, "--worker", way, name], env=alone, check=False).returncode:
                print(f"{way}: could not be run by {python}", file=sys.stderr)
                continue
            made = json.loads((folder / f"{way}.json").read_text())
            found = {tuple(pair) for pair in made["pairs"]}
            right = sum(jaccard(texts[i], texts[j]) >= THRESHOLD for i, j in found)
            told.append(
                {
                    "way": way,
                    "cpu seconds": round(made["cpu_seconds"], 2),
                    "seconds": round(made["seconds"], 2),
                    "megabytes": round(made["megabytes"]),
                    "recall": round(len(truth & found) / len(truth), 4),
                    "precision": round(right / len(found), 4) if found else None,
                    "pairs": len(found),
                }
            )
    fastest = min((one["cpu seconds"] for one in told), default=1.0)
    for one in told:
        one["ratio to the fastest"] = round(one["cpu seconds"] / fastest, 2)
        print("  ".join(f"{key} {value}" for key, value in one.items()))
    if asked.out:
        asked.out.write_text(json.dumps({"rows": asked.rows, "seed": asked.seed, "planted": len(truth), "ways": told}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
