"""What the model reads and what counts: to the token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from studio.checkpoints.templates import choose_template, template_for
from studio.stages import data
from studio.stages.model import load_model, load_transformers_tokenizer

from .conftest import dialogue, lore


@pytest.fixture(scope="module")
def tokenizer(pocket: Path) -> Any:
    return load_transformers_tokenizer(pocket, trust=False)


def said(tokenizer: Any, row: data.Row) -> str:
    return str(tokenizer.decode([label for label in row.labels if label != data.IGNORED]))


def test_only_replies_and_their_end_count(tokenizer: Any, pocket: Path) -> None:
    chat = [
        {"role": "system", "content": "You are Wen."},
        {"role": "user", "content": "Where is it? 在哪里？"},
        {"role": "assistant", "content": "By the river.\n\n🙂 “灯”还亮着 "},
        {"role": "user", "content": "By the river."},
        {"role": "assistant", "content": "Yes."},
    ]
    split = data.conversations([{"messages": chat}], tokenizer, template_for(pocket), 512)
    (row,) = split.rows
    assert said(tokenizer, row) == "By the river.\n\n🙂 “灯”还亮着<|im_end|>Yes.<|im_end|>"
    assert all(label in (token, data.IGNORED) for token, label in zip(*row, strict=True))
    # The prompt an engine will send is, token for token, how the training row begins.
    prompt = tokenizer.apply_chat_template(chat[:2], chat_template=template_for(pocket).text, add_generation_prompt=True, return_dict=False)
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels[: len(prompt)] == [data.IGNORED] * len(prompt)
    assert row.labels[len(prompt)] != data.IGNORED


@pytest.mark.parametrize("own", ["", "{% for m in messages %}[{{ m.role }}] {{ m.content }} {{ eos_token }}\n{% endfor %}"])
def test_a_base_without_control_tokens_learns_to_stop_too(tokenizer: Any, own: str) -> None:
    template = choose_template({"added_tokens": [{"content": "<|endoftext|>"}]}, {"eos_token": "<|endoftext|>"}, own)
    split = data.conversations(dialogue(1), tokenizer, template, 512)
    assert said(tokenizer, split.rows[0]).count("<|endoftext|>") == 2
    assert said(tokenizer, split.rows[0]).replace(" <|", "<|").endswith("Then it rained.<|endoftext|>")


def test_long_rows_are_cut_and_useless_ones_dropped_and_all_counted(tokenizer: Any, pocket: Path) -> None:
    chat = dialogue(1)[0]["messages"]
    rows = [
        {"messages": chat},
        {"messages": [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "Never read."}]},
        {"messages": chat[:2]},
        {"messages": [*chat, {"role": "tool", "content": "x"}]},
        {"messages": [*chat[:2], {"role": "assistant", "content": "I stop<|im_end|>here."}]},
        {"messages": [*chat[:2], {"role": "assistant", "content": None}]},
        "not a row",
    ]
    split = data.conversations(rows, tokenizer, template_for(pocket), 40)
    assert len(split.rows) == 1 and split.truncated == 1 and split.kept_tokens == 40 < split.tokens
    assert dict(split.dropped) == {
        "no reply within the length": 1,
        "no reply": 1,
        "unknown role": 1,
        "control token in a message": 1,
        "empty message": 1,
        "no messages": 1,
    }


def test_lore_ends_each_text_and_never_obeys_it(tokenizer: Any) -> None:
    split = data.documents([{"text": "It stops <|endoftext|> not here."}, {"text": " "}], tokenizer)
    assert split.rows[0].input_ids.count(tokenizer.eos_token_id) == 1
    assert split.rows[0].input_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(split.rows[0].input_ids[:-1]) == "It stops <|endoftext|> not here."
    assert dict(split.dropped) == {"no text": 1}


@pytest.mark.parametrize("packing", [True, False])
def test_lore_is_cut_into_sequences_without_losing_a_token(tokenizer: Any, packing: bool) -> None:
    split = data.documents(lore(40), tokenizer)
    packed = data.batches(split.rows, 32, packing, split_long=True)
    assert sorted(token for row in packed["input_ids"] for token in row) == sorted(token for row in split.rows for token in row.input_ids)
    assert max(map(len, packed["input_ids"])) == 32
    assert split.kept_tokens == sum(map(len, packed["input_ids"]))


def test_packing_dialogue_keeps_every_counted_token(tokenizer: Any, pocket: Path) -> None:
    split = data.conversations(dialogue(30), tokenizer, template_for(pocket), 256)
    packed = data.batches(split.rows, 256, True, split_long=False)
    assert len(packed) < len(split.rows)
    assert sum(label != data.IGNORED for row in packed["labels"] for label in row) == split.loss_tokens


def test_packed_texts_do_not_see_each_other(tokenizer: Any, pocket: Path) -> None:
    """What the trainer's collator makes of a packed row gives the logits each text has alone."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    model = load_model(pocket, "float32", "sdpa", trust=False).eval()
    split = data.documents(lore(3), tokenizer)
    (row,) = data.batches(split.rows, 512, True, split_long=True)
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([row])
    assert "attention_mask" not in batch
    batch.pop("labels")
    with torch.no_grad():
        together = model(**batch, use_cache=False).logits[0]
        ends = torch.tensor(row["seq_lengths"]).cumsum(0).tolist()
        for length, end in zip(row["seq_lengths"], ends, strict=True):
            alone = model(input_ids=torch.tensor([row["input_ids"][end - length : end]])).logits[0]
            torch.testing.assert_close(together[end - length : end], alone, atol=1e-4, rtol=0)


def test_a_text_begins_once(pocket: Path, tmp_path: Path) -> None:
    """A tokenizer that puts a start before everything, and a template that writes it too: still one start, in lore and in dialogue."""
    import json
    import shutil

    folder = tmp_path / "starts"
    shutil.copytree(pocket, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    described = json.loads((folder / "tokenizer.json").read_text())
    names = {"<|im_start|>": "<start_of_turn>", "<|im_end|>": "<end_of_turn>"}
    text = json.dumps(described)
    for old, new in names.items():
        text = text.replace(old, new)
    described = json.loads(text)
    start = len(described["model"]["vocab"])
    described["added_tokens"].append(
        {"id": start, "content": "<bos>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    )
    described["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [start], "tokens": ["<bos>"]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(described))
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"bos_token": "<bos>"}
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_transformers_tokenizer(folder, trust=False)
    first = tokenizer.convert_tokens_to_ids("<bos>")
    template = template_for(folder)
    assert template.name == "gemma" and tokenizer("word").input_ids[0] == first
    talk = data.conversations(dialogue(2), tokenizer, template, 512)
    text_rows = data.documents(lore(2), tokenizer)
    for row in (*talk.rows, *text_rows.rows):
        assert row.input_ids[0] == first and row.input_ids.count(first) == 1


@pytest.mark.parametrize("fault", ["{{ raise_exception('no') }}", "{{ messages[0].content + 1 }}"])
def test_a_conversation_its_template_does_not_take_is_counted(tokenizer: Any, pocket: Path, fault: str) -> None:
    own = template_for(pocket)
    strict = own._replace(text="{% if messages[0].role == 'system' %}" + fault + "{% endif %}" + own.text)
    chats = [[{"role": role, "content": "Hm."} for role in roles] for roles in (("user", "assistant"), ("system", "user", "assistant"))]
    split = data.conversations([{"messages": chat} for chat in chats], tokenizer, strict, 512)
    assert len(split.rows) == 1 and split.dropped == {"refused by the base's chat template": 1}
