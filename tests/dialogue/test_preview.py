"""The preview says of every token what training does with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.dialogue.formats import Message
from studio.dialogue.preview import preview, preview_row
from studio.dialogue.store import Row, rows
from studio.errors import StudioError
from studio.files import write_atomic
from studio.persona.folder import Persona, create

CASES = [
    [("user", "Is it late?"), ("assistant", "It is always late at the counter.")],
    [("system", "You are Wen."), ("user", "hi"), ("assistant", "  Sit.  "), ("user", "why\n\nso?"), ("assistant", "日本語も。 👩‍👩‍👧 e\u0301")],
    [("assistant", "I speak first."), ("user", "ok"), ("assistant", "Good.")],
]


def row_of(turns: list[tuple[str, str]]) -> Row:
    return Row("d1", [Message(role, text) for role, text in turns])


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from studio.stages.pocket import make_pocket

    folder = tmp_path_factory.mktemp("pocket")
    make_pocket(folder)
    return folder


@pytest.mark.parametrize("turns", CASES)
def test_it_agrees_with_training_token_by_token(pocket: Path, turns: list[tuple[str, str]]) -> None:
    from transformers import AutoTokenizer

    from studio.checkpoints.templates import template_for
    from studio.stages.data import IGNORED, conversations

    row = row_of(turns)
    seen = preview_row(pocket, row)
    tokenizer = AutoTokenizer.from_pretrained(pocket)
    messages = [{"role": m.role, "content": m.content} for m in row.messages]
    trained = conversations([{"messages": messages}], tokenizer, template_for(pocket), 10_000)
    (tokens, labels) = trained.rows[0]
    assert seen.tokens == len(tokens)
    assert seen.loss_tokens == trained.loss_tokens
    learned = tokenizer.decode([label for label in labels if label != IGNORED])
    assert "".join(text for text, loss in seen.spans if loss) == learned
    assert seen.end_learned
    assert "".join(text for text, _ in seen.spans) == tokenizer.decode(tokens) == "".join(text for text, _ in seen.pieces)


def test_the_system_prompt_of_the_persona_is_part_of_it(pocket: Path) -> None:
    seen = preview_row(pocket, row_of(CASES[0]), system_prompt="You are Wen.")
    assert seen.spans[0] == ("<|im_start|>system\nYou are Wen.<|im_end|>\n<|im_start|>user\nIs it late?<|im_end|>\n<|im_start|>assistant\n", False)


def test_past_the_length_nothing_is_learned(pocket: Path) -> None:
    whole, cut = (preview_row(pocket, row_of(CASES[0]), length=length) for length in (0, 22))
    assert cut.tokens == whole.tokens
    assert 0 < cut.loss_tokens < whole.loss_tokens
    assert not cut.end_learned


def test_without_dialogue_or_base_it_says_what_to_do(persona: Persona, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="studio dialogue add"):
        preview(persona)
    other = create("Other", "pocket", parent=tmp_path / "elsewhere")
    write_atomic(other.dialogue / "0001.jsonl", b'{"id":"d1","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n')
    assert len(list(rows(other))) == 1
    with pytest.raises(StudioError, match="fetch pocket"):
        preview(other)
