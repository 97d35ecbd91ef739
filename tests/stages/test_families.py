"""Families by their config: a tiny random model of each goes through CPT, SFT, merge and quantize, and real vLLM serves what came of it: the same
words as transformers says, with the same probabilities.

All in one process, and one of the serving environment takes all models one after the other: imports are nearly all that this costs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from studio.checkpoints.templates import template_for
from studio.engines import environment, vllm
from studio.persona.folder import create
from studio.stages import data
from studio.stages.model import TOKENIZER_FILES, is_hybrid, load_adapter, load_model, load_transformers_tokenizer
from tests.engines.conftest import MACHINE_HOME, at_home

from .conftest import dialogue, done, events, lore, run_in

SMALL: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}

FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {"head_dim": 32}),
    "qwen3.5": (
        "Qwen3_5ForCausalLM",
        "Qwen3_5TextConfig",
        {
            "head_dim": 32,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
        },
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"tie_word_embeddings": False}),
    "mistral": ("MistralForCausalLM", "MistralConfig", {"sliding_window": 64}),
    "gemma3": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        {"head_dim": 32, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gemma3 that sees": (
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        {
            "text_config": SMALL | {"head_dim": 32, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
            "vision_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28},
            "mm_tokens_per_image": 4,
        },
    ),
    "gemma4": (
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        {
            "head_dim": 32,
            "global_head_dim": 64,
            "sliding_window": 64,
            "num_hidden_layers": 3,
            "num_kv_shared_layers": 1,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": 4096,
        },
    ),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", {"no_rope_layers": [1, 0]}),
}


def family(name: str, pocket: Path, folder: Path) -> Path:
    """A random model of two small layers with the pocket's tokenizer."""
    import transformers

    model, config, more = FAMILIES[name]
    torch.manual_seed(5)
    around = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0} | ({} if "text_config" in more else SMALL)
    made = getattr(transformers, model)(getattr(transformers, config)(**around | more))
    made.save_pretrained(folder)
    for file in TOKENIZER_FILES:
        if (pocket / file).is_file():
            shutil.copyfile(pocket / file, folder / file)
    return folder


def log_probabilities(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model.eval()(input_ids=torch.tensor([ids])).logits[0].float(), -1)


class Way(NamedTuple):
    """Where a family came by."""

    base: Path
    cpt: Path
    """The run."""
    learned: Path
    tuned: Path
    merged: Path
    quantized: Path


@pytest.fixture(scope="module")
def way(pocket: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Way]:
    """``way("llama")`` is the whole way of a family, gone once."""

    @cache
    def gone(name: str) -> Way:
        root = tmp_path_factory.mktemp(name)
        base = family(name, pocket, root / "base")
        create("Persona", str(base), parent=root)
        # A rate at which so small a model learns.
        cpt = run_in(root, pocket, "cpt", weights=base, learning_rate=5e-3, length=96, train=lore(4), val=lore(6)[4:])
        inputs = json.loads((cpt / "inputs.json").read_text())
        (cpt / "inputs.json").write_text(json.dumps(inputs | {"parent_path": str(base)}))
        checkpoints = root / "persona" / "checkpoints"
        (learned,) = done(cpt)["checkpoints"]
        talk: dict[str, Any] = {"train": dialogue(4), "val": dialogue(6)[4:], "length": 96, "learning_rate": 1e-3, "rank": 4, "alpha": 8}
        (tuned,) = done(run_in(root, pocket, "sft", "sft-2", parent=learned, **talk))["checkpoints"]
        short: dict[str, Any] = {"train": dialogue(1), "val": dialogue(5)[4:]}
        folding = run_in(root, pocket, "merge", "merge-3", tuned, checkpoints / learned, "adapter", checkpoints=[tuned], **short)
        (merged,) = done(folding)["checkpoints"]
        (small,) = done(run_in(root, pocket, "quantize", "quantize-4", merged, scheme="fp8-dynamic", **short))["checkpoints"]
        return Way(base, cpt, *(checkpoints / each for each in (learned, tuned, merged, small)))

    return gone


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_all_the_way(way: Callable[[str], Way], name: str) -> None:
    gone = way(name)
    assert events(gone.cpt, "eval")[-1]["val_loss"] < events(gone.cpt, "eval")[0]["val_loss"]
    if name == "qwen3.5":
        assert is_hybrid(gone.base) and events(gone.cpt, "warning")[0]["text"].startswith("Packing is off")
        assert json.loads((gone.learned / "config.json").read_text())["layer_types"][0] == "linear_attention"
    assert events(gone.cpt, "plan")[0]["packed"] is (name != "qwen3.5")
    if name == "gemma3 that sees":
        before, after = (load_file(folder / "model.safetensors") for folder in (gone.base, gone.learned))
        moved = {key.partition(".")[0] for key in before if not torch.equal(before[key].bfloat16(), after[key].bfloat16())}
        assert moved == {"language_model"}, "what text does not pass has learned"
        assert all(".language_model." in key for key in load_file(gone.tuned / "adapter_model.safetensors"))
        assert vllm.fitting(gone.tuned, gone.learned, gone.tuned / "none") == gone.tuned, "vLLM takes its names as they are"

    tokenizer = load_transformers_tokenizer(gone.tuned, trust=False)
    ids = data.conversations(dialogue(1), tokenizer, template_for(gone.tuned), 96).rows[0].input_ids
    learned = load_model(gone.learned, "float32", "sdpa", trust=False)
    before = log_probabilities(learned, ids)
    adapted = log_probabilities(load_adapter(learned, str(gone.tuned), trainable=False), ids)
    assert (adapted - before).abs().max() > 1e-3

    folded = log_probabilities(load_model(gone.merged, "float32", "sdpa", trust=False), ids)
    # Written in bf16: eight bits of every weight.
    assert (folded - adapted).abs().max() < 0.15 * max(1.0, float((adapted - before).abs().max()))
    assert (folded - adapted).abs().mean() < 0.02
    for each in (gone.merged, gone.quantized):
        assert (each / "chat_template.jinja").read_bytes() == (gone.tuned / "chat_template.jinja").read_bytes()
        stops = [json.loads((folder / "generation_config.json").read_text())["eos_token_id"] for folder in (gone.tuned, each)]
        assert stops[0] == stops[1] and len(stops[0]) == 2

    config = json.loads((gone.quantized / "config.json").read_text())
    assert "lm_head" in str(config["quantization_config"]["ignore"])
    rough = log_probabilities(load_model(gone.quantized, "float32", "sdpa", trust=False), ids)
    assert 0 < (rough - folded).abs().mean() < 0.1


SAY = """
import gc, json, sys
from functools import cache
from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.platforms.cpu import CpuPlatform
# Each model's start looks through all that is imported: for garbage five times, for kernels to replace once more. 4 s a model without this.
gc.collect()
gc.freeze()
gc.unfreeze = lambda: None
CpuPlatform.register_triton_kernel_overrides = staticmethod(cache(CpuPlatform.register_triton_kernel_overrides))
small = dict(enforce_eager=True, max_model_len=128, max_num_seqs=4, max_num_batched_tokens=128, kv_cache_memory_bytes=16 << 20)
for word in sys.argv[3:]:
    dtype, _, folder = word.partition("=")
    try:
        sees = "vision_config" in json.load(open(folder + "/config.json"))  # then the studio starts it with this option too
        llm = LLM(model=folder, dtype=dtype, language_model_only=sees, **small)
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
EXACT = 1e-3
"""Nats by which vLLM and transformers may differ in float32."""
ROUGH = {"qwen3.5": 0.1}
"""vLLM computes linear attention on a processor in bf16 alone."""
QUANTIZED = 0.1
"""vLLM rounds what goes into a layer of 8 bits as well, in bf16."""


@pytest.mark.serving
@pytest.mark.timeout(1800)
def test_every_family_is_served_as_it_was_made(way: Callable[[str], Way]) -> None:
    with at_home(MACHINE_HOME):
        python = environment.build(print).python
    made: dict[str, tuple[Path, str, float]] = {}
    for name in sorted(FAMILIES, key=ROUGH.__contains__):  # one that does not start leaves nothing behind for those after it
        made[name] = way(name).merged, "bfloat16" if name in ROUGH else "float32", ROUGH.get(name, EXACT)
        made[f"{name}, quantized"] = way(name).quantized, "bfloat16", max(QUANTIZED, ROUGH.get(name, 0))
    asked = [5, 300, 1200, 40, 777, 2048]
    plain = {"HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
    words = [str(python), "-c", SAY, json.dumps(asked), str(MOST), *(f"{dtype}={folder}" for folder, dtype, _ in made.values())]
    ended = subprocess.run(words, env=os.environ | plain, capture_output=True, text=True, timeout=1800)
    told = [json.loads(line.removeprefix("SAID ")) for line in ended.stdout.splitlines() if line.startswith("SAID ")]
    assert len(told) == len(made), ended.stderr[-2000:]
    assert not [(name, said["problem"]) for name, said in zip(made, told, strict=True) if "problem" in said]
    worst = {}
    for (name, (folder, _, limit)), said in zip(made.items(), told, strict=True):
        scores = log_probabilities(load_model(folder, "float32", "sdpa", trust=False), [*asked, *said["tokens"]])[len(asked) - 1 : -1]
        own = scores.gather(-1, torch.tensor(said["tokens"])[:, None])[:, 0]
        assert float((scores.max(-1).values - own).max()) < limit, f"{name}: not the likeliest words"
        worst[name] = round(float((own - torch.tensor(said["nats"])).abs().max()), 6)
    print(f"\nvLLM against transformers, largest difference of a log-probability: {worst}")
    assert all(worst[name] < limit for name, (_, _, limit) in made.items()), worst
