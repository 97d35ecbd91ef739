"""The plan's memory beside what the stages measured: each training in a process of its own, a few steps long.

    python tests/bench/plan_memory.py [--base FOLDER] [--only NAME,…] [--out FILE]

Without ``--base`` a model of 47 M random weights (Qwen3's shape, a vocabulary of 32,768). On a machine with a GPU what is planned and
measured is the GPU's memory, else the process's. A plan is good that is within 10 %.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMON: dict[str, Any] = {"learning_rate": 1e-5, "epochs": 1.0, "evals_per_epoch": 1, "probes": 0, "batch": 2, "length": 512}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cpt-full": ("cpt", {}),
    "cpt-full-remembered": ("cpt", {"gradient_checkpointing": False}),
    "cpt-full-adafactor": ("cpt", {"optimizer": "adafactor"}),
    "sft-lora": ("sft", {}),
    "sft-lora-remembered": ("sft", {"gradient_checkpointing": False}),
    "sft-lora-1024": ("sft", {"length": 1024}),
    "dpo-lora": ("dpo", {}),
    "dpo-lora-2-at-once": ("dpo", {"micro_batch": 2}),
}
STEPS = 2


def made_up(folder: Path) -> Path:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from studio.stages.model import TOKENIZER_FILES
    from studio.stages.pocket import ensure_pocket

    torch.manual_seed(3)
    shape = {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    }
    ends = {"eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
    Qwen3ForCausalLM(Qwen3Config(vocab_size=32768, max_position_embeddings=4096, tie_word_embeddings=True, **shape, **ends)).save_pretrained(folder)
    pocket = ensure_pocket()
    for name in TOKENIZER_FILES:
        if (pocket / name).is_file():
            shutil.copyfile(pocket / name, folder / name)
    return folder


def rows(stage: str, words: list[str], number: int, tokens: int) -> list[Any]:
    """Rows that fill ``tokens``: a plan is for the longest there can be."""

    def said(at: int, share: int) -> str:
        many = tokens // share
        return " ".join(words[(at * many + place) % len(words)] for place in range(many))

    found: list[Any] = []
    for at in range(number):
        if stage == "cpt":
            found.append({"text": said(at, 1)})
        elif stage == "sft":
            found.append({"messages": [{"role": "user", "content": said(at, 8)}, {"role": "assistant", "content": said(at + 7, 1)}]})
        else:
            answers = ({"role": "assistant", "content": said(at + shift, 2)} for shift in (3, 5))
            chosen, rejected = ([answer] for answer in answers)
            found.append(
                {"prompt": [{"role": "user", "content": said(at, 8)}], "chosen": chosen, "rejected": rejected, "cut": ["chosen", "rejected"]}
            )
    return found


def measured(folder: Path, base: Path, stage: str, settings: dict[str, Any]) -> tuple[dict[str, int], int]:
    from studio import planning
    from studio.forecast import memory_there, on_gpu
    from studio.jobs.runs import read_events
    from studio.recipes.files import from_toml
    from studio.recipes.schema import Training
    from tests.stages.conftest import lore, run_in

    words = " ".join(row["text"] for row in lore(400)).split()
    wanted = COMMON | settings
    train = rows(stage, words, STEPS * wanted["batch"], wanted["length"])
    run = run_in(folder, base, stage, train=train, val=train[:2], **{"gradient_checkpointing": True, **wanted})
    command = [sys.executable, "-m", "studio.stages", str(run)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    recipe = from_toml(stage, (run / "recipe.toml").read_text())
    assert isinstance(recipe, Training)
    parts = planning.memory(recipe, planning.shape_of(base), memory_there()[0], on_gpu())  # type: ignore[arg-type]
    return parts, next(event["peak_bytes"] for event in read_events(run) if event["kind"] == "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--out", default="")
    chosen = parser.parse_args()
    from studio import planning

    told = {}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(chosen.base) if chosen.base else made_up(Path(folder) / "base")
        for name, (stage, settings) in CASES.items():
            if chosen.only and name not in chosen.only.split(","):
                continue
            parts, peak = measured(Path(folder) / name, base, stage, settings)
            planned = planning.total(parts)
            told[name] = {"planned": planned, "measured": peak, "parts": parts}
            shown = ", ".join(f"{part} {size / 1e6:.0f}" for part, size in parts.items())
            print(f"{name:22} planned {planned / 1e6:6.0f} MB, measured {peak / 1e6:6.0f} MB ({planned / peak - 1:+.1%})   {shown}", flush=True)
    if chosen.out:
        Path(chosen.out).write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
