"""Lore of 50 MB (about 12 million tokens), read, cleaned, searched for repetitions, counted in tokens and built in one pass.

    python tests/bench/lore.py [--megabytes 50] [--tokenizer tokenizer.json] [--naive]

The text is made of the sample persona's sentences in new orders, in four formats (hard-wrapped txt, html, epub, jsonl), with planted exact and near
duplicates and a footer in every file. ``--naive`` also does the same with what one would take first: a pass of ``ftfy.fix_text``, a set of 5-grams
and MinHash in plain Python for every paragraph, one call of the tokenizer for each; on a tenth of the text, scaled.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import textwrap
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
FOOTER = "This chapter was put on line by the friends of the lost property office; tell them of mistakes."


def sentences(language: str) -> list[str]:
    found: list[str] = []
    for path in sorted((ROOT / "personas" / "wen" / "lore").glob(f"*.{language}.md")):
        text = re.sub(r"^#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\n", " ")
        found += [part.strip() for part in re.findall(r"[^.!?。！？]{15,300}[.!?。！？]+[”\"’」]*", text)]
    return found


def paragraphs(seed: int) -> Iterator[str]:
    """New paragraphs without end: sentences in random order, every fortieth one said before, every fortieth one nearly said before."""
    dice = random.Random(seed)
    english, chinese = sentences("en"), sentences("zh")
    said: list[str] = []
    while True:
        roll = dice.random()
        if said and roll < 0.025:
            yield dice.choice(said)
        elif said and roll < 0.05:
            words = dice.choice(said).split(" ")
            words[dice.randrange(len(words))] = "perhaps"
            yield " ".join(words)
        else:
            pool, glue = (chinese, "") if roll > 0.9 else (english, " ")
            made = glue.join(dice.sample(pool, dice.randint(2, 6)))
            if len(said) < 5000:
                said.append(made)
            yield made


def write_corpus(folder: Path, megabytes: float) -> int:
    """Files of about 500 kB; the bytes written (of text, before markup)."""
    wanted = int(megabytes * 1e6)
    source = paragraphs(17)
    written = number = 0
    while written < wanted:
        number += 1
        parts: list[str] = []
        size = 0
        while size < 500_000 and written + size < wanted:
            parts.append(next(source))
            size += len(parts[-1].encode())
        written += size
        chapters = [parts[i : i + 60] for i in range(0, len(parts), 60)]
        if number % 4 == 0:
            body = "".join(f"<h2>Chapter {n}</h2>" + "".join(f"<p>{p}</p>" for p in chapter) for n, chapter in enumerate(chapters, 1))
            (folder / f"book-{number}.html").write_text(f"<html><body><nav>menu</nav>{body}<p>{FOOTER}</p></body></html>", encoding="utf-8")
        elif number % 4 == 1:
            write_epub(folder / f"book-{number}.epub", chapters)
        elif number % 4 == 2:
            rows = "".join(json.dumps({"text": "\n\n".join([*chapter, FOOTER])}, ensure_ascii=False) + "\n" for chapter in chapters)
            (folder / f"book-{number}.jsonl").write_text(rows, encoding="utf-8")
        else:
            wrapped = "\n\n".join(p if re.search("[一-鿿]", p) else textwrap.fill(p, 72) for p in [*parts, FOOTER])
            (folder / f"book-{number}.txt").write_text(wrapped + "\n", encoding="utf-8")
    return written


def write_epub(path: Path, chapters: list[list[str]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("META-INF/container.xml", '<container><rootfiles><rootfile full-path="c.opf"/></rootfiles></container>')
        items = "".join(f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters)))
        spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
        book.writestr("c.opf", f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>")
        for n, chapter in enumerate(chapters):
            body = "".join(f"<p>{p}</p>" for p in [*chapter, FOOTER])
            book.writestr(f"c{n}.xhtml", f"<html><body><h2>Chapter {n + 1}</h2>{body}</body></html>")


def make_base(folder: Path, tokenizer: Path | None) -> Path:
    """A folder that counts as a base: a config and a tokenizer, given or trained on the sample (8,000 tokens)."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    if tokenizer:
        (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
        return folder
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    made.train_from_iterator(sentences("en") + sentences("zh"), trainer)
    made.save(str(folder / "tokenizer.json"))
    return folder


class Clock:
    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self.wall, self.cpu = time.perf_counter(), cpu()

    def lap(self, what: str) -> None:
        wall, used = time.perf_counter(), cpu()
        self.rows.append((what, wall - self.wall, used - self.cpu))
        self.wall, self.cpu = wall, used


def cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def naive(folder: Path, tokenizer: Path, share: float) -> float:
    """CPU-seconds for the whole by the first way that comes to mind, from a share of it."""
    import ftfy
    from tokenizers import Tokenizer

    model = Tokenizer.from_file(str(tokenizer))
    files = sorted(folder.glob("*.txt"))[: max(1, round(len(list(folder.iterdir())) * share))]
    size = sum(path.stat().st_size for path in files)
    begun = cpu()
    seen: dict[tuple[int, int], int] = {}
    tokens = 0
    for path in files:
        for part in re.split(r"\n\s*\n", ftfy.fix_text(path.read_text(encoding="utf-8"))):
            grams = {part[i : i + 5] for i in range(len(part) - 4)}
            least = [min((hash((gram, number)) for gram in grams), default=0) for number in range(64)]
            for band in range(16):
                seen.setdefault((band, hash(tuple(least[4 * band : 4 * band + 4]))), len(seen))
            tokens += len(model.encode(part, add_special_tokens=False).ids)
    took = cpu() - begun
    return took * sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".epub") / size * 4 / 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--naive", action="store_true")
    asked = parser.parse_args()
    with TemporaryDirectory() as place:
        folder = Path(place)
        import os

        os.environ["STUDIO_HOME"] = str(folder / "home")
        (folder / "in").mkdir()
        written = write_corpus(folder / "in", asked.megabytes)
        base = make_base(folder / "base", asked.tokenizer)
        files = len(list((folder / "in").iterdir()))
        from studio.lore.build import build
        from studio.lore.measuring import measure
        from studio.lore.mending import apply, plan
        from studio.lore.sources import add
        from studio.persona.folder import create

        persona = create("Bench", str(base), parent=folder)
        clock = Clock()
        report = add(persona, [folder / "in"])
        clock.lap("read and cleaned")
        plans = plan(persona)
        cleaned = apply(persona, plans)
        clock.lap("repetitions found and left out")
        snapshot = build(persona)
        clock.lap("near duplicates, split, tokens, built")
        whole = sum(wall for _, wall, _ in clock.rows)
        measure(persona)
        clock.lap("(measured for the first time)")
        measure(persona)
        clock.lap("(measured again)")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        tokens, rows = (snapshot.train_tokens or 0) + (snapshot.val_tokens or 0), snapshot.train_rows + snapshot.val_rows
        used = sum(cpu_ for _, _, cpu_ in clock.rows[:3])
        print(f"{written / 1e6:.1f} MB in {files} files, {report.kept} kept {dict(report.dropped) or ''}; left out: {dict(cleaned)}")
        print(f"{tokens:,} tokens in {rows:,} rows; {snapshot.notes}")
        for what, wall, spent in clock.rows:
            print(f"{what:40} {wall:7.1f} s  ({spent:.1f} CPU-s)")
        print(f"{'in one pass':40} {whole:7.1f} s  ({used:.1f} CPU-s)  peak {peak:.2f} GB, its reader {children_peak():.2f} GB")
        if asked.naive:
            slow = naive(folder / "in", base / "tokenizer.json", 0.04)
            print(f"{'the first way that comes to mind':40} {slow:7.1f} CPU-s  {slow / used:.1f} times as many")


def children_peak() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
