"""Which chat template a base gets, and that ours are what they claim to be."""

from __future__ import annotations

from typing import Any

import pytest

from studio.checkpoints.templates import choose_template, render, stop_tokens
from studio.errors import StudioError

CHAT = [
    {"role": "system", "content": "You are Wen."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "Here."},
]


def tokens(*names: str) -> dict[str, Any]:
    return {"added_tokens": [{"content": name} for name in names]}


def test_chatml_wherever_its_tokens_are() -> None:
    template = choose_template(tokens("<|endoftext|>", "<|im_start|>", "<|im_end|>"), {"eos_token": "<|endoftext|>"}, own="{{ 1 }}")
    assert template.name == "chatml" and stop_tokens(template) == ["<|im_end|>", "<|endoftext|>"]
    assert render(template, CHAT) == (
        "<|im_start|>system\nYou are Wen.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>\n"
    )
    assert render(template, CHAT[:2], add_generation_prompt=True).endswith("Where?<|im_end|>\n<|im_start|>assistant\n")


def test_gemma_folds_the_system_prompt_into_the_first_turn() -> None:
    template = choose_template(
        tokens("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), {"eos_token": {"content": "<eos>"}, "bos_token": "<bos>"}
    )
    assert template.name == "gemma" and stop_tokens(template) == ["<end_of_turn>", "<eos>"]
    assert render(template, CHAT) == ("<bos><start_of_turn>user\nYou are Wen.\n\nWhere?<end_of_turn>\n<start_of_turn>model\nHere.<end_of_turn>\n")
    assert render(template, CHAT[1:2], add_generation_prompt=True) == "<bos><start_of_turn>user\nWhere?<end_of_turn>\n<start_of_turn>model\n"


def test_llama_3() -> None:
    known = tokens("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    template = choose_template(known, {"eos_token": "<|end_of_text|>", "bos_token": "<|begin_of_text|>"})
    assert stop_tokens(template) == ["<|eot_id|>", "<|end_of_text|>"]
    assert render(template, CHAT[1:]) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhere?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHere.<|eot_id|>"
    )


def test_a_foreign_template_is_kept_and_its_end_of_turn_found() -> None:
    own = "{% for m in messages %}{{ '[INST]' + m.content + '[/INST]' if m.role == 'user' else m.content + '</s>' }}{% endfor %}"
    template = choose_template(tokens("<s>", "</s>", "[INST]", "[/INST]"), {"eos_token": "</s>", "bos_token": "<s>"}, own)
    assert (template.name, template.text, template.end_of_turn) == ("own", own, "</s>")


def test_a_plain_base_gets_plain_names_and_stops_at_the_end_of_text() -> None:
    template = choose_template(tokens("</s>"), {"eos_token": "</s>", "bos_token": None})
    assert template.name == "plain"
    assert render(template, CHAT) == "You are Wen.\n\nUser:\nWhere?\nAssistant:\nHere.</s>\n"
    assert render(template, CHAT[:2], add_generation_prompt=True) == "You are Wen.\n\nUser:\nWhere?\nAssistant:\n"


def test_a_tokenizer_without_an_end_is_refused_in_words() -> None:
    with pytest.raises(StudioError, match="eos_token"):
        choose_template(tokens("<s>"), {})
