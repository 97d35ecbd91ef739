"""The index only points into the shards: it is made anew whenever it is not true, and finds what is there."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path

import pytest

from studio.dialogue import flags, scanning
from studio.dialogue.filtering import parse
from studio.dialogue.formats import Message
from studio.dialogue.index import Index
from studio.dialogue.store import Row, row_id, rows
from studio.errors import StudioError, UsageError
from studio.jobs.processes import python
from studio.persona.folder import Persona
from studio.shards import append_rows, shards


def made(n: int) -> Row:
    reply = ("Igen, a hajó késik, de a lámpa ég.", "是的，船晚了，但灯还亮着。", "Yes,\u2028 the ferry is late.")[n % 3]
    messages = [Message("user", f"Ｌamp {n}?"), Message("assistant", f"{reply} {n}.")]
    row = Row(row_id(messages), messages, f"chat-{n % 4}.jsonl", n + 1, ["keep"] if n % 10 == 0 else [], time=f"2024-{n % 12 + 1:02}-05T10:00:00")
    row.state = {7: "rejected", 8: "accepted"}.get(n % 20, "")
    row.made = "synthetic" if n % 50 == 0 else ""
    return row


@pytest.fixture
def filled(persona: Persona) -> Persona:
    append_rows(persona.dialogue, [made(n) for n in range(450)])
    return persona


def opened(persona: Persona) -> Index:
    index = Index(persona)
    index.refresh()
    return index


def found(index: Index, line: str) -> list[Row]:
    keys = index.find(parse(line))
    read = index.read(keys if keys is not None else [index.layout.key(i) for i in range(len(index))])
    assert all(isinstance(row, Row) for row in read)
    return [row for row in read if isinstance(row, Row)]


def numbers(index: Index, line: str) -> list[int]:
    return [row.line - 1 for row in found(index, line)]


def test_it_holds_the_same_rows_in_the_same_order(filled: Persona) -> None:
    index = opened(filled)
    assert len(index) == 450
    assert found(index, "") == list(rows(filled))
    assert [index.layout.before(index.layout.key(n)) for n in (0, 199, 200, 449)] == [0, 199, 200, 449]
    (path,) = (filled.private / "dialogue.sqlite",)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("src:CHAT-2", lambda n: n % 4 == 2),
        ("src:chat-2,chat-3", lambda n: n % 4 in (2, 3)),
        ("-src:chat-2 tag:keep", lambda n: n % 4 != 2 and n % 10 == 0),
        ("is:rejected", lambda n: n % 20 == 7),
        ("-is:rejected", lambda n: n % 20 != 7),
        ("is:rejected,accepted", lambda n: n % 20 in (7, 8)),
        ("is:open lamp", lambda n: n % 20 not in (7, 8)),
        ("is:synthetic", lambda n: n % 50 == 0),
        ("turns=1", lambda n: True),
        ("turns>=2", lambda n: False),
        ("time=2024-03", lambda n: n % 12 == 2),
        ("time>2024-03", lambda n: n % 12 > 2),
        ("time<=2024-03", lambda n: n % 12 <= 2),
        ("lang:zh", lambda n: n % 3 == 1),
        ("-lang:zh,en", lambda n: n % 3 == 0),
        ("lang:hu", lambda n: n % 3 == 0),
        ('"lamp 44"', lambda n: n == 44 or n >= 440),
        ("HAJÓ késik", lambda n: n % 3 == 0),
        ('"yes, the ferry"', lambda n: n % 3 == 2),
        ('-"the ferry" -灯还', lambda n: n % 3 == 0),
        ("nowhere", lambda n: False),
        ("https://x", lambda n: False),
    ],
)
def test_a_line_says_which_rows_are_meant(filled: Persona, line: str, meant: object) -> None:
    assert callable(meant)
    assert numbers(opened(filled), line) == [n for n in range(450) if meant(n)]


def test_length_and_id(filled: Persona) -> None:
    index = opened(filled)
    row = made(123)
    length = sum(len(m.content) for m in row.messages)
    assert 123 in numbers(index, f"len={length}") and 123 not in numbers(index, f"len>{length}") and 123 in numbers(index, f"len>{length - 1}")
    assert numbers(index, f"id:{row.id[:8]}") == [123]
    assert index.keys_of([row.id, "dnone"]) == {row.id: index.layout.key(123)}


def test_flags_of_words_that_were_edited_since_do_not_count(filled: Persona) -> None:
    kept, changed = made(3), made(4)
    flags.keep(filled, "near", 0.7, 450, [flags.Flagged(row.id, flags.text_of(row), [flags.Flag("near", "x")]) for row in (kept, changed)])
    index = opened(filled)
    assert numbers(index, "flag:near") == [3, 4] == numbers(index, "flag:any")
    assert numbers(index, "flag:slop") == []
    from studio.dialogue.editing import Editor

    Editor(filled, index).rewrite(changed.id, 1, "Something else.")
    assert numbers(index, "flag:near") == [3]


@pytest.mark.parametrize("line", ["len>many", "is:new", "src>chat", "len:4", "time>yesterday", "tag:"])
def test_what_cannot_be_meant_is_said_in_a_sentence(line: str) -> None:
    with pytest.raises(UsageError, match="“"):
        parse(line)


def test_what_changed_outside_is_read_again_and_nothing_else(filled: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(filled)
    assert numbers(index, "ferry")
    shard = shards(filled.dialogue)[1]
    shard.write_text(shard.read_text().replace("Ｌamp 200?", "Kettle 200?"), encoding="utf-8")
    read: list[str] = []
    said = Index._said
    monkeypatch.setattr(Index, "_said", lambda self, name: read.append(name) or said(self, name))  # type: ignore[func-returns-value]
    assert index.refresh()
    assert numbers(index, "kettle") == [200]
    assert read == ["0002.jsonl"]
    assert not index.refresh()
    shards(filled.dialogue)[0].unlink()
    assert index.refresh() and len(index) == 250 and numbers(index, '"lamp 3?"') == []
    append_rows(filled.dialogue, [made(1000)])
    assert opened(filled).layout.size == 251


@pytest.mark.parametrize("line", ["ferry -lamp", "-lamp -ferry", '"lamp 3?" src:chat'])
def test_texts_scanned_by_several_processes_are_the_same(filled: Persona, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    index = opened(filled)
    alone = numbers(index, line)
    started: list[str] = []
    monkeypatch.setattr(scanning, "SHARE", 2000)
    monkeypatch.setattr(scanning.os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(scanning, "python", lambda module: started.append(module) or python(module))  # type: ignore[func-returns-value]
    assert numbers(index, line) == alone
    assert started
    # A process that cannot do its part leaves it to this one.
    monkeypatch.setattr(scanning, "python", lambda module: ["false"])
    assert numbers(index, line) == alone


@pytest.mark.parametrize("often", [0.02, 0.9])
@pytest.mark.parametrize("words", [scanning.Words([b"a"]), scanning.Words([b"a", b"bb"], [b"c"]), scanning.Words([b"a"], [b"c", b"bb"])])
def test_both_ways_through_a_block_find_the_same_rows(often: float, words: scanning.Words) -> None:
    chance = random.Random(often)
    texts = [b"".join(chance.choices((b"a", b"bb", b"c", b"d"), (often, 0.5, 0.3, 1), k=chance.randrange(6))) for _ in range(500)]
    block = b"\0".join(texts) + b"\0"
    meant = [n for n, t in enumerate(texts) if all(w in t for w in words.held) and not any(w in t for w in words.absent)]
    conditions = [*((word, True) for word in words.held), *((word, False) for word in words.absent)]
    assert meant and list(scanning._from_hit_to_hit(block, conditions)) == scanning._row_by_row(block, conditions) == meant
    assert scanning._row_by_row(block, conditions[::-1]) == meant


@pytest.mark.parametrize("harm", ["gone", "no database", "cut", "middle", "other layout", "texts gone"])
def test_an_index_that_is_not_true_is_made_anew(filled: Persona, harm: str) -> None:
    index = opened(filled)
    assert numbers(index, "ferry") and numbers(index, "lang:zh")
    path = filled.private / "dialogue.sqlite"
    if harm != "gone":
        index.close()
    raw = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "no database":
        path.write_bytes(b"nothing of the kind" * 100)
    elif harm == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif harm == "middle":
        path.write_bytes(raw[:8192] + b"\xa5" * (len(raw) - 8192))
    elif harm == "other layout":
        with sqlite3.connect(path) as base:
            base.execute("PRAGMA user_version=99")
        base.close()
    else:
        for texts in filled.private.glob("*.texts"):
            texts.unlink()
    again = index if harm == "gone" else opened(filled)
    assert numbers(again, "ferry -src:chat-1") == [n for n in range(450) if n % 3 == 2 and n % 4 != 1]
    assert len(again) == 450


def test_damaged_rows_are_named_and_stop_nothing(filled: Persona) -> None:
    shard = shards(filled.dialogue)[1]
    lines = shard.read_bytes().split(b"\n")
    lines[3] = lines[3][:20]
    shard.write_bytes(b"\n".join(lines))
    index = opened(filled)
    assert len(index) == 450
    assert len(numbers(index, "lamp")) == 449
    (damaged,) = index.read([index.layout.key(203)])
    assert isinstance(damaged, StudioError) and "0002.jsonl: row 4 cannot be read" in str(damaged)


def test_work_can_be_left_half_done(filled: Persona) -> None:
    append_rows(filled.dialogue, [made(n) for n in range(450, 21_000)])

    class Enough(Exception):
        pass

    def stop(what: str, done: int, whole: int) -> None:
        if done:
            raise Enough

    index = Index(filled)
    with pytest.raises(Enough):
        index.refresh(stop)
    index.refresh()
    assert len(index) == 21_000
    with pytest.raises(Enough):
        index.find(parse("kettle"), stop)
    assert numbers(index, '"lamp 20999?"') == [20_999]


def test_the_set_is_counted(filled: Persona) -> None:
    index = opened(filled)
    index.write_languages()
    counts = index.counts()
    assert counts.states["rejected"] == 23 and counts.states["synthetic"] == 9
    assert dict(counts.sources) == {"chat-0.jsonl": 113, "chat-1.jsonl": 113, "chat-2.jsonl": 112, "chat-3.jsonl": 112}
    assert counts.tags == [("keep", 45)] and dict(counts.languages)["zh"] == 150
    assert index.ids() == {made(n).id for n in range(450)}
    assert json.dumps(counts.tags)


def test_a_folder_that_cannot_be_written_is_indexed_in_memory(filled: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(filled), "private", property(lambda self: Path("/proc/nowhere")))
    index = opened(filled)
    assert len(index) == 450 and len(numbers(index, "is:rejected")) == 23
