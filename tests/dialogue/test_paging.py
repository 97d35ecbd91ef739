"""Rows of dialogue read by the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.dialogue.adding import add
from studio.dialogue.paging import Pages
from studio.dialogue.store import rows, shards
from studio.errors import StudioError
from studio.persona.folder import Persona


@pytest.fixture
def filled(persona: Persona, tmp_path: Path) -> Persona:
    path = tmp_path / "talk.jsonl"
    lines = [{"messages": [{"role": "user", "content": f"Ｌamp {n}?"}, {"role": "assistant", "content": f"Yes,\u2028 {n}."}]} for n in range(450)]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    add(persona, [path])
    return persona


def test_pages_hold_the_same_rows_in_the_same_order(filled: Persona) -> None:
    pages = Pages(filled)
    assert len(pages) == 450
    assert pages.read(list(range(450))) == list(rows(filled))
    assert [row.messages[0].content for row in pages.read([449, 0, 200])] == ["Ｌamp 449?", "Ｌamp 0?", "Ｌamp 200?"]


def test_find_looks_past_case_and_width(filled: Persona) -> None:
    pages = Pages(filled)
    assert pages.find("lamp 44") == [44, *range(440, 450)]
    assert pages.find("YES, 7.") == [7]
    assert pages.find("nowhere") == []


def test_a_damaged_row_is_named_and_does_not_stop_the_search(filled: Persona) -> None:
    shard = shards(filled)[1]
    lines = shard.read_bytes().split(b"\n")
    lines[3] = lines[3][:20]
    shard.write_bytes(b"\n".join(lines))
    pages = Pages(filled)
    assert len(pages.find("lamp")) == 449
    with pytest.raises(StudioError, match=r"0002\.jsonl: the row at byte \d+ cannot be read"):
        pages.read([203])


def test_a_shard_that_is_gone_is_named(filled: Persona) -> None:
    pages = Pages(filled)
    shards(filled)[0].unlink()
    with pytest.raises(StudioError, match=r"0001\.jsonl"):
        pages.read([0])
