"""What vLLM is told, without starting it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from studio.engines import starts, vllm, vllm_log
from studio.engines.environment import ServingEnvironment
from studio.errors import StudioError
from studio.persona.folder import Persona
from tests.engines.engine_family import chosen

HERE = ServingEnvironment("cpu", Path(sys.prefix), True, "")


def test_the_command_line_has_the_adapters_and_no_key(family: Persona, tmp_path: Path) -> None:
    root, *adapters = chosen(family, "base", "sft-1", "sft-2")
    argv = vllm.prepare(tmp_path, HERE, root, adapters, 8123, vllm.plan("cpu", root, adapters, 100_000))
    assert {"--host=127.0.0.1", "--port=8123", "--max-model-len=2048", "--enable-lora", "--enforce-eager", "--served-model-name=base"} < set(argv)
    everywhere = vllm.prepare(tmp_path / "2", HERE, root, [], 8123, vllm.plan("cpu", root, [], 100_000), host="0.0.0.0")
    assert "--host=0.0.0.0" in everywhere
    assert "--max-lora-rank=16" in argv, "the ranks are 12"
    assert "--max-loras=3" in argv, "two, and on a processor one that stays empty"
    modules = [json.loads(word) for word in argv[argv.index("--lora-modules") + 1 :] if word.startswith("{")]
    assert [(m["name"], m["path"]) for m in modules] == [(a.id, a.path) for a in adapters]
    stops = json.loads((tmp_path / "generation" / "generation_config.json").read_bytes())
    assert stops == {"eos_token_id": [2, 0]}, "<|im_end|>, <|endoftext|>"
    assert "<|im_start|>" in (tmp_path / "template.jinja").read_text()
    given = vllm.variables(HERE, tmp_path, "secret")
    assert given["VLLM_API_KEY"] == "secret" and given["HF_HUB_OFFLINE"] == "1" and "HF_TOKEN" not in given
    assert not any("secret" in word for word in argv)


def test_an_adapter_on_a_vision_wrapper_gets_the_names_vllm_looks_for(family: Persona, tmp_path: Path, pocket: Path) -> None:
    """vLLM ignores names that fit nothing: replies would be the base's, silently."""
    wrapper = tmp_path / "wrapper"
    wrapper.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (wrapper / name).write_bytes((pocket / name).read_bytes())
    weights = load_file(pocket / "model.safetensors")
    save_file({name.replace("model.", "model.language_model.", 1): t for name, t in weights.items()}, wrapper / "model.safetensors")
    (adapter,) = chosen(family, "sft-1")
    original = Path(adapter.path)
    assert vllm.fitting(original, pocket, tmp_path / "copy") == original
    copy = vllm.fitting(original, wrapper, tmp_path / "copy")
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (original, copy))
    assert len(after) == len(before) > 50
    with safe_open(wrapper / "model.safetensors", "pt") as opened:
        there = set(opened.keys())
    for name, tensor in after.items():
        assert name.removeprefix("base_model.model.").partition(".lora_")[0] + ".weight" in there
        assert tensor.equal(before[name.replace("language_model.", "")])
    save_file({"model.other.weight": next(iter(weights.values()))}, wrapper / "model.safetensors")
    with pytest.raises(StudioError, match="vLLM would ignore the adapter"):
        vllm.fitting(original, wrapper, tmp_path / "copy2")


@pytest.mark.parametrize(("rank", "told"), [(1, 1), (8, 8), (9, 16), (33, 64), (512, 512)])
def test_the_rank_is_one_that_vllm_takes(family: Persona, tmp_path: Path, rank: int, told: int) -> None:
    (adapter,) = chosen(family, "sft-1")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 1, "rank_pattern": {"x": rank}}))
    assert vllm.lora_rank([msgspec.structs.replace(adapter, path=str(tmp_path))]) == told


def test_a_rank_that_is_too_high_is_refused(family: Persona, tmp_path: Path) -> None:
    (adapter,) = chosen(family, "sft-1")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 1024}))
    with pytest.raises(StudioError, match="up to 512"):
        vllm.lora_rank([msgspec.structs.replace(adapter, path=str(tmp_path))])


def test_the_plan_leaves_room_for_adapters_that_may_come(family: Persona) -> None:
    root, *adapters = chosen(family, "base", "sft-1", "sft-2")
    alone = vllm.plan("cpu", root, [], 8192)
    assert (alone.slots, alone.context, alone.share) == (0, 2048, None) and not any("Adapters" in line for line in alone.said())
    with_room = vllm.plan("cpu", root, adapters[:1], 8192, others=adapters[1:])
    assert (with_room.slots, with_room.rank) == (2, 16) and "room for 2 up to rank 16" in with_room.said()[-1]


def test_four_bits_without_the_instructions_for_it_are_refused_before_anything_starts(
    family: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root,) = chosen(family, "cpt-1")
    folder = tmp_path / "int4"
    shutil.copytree(root.path, folder)
    config = json.loads((folder / "config.json").read_bytes())
    config["quantization_config"] = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}}
    (folder / "config.json").write_text(json.dumps(config))
    small = msgspec.structs.replace(root, id="cpt-1-int4-rtn", path=str(folder))
    monkeypatch.setattr(vllm, "avx512", lambda: False)
    with pytest.raises(StudioError, match=r"AVX-512 for the 4-bit weights of cpt-1-int4-rtn.*embedded engine"):
        vllm.plan("cpu", small, [], 1024)
    assert vllm.plan("cpu", root, [], 1024).context == 1024
    monkeypatch.setattr(vllm, "avx512", lambda: True)
    assert vllm.plan("cpu", small, [], 1024).context == 1024
    (folder / "config.json").write_text(json.dumps(config).replace('"int"', '"float"'))
    with pytest.raises(StudioError, match="NVFP4 weights of cpt-1-int4-rtn on a GPU alone"):
        vllm.plan("cpu", small, [], 1024)


def test_a_conversation_is_as_long_as_the_card_allows(family: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,048 tokens are asked for; less and less of the card is free, then too little to begin at all."""
    (root,) = chosen(family, "base")
    each = vllm._cache_bytes(json.loads((Path(root.path) / "config.json").read_bytes()))
    whole = (Path(root.path) / "model.safetensors").stat().st_size

    def planned(tokens: int) -> vllm.ServePlan:
        wanted = whole + vllm.WORKING_BYTES + each * tokens
        total = int(wanted / 0.9) + 1
        monkeypatch.setattr(vllm, "gpu_memory", lambda: vllm.GpuMemory(total, total))
        return vllm.plan("cuda", root, [], 8192)

    monkeypatch.setattr(vllm, "SPARE_BYTES", 0)
    assert (planned(10_000).context, planned(1_600).context) == (2048, 1536)
    assert "the memory holds no more" in planned(1_600).said()[0] and "90% of the GPU" in planned(1_600).said()[1]
    with pytest.raises(StudioError, match=r"base does not fit: its weights are .*quantize it"):
        planned(900)
    elsewhere = vllm.plan("cpu", root, [], 8192)
    # It was up once and said: half as much for a token, and less beside. The next plan goes by that.
    first = planned(1_600)
    log = "INFO Available KV cache memory: 0.25 GiB\nINFO GPU KV cache size: 1,000 tokens, Maximum concurrency for 100 tokens per request: 1x\n"
    assert (vllm_log.cache_bytes(log), vllm_log.cache_tokens(log)) == (2**28, 1000)
    starts.learn(root.path, "cuda", each * 800, 1_600, first.budget)
    assert planned(1_600).learned and planned(1_600).cache_tokens == pytest.approx(1_600, rel=0.02)
    assert planned(6_400).cache_tokens == pytest.approx(2 * (6_400 - 1_600) + 1_600, rel=0.02)
    assert vllm.plan("cpu", root, [], 8192) == elsewhere, "another kind of machine"
    (starts.home() / "starts.json").unlink()
