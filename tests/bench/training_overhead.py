"""What the studio's training costs over bare TRL with the same settings: time of a step, whole trainings, and peak memory.

    python tests/bench/training_overhead.py [--stage cpt|sft] [--pairs 100] [--whole 1] [--base FOLDER] [--out FILE]

Steps: both trainings go on in one process and take turns at each step, in pairs of random order, so that whatever else the machine does falls
on both. A turn is all that happens from the beginning of a step to the beginning of the next: reading, forward, backward, optimizer, and what is
told of it. Printed are the median of the ratios ours/bare of wall and of processor time with the 95 % interval (bootstrap over pairs).

Whole: ``--whole`` pairs of processes, timed over ``Trainer.train`` and what must come with it on either side: the validation before and after,
the model written at the end; and their peak memory.

Same base, rows, packing, optimizer, precision and seed; the losses must be equal, or the comparison is refused. Goal: at most 2 % over bare TRL.
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
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "length": 256,
    "batch": 4,
    "epochs": 1.0,
    "evals_per_epoch": 1,
    "gradient_checkpointing": False,
    "probes": 0,
    "neftune": 0.0,
    "precision": "fp32",
}
WARM = 3
"""First steps of each, not counted."""
ROWS_A_STEP = {"cpt": 40, "sft": 40}
"""Rows that surely fill a step."""


def made_run(folder: Path, base: Path, stage: str, rows: int) -> Path:
    """A run folder as the launcher would make it."""
    from tests.stages.conftest import dialogue, lore, run_in

    material = lore(400) if stage == "cpt" else dialogue(400)
    train = [material[number % (len(material) - 2)] for number in range(rows)]
    return run_in(folder, base, stage, train=train, val=material[-2:], **SETTINGS)


def timed(work: Any) -> dict[str, float]:
    began, wall = time.process_time(), time.monotonic()
    work()
    return {"cpu": time.process_time() - began, "wall": time.monotonic() - wall}


def ours(run: Path) -> dict[str, Any]:
    from transformers import Trainer

    from studio.jobs.runs import read_events
    from studio.stages.__main__ import main

    told: dict[str, float] = {}
    plain = Trainer.train

    def train(self: Any, *words: Any, **settings: Any) -> Any:
        result: list[Any] = []
        told.update(timed(lambda: result.append(plain(self, *words, **settings))))
        return result[0]

    Trainer.train = train  # type: ignore[method-assign]
    assert main([str(run)]) == 0
    steps = [event for event in read_events(run) if event["kind"] == "step"]
    return {**told, "tokens": steps[-1]["tokens"], "losses": [event["loss"] for event in steps]}


def bare_trainer(run: Path) -> Any:
    """TRL's own trainer over the same rows, as its documentation shows it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    from studio.checkpoints.templates import template_for
    from studio.jobs.runs import read_run
    from studio.recipes.files import from_toml
    from studio.recipes.schema import Cpt, Sft
    from studio.stages import data

    read = read_run(run)
    recipe = from_toml(read.inputs.stage, read.recipe_text)
    assert isinstance(recipe, Cpt | Sft)
    base = Path(read.inputs.parent_path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    lore = isinstance(recipe, Cpt)

    def rows(half: str) -> Any:
        found = data.read_rows(read.inputs.data, half)
        split = data.documents(found, tokenizer) if lore else data.conversations(found, tokenizer, template_for(base), recipe.length)
        return data.batches(split.rows, recipe.length, True, split_long=lore)

    train, val = rows("train"), rows("val")
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype="float32", attn_implementation="sdpa")
    if not lore:
        set_seed(recipe.seed)
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=recipe.rank, lora_alpha=recipe.alpha, bias="none")
        )
    steps = -(-len(train) // recipe.batch)
    settings = SFTConfig(
        output_dir=str(run / "bare"),
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=recipe.batch,
        num_train_epochs=1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(recipe.warmup * steps),
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_length=None,
        padding_free=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return SFTTrainer(model=model, args=settings, train_dataset=train, eval_dataset=val, processing_class=tokenizer)


def bare(run: Path) -> dict[str, Any]:
    trainer = bare_trainer(run)

    def work() -> None:
        trainer.evaluate()
        trainer.train()
        trainer.evaluate()
        trainer.save_model()

    told = timed(work)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {**told, "tokens": logged[-1]["num_tokens"], "losses": [entry["loss"] for entry in logged]}


class Done(BaseException):
    """Enough steps were measured."""


class Turns:
    """Who steps when: pairs of the two in random order. Each waits at the beginning of its step until it is its turn."""

    def __init__(self, pairs: int) -> None:
        chance = random.Random(3)
        # The first steps of each are warming up.
        self.order = [name for _ in range(pairs + WARM) for name in chance.choice((("ours", "bare"), ("bare", "ours")))]
        self.at = 0
        self.arrived: set[str] = set()
        self.began = clocks()
        self.took: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
        self.changed = threading.Condition()

    def step_begins(self, name: str) -> None:
        """The step before, if there was one, is over; returns when the next may begin."""
        with self.changed:
            if name in self.arrived:
                now = clocks()
                self.took[name].append((now[0] - self.began[0], now[1] - self.began[1]))
                self.at += 1
            self.arrived.add(name)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.at >= len(self.order) or (len(self.arrived) == 2 and self.order[self.at] == name))
            if self.at >= len(self.order):
                raise Done
            self.began = clocks()


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def steps(run: Path, pairs: int) -> dict[str, Any]:
    """Both trainings in turns; the ratios of their steps with their intervals."""
    from transformers import TrainerCallback

    from studio.jobs.runs import read_events
    from studio.stages.__main__ import main, prepare_process
    from studio.stages.watching import Watch

    turns = Turns(pairs)

    class Turn(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            turns.step_begins("bare")

    def go() -> None:
        try:
            trainer.train()
        except Done:
            pass

    prepare_process()
    trainer = bare_trainer(run)
    trainer.add_callback(Turn())
    other = threading.Thread(target=go)
    other.start()
    while "bare" not in turns.arrived:  # seeds are set and rows are drawn by one after the other
        assert other.is_alive()
        time.sleep(0.01)
    plain = Watch.on_step_begin

    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        turns.step_begins("ours")
        plain(self, args, state, control, **more)

    Watch.on_step_begin = on_step_begin  # type: ignore[method-assign]
    try:
        main([str(run)])
        raise SystemExit("The training ended before enough steps were measured; the rows are too few.")
    except Done:
        other.join()
    losses = [event["loss"] for event in read_events(run) if event["kind"] == "step"]
    refuse_unequal(losses, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    found: dict[str, Any] = {"pairs": pairs}
    for clock, what in enumerate(("wall", "processor")):
        ours_, bare_ = ([step[clock] for step in turns.took[name][WARM:]] for name in ("ours", "bare"))
        middle, low, high = ratio(ours_, bare_)
        found[what] = {"bare_ms": round(1000 * median(bare_), 1), "over": round(middle - 1, 5), "low": round(low - 1, 5), "high": round(high - 1, 5)}
    return found


def ratio(ours_: list[float], bare_: list[float]) -> tuple[float, float, float]:
    """Median over pairs of ours/bare, and its 95 % interval."""
    ratios = [a / b for a, b in zip(ours_, bare_, strict=True)]
    chance = random.Random(7)
    drawn = sorted(median(chance.choices(ratios, k=len(ratios))) for _ in range(4000))
    return median(ratios), drawn[100], drawn[3899]


def refuse_unequal(ours_: list[float], bare_: list[float]) -> None:
    if any(abs(float(a) - float(b)) > 1e-3 for a, b in zip(ours_, bare_, strict=False)):
        raise SystemExit("The losses differ: these are not the same trainings, and nothing is compared.")


def one(kind: str, run: Path, pairs: int) -> None:
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    found = steps(run, pairs) if kind == "steps" else (ours if kind == "ours" else bare)(run)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (run / f"{kind}.json").write_text(json.dumps(found))


def process(kind: str, run: Path, pairs: int = 0) -> Any:
    words = [sys.executable, __file__, "--one", kind, "--run", str(run), "--pairs", str(pairs)]
    # One heap for both: glibc gives a thread one of its own, from which large blocks come and go at another price (9 % of a step of CPT).
    alone = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    subprocess.run(words, check=True, cwd=ROOT, env=os.environ | alone, stdout=subprocess.DEVNULL)
    return json.loads((run / f"{kind}.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description="The studio's training against bare TRL.")
    parser.add_argument("--pairs", type=int, default=100, help="pairs of steps")
    parser.add_argument("--whole", type=int, default=1, help="pairs of whole trainings")
    parser.add_argument("--rows", type=int, default=200, help="rows of a whole training")
    parser.add_argument("--base", default="")
    parser.add_argument("--stage", default="cpt", choices=("cpt", "sft"))
    parser.add_argument("--out", default="")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen.one, Path(chosen.run), chosen.pairs)
        return
    from studio.stages.pocket import ensure_pocket

    base = Path(chosen.base) if chosen.base else ensure_pocket()
    told: dict[str, Any] = {"stage": chosen.stage, "load": os.getloadavg()[0]}
    if chosen.pairs:
        with tempfile.TemporaryDirectory() as folder:
            enough = (chosen.pairs + WARM + 1) * ROWS_A_STEP[chosen.stage]
            told["steps"] = process("steps", made_run(Path(folder), base, chosen.stage, enough), chosen.pairs)
        for what in ("wall", "processor"):
            found = told["steps"][what]
            print(
                f"{what} time of a step: {found['bare_ms']:.1f} ms bare; ours {100 * found['over']:+.2f} % "
                f"(95 %: {100 * found['low']:+.2f} to {100 * found['high']:+.2f})",
                flush=True,
            )
    pairs = []
    for number in range(chosen.whole):
        with tempfile.TemporaryDirectory() as folder:
            run = made_run(Path(folder), base, chosen.stage, chosen.rows)
            pair = {kind: process(kind, run) for kind in (("ours", "bare") if number % 2 == 0 else ("bare", "ours"))}
        refuse_unequal(pair["ours"]["losses"], pair["bare"]["losses"])
        pairs.append(pair)
        rates = {kind: pair[kind]["tokens"] / pair[kind]["cpu"] for kind in pair}
        print(f"whole training {number + 1}: ours {rates['ours']:,.0f}, bare {rates['bare']:,.0f} tokens per processor second", flush=True)
    if pairs:
        told["whole"] = {
            "pairs": len(pairs),
            "tokens": pairs[0]["ours"]["tokens"],
            "speed_ratio": round(median(pair["bare"]["cpu"] / pair["ours"]["cpu"] for pair in pairs), 4),
            "memory_ratio": round(median(pair["ours"]["peak"] / pair["bare"]["peak"] for pair in pairs), 4),
        }
    print(json.dumps(told))
    if chosen.out:
        Path(chosen.out).write_text(json.dumps({**told, "runs": pairs}, indent=2))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
