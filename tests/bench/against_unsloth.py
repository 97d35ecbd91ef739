"""The studio's SFT against Unsloth on one GPU: tokens a second and peak memory, same base, rows, rank, length and batch, bf16 LoRA.

    python tests/bench/against_unsloth.py --unsloth /path/to/its/venv/bin/python [--base FOLDER] [--pairs 3] [--length 1024] [--batch 4]

Unsloth pins other versions of the libraries, so it lives in an environment of its own. Both sides read the same tokens and labels, not
packed, padded to the longest row of a step, in the same order; timed are the steps but the first three, on both sides with their own means
(the studio's stage as the launcher starts it; Unsloth's patched model under transformers' trainer, as its notebooks show it). Pairs, one
after the other. Nothing is said where there is no GPU or no Unsloth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WARM = 3
"""Steps of each side that are not counted: kernels are compiled in them."""

UNSLOTH = """
import json, sys, time
from unsloth import FastLanguageModel
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
base, rows, out, told = sys.argv[1], json.load(open(sys.argv[2])), sys.argv[3], json.loads(sys.argv[4])
model, tokenizer = FastLanguageModel.from_pretrained(base, max_seq_length=told["length"], dtype=torch.bfloat16, load_in_4bit=False)
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = FastLanguageModel.get_peft_model(
    model, r=told["rank"], lora_alpha=told["alpha"], lora_dropout=0, bias="none", target_modules=targets, use_gradient_checkpointing="unsloth"
)
def collate(batch):
    longest = max(len(row["input_ids"]) for row in batch)
    def padded(key, fill):
        return torch.tensor([row[key] + [fill] * (longest - len(row[key])) for row in batch])
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in batch])
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "attention_mask": mask}
class Clock(TrainerCallback):
    seconds = []
    def on_step_begin(self, *a, **k):
        torch.cuda.synchronize()
        self.began = time.monotonic()
    def on_step_end(self, *a, **k):
        torch.cuda.synchronize()
        self.seconds.append(time.monotonic() - self.began)
clock = Clock()
settings = TrainingArguments(
    output_dir=out, per_device_train_batch_size=told["batch"], num_train_epochs=1, learning_rate=1e-4, bf16=True, optim="adamw_torch_fused",
    logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, seed=17, remove_unused_columns=False,
)
trainer = Trainer(model=model, args=settings, train_dataset=rows, data_collator=collate, callbacks=[clock])
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
json.dump({"seconds": clock.seconds, "peak": torch.cuda.max_memory_allocated(), "losses": losses}, open(out + "/told.json", "w"))
"""


def made_run(folder: Path, base: Path, chosen: argparse.Namespace) -> Path:
    """A run folder as the launcher would make it, and its rows as tokens for the other side."""
    from studio.checkpoints.templates import template_for
    from studio.stages import data
    from studio.stages.model import load_transformers_tokenizer
    from tests.stages.conftest import dialogue, run_in

    material = dialogue(400)
    train = [material[number % (len(material) - 2)] for number in range(chosen.batch * chosen.steps)]
    settings: dict[str, Any] = {"rank": 32, "alpha": 64, "learning_rate": 1e-4, "neftune": 0.0, "packing": False, "schedule": "constant"}
    settings |= {"length": chosen.length, "batch": chosen.batch, "micro_batch": chosen.batch, "gradient_checkpointing": True, "evals_per_epoch": 1}
    run = run_in(folder, base, "sft", train=train, val=material[-2:], **settings)
    tokenizer = load_transformers_tokenizer(base, trust=False)
    rows = data.conversations(train, tokenizer, template_for(base), chosen.length).rows
    (run / "rows.json").write_text(json.dumps([{"input_ids": row.input_ids, "labels": row.labels} for row in rows]))
    return run


def ours(run: Path) -> dict[str, Any]:
    from studio.jobs.runs import read_events

    subprocess.run([sys.executable, "-m", "studio.stages", str(run)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    events = read_events(run)
    rates = [event["tokens_per_s"] for event in events if event["kind"] == "step"][WARM:]
    return {"rate": median(rates), "peak": next(event["peak_bytes"] for event in events if event["kind"] == "memory")}


def theirs(run: Path, base: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    out = run / "unsloth"
    out.mkdir()
    told = json.dumps({"length": chosen.length, "batch": chosen.batch, "rank": 32, "alpha": 64})
    subprocess.run([chosen.unsloth, "-c", UNSLOTH, str(base), str(run / "rows.json"), str(out), told], check=True, cwd=out, stdout=subprocess.DEVNULL)
    found = json.loads((out / "told.json").read_text())
    # Their order of rows is their own: the tokens of an epoch over its steps are the same.
    tokens = sum(len(row["input_ids"]) for row in json.loads((run / "rows.json").read_text()))
    seconds = found["seconds"][WARM:]
    return {"rate": tokens / len(found["seconds"]) / (sum(seconds) / len(seconds)), "peak": found["peak"]}


def missing(unsloth: str) -> str:
    """What is not here, in one sentence; empty if the comparison can be made."""
    import torch

    if not torch.cuda.is_available():
        return "This comparison needs an NVIDIA GPU, and there is none here: nothing was measured."
    there = unsloth and subprocess.run([unsloth, "-c", "import unsloth"], capture_output=True, env=os.environ | {"PYTHONPATH": ""}).returncode == 0
    return "" if there else "This comparison needs Unsloth, in an environment of its own: pip install it there and name its Python with --unsloth."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unsloth", default="", metavar="PYTHON")
    parser.add_argument("--base", default="", help="a folder; both sides read it (default: pocket)")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=4)
    chosen = parser.parse_args()
    if lacks := missing(chosen.unsloth):
        print(lacks, file=sys.stderr)
        return 1
    from studio.stages.pocket import ensure_pocket

    base = Path(chosen.base) if chosen.base else ensure_pocket()
    pairs = []
    for number in range(chosen.pairs):
        with tempfile.TemporaryDirectory() as folder:
            run = made_run(Path(folder), base, chosen)
            sides = {"ours": lambda: ours(run), "unsloth": lambda: theirs(run, base, chosen)}  # noqa: B023
            pair = {name: sides[name]() for name in (sorted(sides) if number % 2 else sorted(sides, reverse=True))}
        pairs.append(pair)
        print(", ".join(f"{name}: {side['rate']:,.0f} tokens/s, {side['peak'] / 1e9:.2f} GB" for name, side in pair.items()), flush=True)
    speed, memory = (median(pair["ours"][key] / pair["unsloth"][key] for pair in pairs) for key in ("rate", "peak"))
    print(f"ours over Unsloth: speed {speed:.3f}, peak memory {memory:.3f}, median of {len(pairs)} pairs")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
