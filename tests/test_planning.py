"""What a training needs, where it goes, and what makes it fit: from headers alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import msgspec
import pytest

from studio.planning import CARDS, memory, nearest_fit, next_best, packed, preset, shape_of, total, trained
from studio.recipes.schema import Cpt, Dpo, Sft

GB = int(1e9)


def headers_of_four_billion(folder: Path) -> Path:
    """The headers of a 4 B model (Qwen3-4B's measures): no weights behind them."""
    hidden, inner, layers, words = 2560, 9728, 36, 151_936
    shapes: dict[str, list[int]] = {"model.embed_tokens.weight": [words, hidden], "model.norm.weight": [hidden], "mtp.fc.weight": [hidden, hidden]}
    for layer in range(layers):
        for name, shape in {
            "self_attn.q_proj": [4096, hidden],
            "self_attn.k_proj": [1024, hidden],
            "self_attn.v_proj": [1024, hidden],
            "self_attn.o_proj": [hidden, 4096],
            "mlp.gate_proj": [inner, hidden],
            "mlp.up_proj": [inner, hidden],
            "mlp.down_proj": [hidden, inner],
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    header = json.dumps({name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}).encode()
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    config = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 32, "head_dim": 128}
    (folder / "config.json").write_text(json.dumps({**config, "num_key_value_heads": 8, "vocab_size": words}))
    return folder


@pytest.fixture
def four_billion(tmp_path: Path) -> Path:
    return headers_of_four_billion(tmp_path)


def test_the_shape_and_what_learns(four_billion: Path) -> None:
    shape = shape_of(four_billion)
    assert shape.parameters == pytest.approx(4.02e9, rel=0.01) and shape.linear == 36 * 100_925_440
    assert trained(Cpt(), shape) == shape.parameters
    # Qwen3-4B, LoRA r 32 on all linear layers: 66,060,288 parameters by PEFT's own count.
    assert trained(Sft(), shape) == 66_060_288


def test_parts_and_their_order(four_billion: Path) -> None:
    shape = shape_of(four_billion)
    full = memory(Cpt(precision="fp32"), shape, 141 * GB, True)
    assert full["weights"] == full["gradients"] == shape.parameters * 4 and full["optimizer"] == shape.parameters * 8
    kahan = memory(Cpt(precision="bf16-kahan"), shape, 48 * GB, True)
    assert kahan["weights"] + kahan["gradients"] + kahan["optimizer"] == shape.parameters * 10
    lora, four = memory(Sft(), shape, 24 * GB, True), memory(Sft(method="qlora"), shape, 24 * GB, True)
    assert lora["weights"] > shape.parameters * 2 and four["weights"] < 0.4 * lora["weights"]
    assert total(four) < total(lora) < total(kahan) < total(full)
    assert memory(Sft(gradient_checkpointing=False), shape, 0, True)["activations"] > 5 * lora["activations"]
    assert memory(Dpo(), shape, 0, True)["activations"] == 2 * lora["activations"]
    assert memory(Cpt(optimizer="adamw-8bit"), shape, 48 * GB, True)["optimizer"] < 0.3 * full["optimizer"]
    # auto decides by the card.
    assert memory(Cpt(), shape, 141 * GB, True) == full and memory(Cpt(), shape, 48 * GB, True) == kahan


def test_the_gradient_of_the_head_is_counted_where_it_learns(four_billion: Path) -> None:
    shape = shape_of(four_billion)
    table = shape.vocabulary * shape.hidden * 4
    full = memory(Cpt(precision="fp32"), shape, 141 * GB, True)
    # Head and embedding are one here: both gradients wait for each other, beside the sum of the micro-batches before.
    assert shape.tied and full["activations"] + full["logits"] == 2 * table
    assert memory(Cpt(precision="fp32", batch=1), shape, 141 * GB, True)["logits"] < full["logits"]
    assert memory(Sft(), shape, 24 * GB, True)["logits"] < 0.1 * table
    with (four_billion / "head.safetensors").open("wb") as file:
        header = json.dumps({"lm_head.weight": {"dtype": "BF16", "shape": [shape.vocabulary, shape.hidden], "data_offsets": [0, 0]}}).encode()
        file.write(struct.pack("<Q", len(header)) + header)
    assert not shape_of(four_billion).tied


def test_without_a_gpu_the_process_itself_counts(four_billion: Path) -> None:
    shape = shape_of(four_billion)
    short, long = (memory(Sft(length=length), shape, 0, False) for length in (512, 2048))
    assert short["weights"] > shape.parameters * 4 and short["reserve"] > 5e8 + 2000 * shape.vocabulary
    assert long["activations"] == 4 * short["activations"]
    # Blocks below 32 MB are kept when they are freed; larger ones are not, unless rows of all lengths come by.
    assert long["logits"] < 4 * short["logits"] < memory(Sft(length=2048, packing=False), shape, 0, False)["logits"] * 4


def test_the_nearest_change_that_makes_it_fit(four_billion: Path) -> None:
    shape = shape_of(four_billion)
    wide = Sft(micro_batch=4, gradient_checkpointing=False)
    assert total(memory(wide, shape, 24 * GB, True)) > 24 * GB
    change = nearest_fit(wide, shape, 24 * GB, True)
    assert change is not None and change.settings == {"gradient_checkpointing": True} and change.said == "gradient_checkpointing = true"
    assert total(memory(msgspec.structs.replace(wide, **change.settings), shape, 24 * GB, True)) == change.bytes <= 24 * GB
    small = nearest_fit(Sft(), shape, 6 * GB, True)
    assert small is not None and small.settings["method"] == "qlora"
    assert nearest_fit(Sft(), shape, 1 * GB, True) is None
    after = next_best(Sft(micro_batch=2), shape, 24 * GB, True)
    assert after is not None and after.bytes <= 0.9 * total(memory(Sft(micro_batch=2), shape, 24 * GB, True))


def test_activations_go_to_main_memory_only_where_that_is_needed_and_there_is_a_gpu(four_billion: Path) -> None:
    shape = shape_of(four_billion)
    long = Sft(length=65_536)
    kept, aside = (memory(msgspec.structs.replace(long, activation_offloading=value), shape, 48 * GB, True) for value in (False, True))
    assert aside["activations"] < 0.6 * kept["activations"] and {**aside, "activations": 0, "reserve": 0} == {**kept, "activations": 0, "reserve": 0}
    for recipe in (Sft(), Sft(gradient_checkpointing=False)):
        assert memory(msgspec.structs.replace(recipe, activation_offloading=True), shape, 0, False) == memory(recipe, shape, 0, False)
    change = nearest_fit(long, shape, 32 * GB, True)
    assert (
        change is not None
        and change.settings == {"activation_offloading": True}
        and change.bytes == total(memory(long, shape, 0, True)) - (total(kept) - total(aside))
    )
    without = nearest_fit(Sft(micro_batch=4), shape, 24 * GB, False)
    assert without is not None and "activation_offloading" not in without.settings
    # A card on which the recipe fits as it is has nothing moved away; the small one has, before the text is cut or the weights are.
    assert "activation_offloading" not in preset(long, shape, 141).settings and preset(long, shape, 32).settings["activation_offloading"] is True


@pytest.mark.parametrize("recipe", [Cpt(), Sft(), Dpo()], ids=["cpt", "sft", "dpo"])
def test_presets_fit_their_cards_and_get_better_with_them(four_billion: Path, recipe: Cpt | Sft | Dpo) -> None:
    shape = shape_of(four_billion)
    made = [preset(recipe, shape, card) for card in CARDS]
    for each in made:
        chosen = msgspec.structs.replace(recipe, **each.settings)
        assert each.fits and total(memory(chosen, shape, each.card * GB, True)) == each.bytes <= each.card * GB
        assert chosen.batch % chosen.micro_batch == 0
    assert made[-1].settings.get("method") is None and made[-1].settings.get("length") is None
    methods = [msgspec.structs.replace(recipe, **each.settings).method for each in made]
    assert methods == sorted(methods, key=["qlora", "lora", "full"].index)


def test_rows_are_packed_as_the_trainer_packs_them() -> None:
    from datasets import Dataset
    from trl import pack_dataset

    sizes = [(17 * number * number) % 90 + 5 for number in range(200)]
    rows = Dataset.from_dict({"input_ids": [[1] * size for size in sizes]})
    assert packed(sizes, 96) == len(pack_dataset(rows, 96, "bfd"))
    assert packed([], 96) == 0 and packed([200, 10], 96) == 2
