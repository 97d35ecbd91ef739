"""Lore: added with originals kept, faults named, split without leaks, frozen to the byte."""

import json
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.files import read_lines
from studio.lore import build as lore_build
from studio.lore import sources
from studio.lore.checking import check
from studio.lore.passages import is_hard_wrapped, paragraphs, passages
from studio.persona.folder import Persona
from studio.text import normal


def side(persona: Persona, snapshot: str, half: str) -> list[str]:
    return [row["text"] for _, row in read_lines(persona.snapshots / snapshot / f"{half}.jsonl")]


def test_add_reports_every_file(persona: Persona, tmp_path: Path, lore_text: str) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "book.txt").write_text(lore_text)
    (inbox / "copy.md").write_text(lore_text + "\n\n")
    (inbox / "empty.txt").write_text("  \n")
    (inbox / "broken.txt").write_bytes(b"fine\n" + "Ünïcödé 漢字\n".encode() + b"bad \xff\xc3( byte\n")
    (inbox / "binary.txt").write_bytes(b"\0\1\2\xff")
    (inbox / "picture.jpg").write_bytes(b"\xff\xd8")
    (inbox / "legacy.txt").write_bytes(
        ("Az öreg révész még egyszer visszanézett a városra, aztán elindult. Őszintén szólva fűtött a büszkeség. " * 20).encode("cp1250")
    )
    report = sources.add(persona, [inbox])
    assert (report.read, report.kept) == (7, 2)
    assert report.dropped == {"already here": 1, "empty": 1, "not readable as text": 2, "not a kind of file that is read as lore": 1}
    broken = next(f for f in report.faults if f.file.endswith("broken.txt"))
    assert broken.line == 3 and "UTF-8" in broken.what
    assert "Őszintén" in (persona.lore / "legacy.txt").read_text(encoding="utf-8")
    original = next(persona.sources.glob("*-legacy.txt"))
    assert original.read_bytes() == (inbox / "legacy.txt").read_bytes()
    assert original.stat().st_mode & 0o222 == 0


def test_no_text_on_both_sides(persona: Persona, lore_text: str) -> None:
    parts = lore_text.split("\n\n")
    (persona.lore / "a.txt").write_text(lore_text)
    (persona.lore / "b.txt").write_text(
        "\n\n".join(parts[10:14] + [f"Something else entirely, number {i}, at some length and told slowly." for i in range(30)])
    )
    snapshot = lore_build.build(persona)
    train, val = ({normal(p) for text in side(persona, snapshot.id, half) for p in text.split("\n\n")} for half in ("train", "val"))
    assert val and train and not train & val
    assert 0.03 < snapshot.val_characters / (snapshot.val_characters + snapshot.train_characters) < 0.25


def test_two_builds_are_byte_identical_and_a_change_is_another_snapshot(persona: Persona, lore_text: str) -> None:
    (persona.lore / "a.txt").write_text(lore_text)
    first = lore_build.build(persona)
    before = {p.name: p.read_bytes() for p in (persona.snapshots / first.id).iterdir()}
    assert lore_build.build(persona).id == first.id
    assert {p.name: p.read_bytes() for p in (persona.snapshots / first.id).iterdir()} == before
    (persona.lore / "a.txt").write_text(lore_text.replace("keeper", "warden"))
    assert lore_build.build(persona).id != first.id


def test_translations_of_a_passage_stay_together(persona: Persona, lore_text: str) -> None:
    english = lore_text.split("\n\n")
    chinese = [f"第{i}段：那一年渡船运来了{i}箱货物，管理员一件一件写进窗边那本账簿里，后来再没有人来问过。" * 3 for i in range(len(english))]
    (persona.lore / "tale.en.md").write_text("\n\n".join(english))
    (persona.lore / "tale.zh.md").write_text("\n\n".join(chinese), encoding="utf-8")
    snapshot = lore_build.build(persona)
    val = "\n\n".join(side(persona, snapshot.id, "val"))
    held_out = {i for i, text in enumerate(english) if text in val}
    assert held_out and held_out == {i for i, text in enumerate(chinese) if text in val}


def test_nothing_is_lost_or_doubled_by_the_split(persona: Persona, lore_text: str) -> None:
    (persona.lore / "a.txt").write_text(lore_text)
    snapshot = lore_build.build(persona)
    found = [p for half in ("train", "val") for text in side(persona, snapshot.id, half) for p in text.split("\n\n")]
    assert sorted(found) == sorted(lore_text.split("\n\n"))


def test_too_little_lore_is_refused(persona: Persona) -> None:
    with pytest.raises(StudioError, match="no lore"):
        lore_build.build(persona)
    (persona.lore / "a.txt").write_text("One short paragraph.")
    with pytest.raises(StudioError, match="too small"):
        lore_build.build(persona)


def test_hard_wrapped_lines_are_joined_and_verse_is_not() -> None:
    wrapped = "\n\n".join("\n".join("word " * 13 for _ in range(6)) for _ in range(10))
    assert is_hard_wrapped(wrapped)
    assert "\n" not in paragraphs(wrapped)[0]
    verse = "\n\n".join("\n".join(("short line", "another one", "and a third")) for _ in range(20))
    assert not is_hard_wrapped(verse) and "\n" in paragraphs(verse)[0]


def test_passages_know_their_lines() -> None:
    text = "# Head\n\n" + "\n\n".join(f"Paragraph {i}. " + "x" * 700 for i in range(6))
    lines = text.split("\n")
    for passage in passages("a.md", text):
        assert lines[passage.line - 1] == passage.text.split("\n\n")[0]


def test_check_names_file_and_line(persona: Persona, lore_text: str) -> None:
    (persona.lore / "a.txt").write_text("Fine.\n\nA lost \ufffd character.\n\nThis eBook is from Project Gutenberg\n", encoding="utf-8")
    (persona.lore / "b.txt").write_bytes(b"ok\n\xff\n")
    (persona.lore / "c.txt").write_text("")
    found = {(f.file, f.line) for f in check(persona)}
    assert {("lore/a.txt", 3), ("lore/a.txt", 5), ("lore/b.txt", 2), ("lore/c.txt", 0)} <= found
    with pytest.raises(StudioError, match=r"lore/b\.txt:2"):
        lore_build.build(persona)


def test_the_manifest_is_plain_json(persona: Persona, lore_text: str) -> None:
    (persona.lore / "a.txt").write_text(lore_text)
    snapshot = lore_build.build(persona)
    stored = json.loads((persona.snapshots / snapshot.id / "snapshot.json").read_text())
    assert stored["inputs"]["lore/a.txt"] and stored["train_rows"] == snapshot.train_rows
