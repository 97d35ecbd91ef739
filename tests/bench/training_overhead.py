"""What the studio's training costs over bare TRL with the same settings: tokens a second of processor time, and peak memory.

    python tests/bench/training_overhead.py [--pairs N] [--rows N] [--base FOLDER] [--stage cpt|sft] [--out FILE]

Pairs, one after the other, each in a process of its own, so that what else the machine does falls on both. Timed is ``Trainer.train`` and
what must come with it on either side: the validation before and after, the model written at the end. Same base, rows, packing, optimizer,
precision and seed; the losses must be equal, or the comparison is refused. Goal: at most 2 % over bare TRL.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
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


def bare(run: Path) -> dict[str, Any]:
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
    trainer = SFTTrainer(model=model, args=settings, train_dataset=train, eval_dataset=val, processing_class=tokenizer)

    def work() -> None:
        trainer.evaluate()
        trainer.train()
        trainer.evaluate()
        trainer.save_model()

    told = timed(work)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {**told, "tokens": logged[-1]["num_tokens"], "losses": [entry["loss"] for entry in logged]}


def one(kind: str, run: Path) -> None:
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    found = (ours if kind == "ours" else bare)(run)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (run / f"{kind}.json").write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--base", default="")
    parser.add_argument("--stage", default="cpt", choices=("cpt", "sft"))
    parser.add_argument("--out", default="")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen.one, Path(chosen.run))
        return
    from studio.stages.pocket import ensure_pocket

    base = Path(chosen.base) if chosen.base else ensure_pocket()
    pairs = []
    for number in range(chosen.pairs):
        with tempfile.TemporaryDirectory() as folder:
            run = made_run(Path(folder), base, chosen.stage, chosen.rows)
            order = ("ours", "bare") if number % 2 == 0 else ("bare", "ours")
            for kind in order:
                words = [sys.executable, __file__, "--one", kind, "--run", str(run)]
                subprocess.run(words, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
            pair = {kind: json.loads((run / f"{kind}.json").read_text()) for kind in order}
        if any(abs(float(a) - float(b)) > 1e-3 for a, b in zip(pair["ours"]["losses"], pair["bare"]["losses"], strict=True)):
            raise SystemExit("The losses differ: these are not the same trainings, and nothing is compared.")
        pairs.append(pair)
        rates = {kind: pair[kind]["tokens"] / pair[kind]["cpu"] for kind in pair}
        print(f"pair {number + 1}: ours {rates['ours']:,.0f}, bare {rates['bare']:,.0f} tokens per processor second", flush=True)
    rate = [pair["bare"]["cpu"] / pair["ours"]["cpu"] for pair in pairs]
    memory = [pair["ours"]["peak"] / pair["bare"]["peak"] for pair in pairs]
    told = {
        "stage": chosen.stage,
        "pairs": len(pairs),
        "tokens": pairs[0]["ours"]["tokens"],
        "speed_ratio": round(median(rate), 4),
        "memory_ratio": round(median(memory), 4),
    }
    print(json.dumps(told))
    if chosen.out:
        Path(chosen.out).write_text(json.dumps({**told, "runs": pairs}, indent=2))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
