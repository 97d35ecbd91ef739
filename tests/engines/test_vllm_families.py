"""Each family's checkpoint, as the CPT stage wrote it, served by real vLLM: the same words as transformers says, with the same probabilities.

One process of the serving environment takes them one after the other, which is its imports once (tens of seconds): on demand.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from studio.engines import environment
from studio.stages.model import load_model
from studio.stages.pocket import ensure_pocket
from tests.stages.conftest import done, lore, run_in
from tests.stages.test_families import FAMILIES, family, log_probabilities

pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("STUDIO_FAMILIES" not in os.environ, reason="a minute of vLLM; set STUDIO_FAMILIES=1"),
]

SAY = """
import gc, json, sys
from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt
for word in sys.argv[3:]:
    dtype, _, folder = word.partition("=")
    try:
        llm = LLM(model=folder, dtype=dtype, enforce_eager=True, max_model_len=128, max_num_seqs=4, gpu_memory_utilization=0.5)
        wanted = SamplingParams(temperature=0, max_tokens=int(sys.argv[2]), logprobs=0, ignore_eos=True)
        (said,) = llm.generate([TokensPrompt(prompt_token_ids=json.loads(sys.argv[1]))], wanted, use_tqdm=False)
        told = {"tokens": list(said.outputs[0].token_ids)}
        told["nats"] = [one[token].logprob for one, token in zip(said.outputs[0].logprobs, told["tokens"])]
        del llm
        gc.collect()
    except Exception as error:
        told = {"problem": f"{type(error).__name__}: {error}"}
    print("SAID " + json.dumps(told), flush=True)
"""
MOST = 12
ROUGH = {"qwen3.5": 0.1}
"""vLLM computes linear attention on a processor in bf16 alone; the others are asked for in float32 and differ by less than ``EXACT`` nats."""
EXACT = 1e-3


def words_of(made: dict[str, Path]) -> list[str]:
    return [f"{'bfloat16' if name in ROUGH else 'float32'}={folder}" for name, folder in made.items()]


def test_every_family_is_served_as_it_was_trained(serving: environment.ServingEnvironment, family_home: Path, tmp_path: Path) -> None:
    import torch

    pocket = ensure_pocket()
    made: dict[str, Path] = {}
    for name in sorted(FAMILIES, key=ROUGH.__contains__):  # one that does not start leaves nothing behind for those after it
        base = family(name, pocket, tmp_path / name / "base")
        quick: dict[str, Any] = {"learning_rate": 5e-3, "length": 96, "train": lore(4), "val": lore(6)[4:]}
        run = run_in(tmp_path / name, pocket, "cpt", weights=base, **quick)
        (run / "inputs.json").write_text(json.dumps(json.loads((run / "inputs.json").read_text()) | {"parent_path": str(base)}))
        made[name] = run.parent.parent / "checkpoints" / done(run)["checkpoints"][0]
    asked = [5, 300, 1200, 40, 777, 2048]
    plain = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
    words = [str(serving.python), "-c", SAY, json.dumps(asked), str(MOST), *words_of(made)]
    ended = subprocess.run(words, env=os.environ | plain, capture_output=True, text=True, timeout=1800)
    told = [json.loads(line.removeprefix("SAID ")) for line in ended.stdout.splitlines() if line.startswith("SAID ")]
    assert len(told) == len(made), ended.stderr[-2000:]
    assert not [(name, said["problem"]) for name, said in zip(made, told, strict=True) if "problem" in said]
    worst = {}
    for (name, folder), said in zip(made.items(), told, strict=True):
        ids = [*asked, *said["tokens"]]
        row = type("Row", (), {"input_ids": ids})
        scores = log_probabilities(load_model(folder, "float32", "sdpa", trust=False), row)[len(asked) - 1 : -1]  # type: ignore[arg-type]
        own = scores.gather(-1, torch.tensor(said["tokens"])[:, None])[:, 0]
        assert float((scores.max(-1).values - own).max()) < ROUGH.get(name, EXACT), f"{name}: not the likeliest words"
        worst[name] = float((own - torch.tensor(said["nats"])).abs().max())
    print(f"\nvLLM against transformers, largest difference of a log-probability: { {name: round(value, 6) for name, value in worst.items()} }")
    assert all(value < ROUGH.get(name, EXACT) for name, value in worst.items()), worst
