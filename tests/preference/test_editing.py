"""Pairs changed by hand: judged, mended, told the other way round, each taken back; flags follow the words; what was rejected is not built."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.dialogue.filtering import parse
from studio.dialogue.flags import by_row, standing
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.preference import build, checks, store
from studio.preference.editing import PairEditor, PairIndex
from studio.preference.pairs import update
from tests.preference.test_pairs import said, voted
from tests.preference.test_set import lines


def fill(persona: Persona, tmp_path: Path, count: int = 12) -> None:
    """Every other chosen reply is three times as long as the rejected one."""
    rows = [
        {"prompt": f"Is lamp {n} lit?", "chosen": f"Since March, number {n}. " * (3 - n % 2 * 2), "rejected": f"I am sorry, {n}, no."}
        for n in range(count)
    ]
    rows.append({"prompt": "Is lamp 1 lit?", "chosen": "I am sorry, 1, no.", "rejected": "Since March, number 1."})
    rows.append({"prompt": "Tea?", "chosen": "As an AI language model, I cannot.", "rejected": "Black."})
    store.add(persona, [lines(tmp_path / "pairs.jsonl", rows)])


def texts(persona: Persona) -> dict[str, tuple[str, str]]:
    return {row.id: (row.better, row.worse) for row in store.rows(persona)}


def test_every_change_is_taken_back(persona: Persona, tmp_path: Path) -> None:
    fill(persona, tmp_path)
    before = [path.read_bytes() for path in store.shards(persona)]
    first, *_ = store.rows(persona)
    editor = PairEditor(persona)
    assert editor.judge([first.id], "rejected") == "1 pair rejected"
    assert editor.rewrite(first.id, 1, "Since April.") == f"{first.id} edited"
    assert editor.rewrite(first.id, 0, "Is it lit?") == f"{first.id} edited"
    assert editor.swap(first.id) == f"the replies of {first.id} swapped"
    editor.tag([first.id], ["keep"])
    changed = store.get_row(persona, first.id)
    assert (changed.better, changed.worse, changed.prompt[0].content) == (first.worse, "Since April.", "Is it lit?")
    assert changed.edited and changed.state == "rejected" and changed.tags == ["keep"] and changed.source == "pairs.jsonl"
    for text, turn, why in (("", 1, "needs all its texts"), (changed.worse, 1, "the same text"), ("x", 3, "none of number 4")):
        with pytest.raises(StudioError, match=why):
            editor.rewrite(first.id, turn, text)
    for _ in range(5):
        editor.undo()
    assert [path.read_bytes() for path in store.shards(persona)] == before
    with pytest.raises(StudioError, match="nothing to undo"):
        editor.undo()
    assert not (persona.private / "undo").exists(), "the dialogue's steps are others"


def test_a_pair_of_a_vote_keeps_its_id_and_is_not_brought_back(persona: Persona) -> None:
    voted(persona, "1", said("sft-1", "Sit."), said("cpt-1", "Oh no."))
    assert update(persona).new == 1
    (pair,) = store.rows(persona)
    PairEditor(persona).rewrite(pair.id, len(pair.prompt), "Sit, and drink.")
    told = update(persona)
    assert (told.new, told.there, told.withdrawn) == (0, 1, 0)
    (now,) = store.rows(persona)
    assert (now.better, now.origin) == ("Sit, and drink.", pair.origin)


def test_a_reply_that_was_cut_off_ends_where_it_is_written_to_end(persona: Persona, tmp_path: Path) -> None:
    fill(persona, tmp_path, 2)
    first, *_ = store.rows(persona)
    shard = store.shards(persona)[0]
    shard.write_bytes(shard.read_bytes().replace(b'"line":1}', b'"line":1,"cut":["chosen"]}', 1))
    editor = PairEditor(persona)
    editor.swap(first.id)
    assert store.get_row(persona, first.id).cut == ["rejected"]
    editor.rewrite(first.id, 2, "Whole now.")
    assert store.get_row(persona, first.id).cut == []


def test_flags_are_found_by_filter_and_go_with_the_words(persona: Persona, tmp_path: Path) -> None:
    fill(persona, tmp_path)
    assert not checks.up_to_date(persona)
    faults = checks.check(persona)
    assert checks.up_to_date(persona)
    index = PairIndex(persona)
    index.refresh()

    def found(line: str) -> list[int]:
        return [row.line for row in index.read(index.find(parse(line)) or ()) if isinstance(row, store.Pair)]

    assert found("flag:contradiction") == [2, 13] and found("flag:assistant-speak") == [14]
    assert found("flag:length") == [1, 3, 5, 7, 9, 11, 14], "the set leans to long replies, and these make it so"
    assert any(fault.what.startswith("length bias") for fault in faults)
    assert found('"lamp 1 lit"') == [2, 13] and found("is:rejected") == []
    editor = PairEditor(persona, index)
    (stock,) = index.ids_at(list(index.find(parse("flag:assistant-speak")) or ()))
    editor.rewrite(stock, 1, "Black, as ever.")
    assert found("flag:assistant-speak") == [] and standing(by_row(persona, "preference")[stock], editor.row(stock)) == []
    assert not checks.up_to_date(persona)


def test_what_was_rejected_is_not_built_and_contradicts_nothing(persona: Persona, tmp_path: Path) -> None:
    fill(persona, tmp_path)
    opposed = [row.id for row in store.rows(persona) if row.line in (2, 13)]
    assert build.build(persona).notes["pairs left out that contradict each other"] == 2
    PairEditor(persona).judge([opposed[1]], "rejected")
    snapshot = build.build(persona)
    assert snapshot.notes["pairs left out that contradict each other"] == 0 and snapshot.notes["pairs left out that were rejected"] == 1
    assert snapshot.train_rows + snapshot.val_rows == 13
    assert "contradicts" not in " ".join(fault.what for fault in checks.check(persona))
