"""Translations: known by name, by declaration or by what stays the same; side by side in the split; counted by language."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.lore import build as lore_build
from studio.lore.measuring import measure
from studio.lore.names import split_name
from studio.lore.parallel import align, declare, declared
from studio.lore.passages import Block
from studio.persona.folder import Persona
from studio.snapshots import read_snapshot

NUMBERS = random.Random(3).sample(range(100, 999), 60)


def english(number: int) -> str:
    return f"On day {NUMBERS[number]} the ferry brought a crate, and the keeper wrote it down in the book by the window. " * (1 + number % 3)


def german(number: int) -> str:
    return f"Am Tag {NUMBERS[number]} brachte die Fähre eine Kiste, und der Wärter schrieb sie in das Buch am Fenster. " * (1 + number % 3)


def chinese(number: int) -> str:
    return f"第{NUMBERS[number]}天渡船运来了一箱货物，管理员把它写进窗边那本账簿里。" * (1 + number % 3)


def write(persona: Persona, name: str, parts: list[str]) -> None:
    (persona.lore / name).parent.mkdir(exist_ok=True)
    (persona.lore / name).write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def held_out(persona: Persona, mark: str) -> set[int]:
    snapshot = lore_build.build(persona)
    assert read_snapshot(persona.snapshots / snapshot.id).id == snapshot.id
    val = (persona.snapshots / snapshot.id / "val.jsonl").read_text()
    return {number for number in NUMBERS if mark.format(number) in val}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("tale.en.md", ("tale", "en")),
        ("tale_de.txt", ("tale_de.txt", "")),
        ("tale.de.txt", ("tale", "de")),
        ("chapter-1.zh-Hans.md", ("chapter-1", "zh")),
        ("en/tale.md", ("tale", "en")),
        ("books/Deutsch/tale.md", ("books/tale", "de")),
        ("tale (ja).md", ("tale", "ja")),
        ("this_is.txt", ("this_is.txt", "")),
        ("book-2.md", ("book-2.md", "")),
    ],
)
def test_names_say_the_language(file: str, said: tuple[str, str]) -> None:
    assert split_name(file) == said


def test_folders_of_languages_are_translations_whatever_their_paragraphs(persona: Persona) -> None:
    parts = range(40)
    write(persona, "en/tale.md", [english(n) for n in parts])
    joined = [chinese(n) + (chinese(n + 1) if n == 7 else "") for n in parts if n not in (8, 21)]
    write(persona, "zh/tale.md", joined)
    write(persona, "de/tale.md", [german(n) for n in parts])
    sides = {mark: held_out(persona, mark) for mark in ("On day {} ", "第{}天", "Am Tag {} ")}
    first = sides["On day {} "]
    assert first and first == sides["Am Tag {} "]
    assert first - {NUMBERS[21]} == sides["第{}天"] - {NUMBERS[21]}


def test_merged_and_missing_paragraphs_are_set_side_by_side() -> None:
    one = [Block(1, english(n)) for n in range(30)]
    other = [Block(1, german(n) + (german(n + 1) if n == 4 else "")) for n in range(30) if n not in (5, 17)]
    cuts = align(one, other)
    assert cuts and cuts[0] == (0, 0)
    assert (4, 4) in cuts and (6, 5) in cuts and (20, 18) in cuts and (5, 5) not in cuts


def test_what_does_not_go_together_stays_on_one_side(persona: Persona) -> None:
    write(persona, "tale.en.md", [english(n) for n in range(30)])
    write(persona, "tale.de.md", ["Kurz."] * 3 + [german(1) * 20])
    write(persona, "other.md", [english(n).replace("ferry", "train").replace("crate", "letter with a long and winding tale") for n in range(30, 60)])
    snapshot = lore_build.build(persona)
    assert snapshot.notes["translations that could not be set side by side (each work as a whole on one side)"] == 1
    val = (persona.snapshots / snapshot.id / "val.jsonl").read_text()
    assert val and not any(f"On day {NUMBERS[n]} " in val for n in range(30))


def test_declared_and_recognised(persona: Persona) -> None:
    write(persona, "ferry.md", [english(n) for n in range(20)])
    write(persona, "faehre.md", [german(n) for n in range(20)])
    write(persona, "unrelated.md", ["Nothing here has numbers, and nobody counts anything in it at all."] * 5)
    works = {work["work"]: work for work in measure(persona).works}
    assert works["faehre"]["how"] == "recognised" and set(works["faehre"]["files"].values()) == {"ferry.md", "faehre.md"}
    declare(persona, ["unrelated.md", "lore/ferry.md"])
    assert declared(persona) == [["unrelated.md", "ferry.md"]]
    assert {work["how"] for work in measure(persona).works} == {"declared", ""}
    declare(persona, ["ferry.md"], apart=True)
    assert declared(persona) == [] and not (persona.lore / "parallel.toml").exists()
    with pytest.raises(StudioError, match="two files"):
        declare(persona, ["ferry.md"])
    (persona.lore / "parallel.toml").write_text("together = 3")
    with pytest.raises(StudioError, match=r"parallel\.toml"):
        lore_build.build(persona)


def test_figures_are_measured_once_and_again_when_a_file_changes(persona: Persona) -> None:
    write(persona, "a.en.md", [english(n) for n in range(6)])
    write(persona, "a.zh.md", [chinese(n) for n in range(6)])
    write(persona, "b.md", [english(2), "=-" * 30, "https://x.org/one https://x.org/two", "Fine words butter no parsnips, they say."])
    found = measure(persona)
    rows = {row.file: row for row in found.files}
    assert rows["a.en.md"].language == "en" and rows["a.zh.md"].language == "zh"
    assert rows["b.md"].duplicates == 1 and set(rows["b.md"].junk_by) == {"symbols", "links", "duplicates"} and rows["b.md"].junk > 0.5
    assert found.unit == "characters" and found.works[0]["characters"] == {"en": rows["a.en.md"].characters, "zh": rows["a.zh.md"].characters}
    assert list(found.languages) == ["en", "zh"]
    kept = (persona.private / "lore-facts.json").read_bytes()
    assert measure(persona).files == found.files and (persona.private / "lore-facts.json").read_bytes() == kept
    write(persona, "b.md", ["Only this sentence is left of it now."])
    assert {row.file: row.junk for row in measure(persona).files}["b.md"] == 0


def test_names_from_a_folder_keep_their_language(persona: Persona, tmp_path: Path) -> None:
    from studio.lore.sources import add

    for code, text in (("en", english), ("zh", chinese)):
        (tmp_path / "in" / code).mkdir(parents=True)
        (tmp_path / "in" / code / "tale.txt").write_text("\n\n".join(text(n) for n in range(4)))
    add(persona, [tmp_path / "in"])
    assert sorted(path.name for path in persona.lore.iterdir()) == ["tale.en.txt", "tale.zh.txt"]
