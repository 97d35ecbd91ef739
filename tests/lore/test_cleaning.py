"""What is mended is provably no author's, is counted, and can be looked at; what only looks like it is left alone."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.errors import StudioError
from studio.lore import sources
from studio.lore.checking import check
from studio.lore.cleaning import ALWAYS, STEPS, USUAL, clean
from studio.lore.mending import apply, plan
from studio.persona.folder import Persona

from .making import PROSE

ROOT = Path(__file__).parents[2]
LONG = [
    f"In the year {year} {PROSE[year % 3]} And so it went on until the end of that year, as it had in every year before."
    for year in range(1801, 1841)
]

OTHER = "Nobody who crosses here has ever been asked for a name, and the gulls, which have no names, are never asked for anything else."


def test_hard_wraps_are_joined_and_verse_lists_and_hyphens_kept() -> None:
    verse = "The lamp went out,\nThe kite came down,\nAnd nobody asked for the plums."
    listed = "- a lamp\n- a kite\n- two gloves"
    wrapped = "\n\n".join([*(textwrap.fill(part, 70) for part in LONG), verse, listed, "the old mantel-\npiece " + textwrap.fill(LONG[0], 70)])
    cleaned = clean(wrapped)
    parts = cleaned.text.strip().split("\n\n")
    assert parts[: len(LONG)] == LONG and parts[len(LONG)] == verse and parts[len(LONG) + 1] == listed
    assert cleaned.counts["wrapped"] >= len(LONG)
    assert clean(cleaned.text).text == cleaned.text


def test_a_gutenberg_frame_is_cut() -> None:
    book = (
        "The Project Gutenberg eBook of Ferries\n\nThis eBook is for the use of anyone\n\n*** START OF THE PROJECT GUTENBERG EBOOK FERRIES ***\n\n"
        "Produced by Somebody\n\nCHAPTER I\n\n[Illustration: a ferry]\n\n"
        + LONG[0]
        + "\n\n*** END OF THE PROJECT GUTENBERG EBOOK FERRIES ***\n\nSection 1. Terms\n"
    )
    cleaned = clean(book)
    assert cleaned.text == f"CHAPTER I\n\n{LONG[0]}\n"
    assert clean("He worked for Project Gutenberg all his life.\n").text == "He worked for Project Gutenberg all his life.\n"


def test_wiki_furniture_is_cut_and_an_authors_brackets_stay() -> None:
    page = 'Orm[edit]\n\nOrm is a harbour.[1] It has a bell.[citation needed]\n\nRetrieved from "https://x"\n\nThis page was last edited on 1 May.\n'
    assert clean(page).text == "Orm\n\nOrm is a harbour. It has a bell.\n"
    story = "He wrote it down.[1]\n\nCategory: unknown, he thought.\n"
    assert clean(story).text == story


def test_mojibake_is_repaired_only_where_it_can_be_proved() -> None:
    said = "“Ünïcödé — naïve café,” he said."
    garbled = said.encode("utf-8").decode("cp1252", errors="ignore")
    assert clean("It’s a café.\n").counts == {}
    assert clean(garbled + "\n").text.strip().startswith("“Ün") or garbled.encode("cp1252").decode("utf-8", "ignore") != said
    whole = "Ő és a büszke fűzfa: naïve".encode().decode("latin-1")
    assert clean(whole + "\n").text == "Ő és a büszke fűzfa: naïve\n"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_clean_text_is_not_touched(language: str) -> None:
    for path in (ROOT / "personas" / "wen" / "lore").glob(f"*.{language}.md"):
        text = path.read_text(encoding="utf-8")
        assert clean(text).counts == {} and clean(text).text == text


def test_furigana_in_brackets_and_aozora() -> None:
    habit = "彼女（かのじょ）は漢字（かんじ）を書（か）いた。笑った（笑）。\n"
    assert clean(habit).text == "彼女は漢字を書いた。笑った（笑）。\n"
    once = "彼女（かのじょ）は笑った。\n"
    assert clean(once).text == once
    assert clean("吾輩《わがはい》は｜人間の家《いえ》に住む［＃改ページ］。《书名》很好。\n").text == "吾輩は人間の家に住む。《书名》很好。\n"


def test_page_numbers_go_and_chapter_numbers_stay() -> None:
    halves = [(part[:60].rsplit(" ", 1)[0], part[len(part[:60].rsplit(" ", 1)[0]) + 1 :]) for part in LONG]
    pages = "\n\n".join(f"{a}\n\n{n}\n\n{b}" for n, (a, b) in enumerate(halves, 12))
    cleaned = clean(pages)
    assert cleaned.counts["pages"] == len(LONG) and "\n12\n" not in cleaned.text
    chapters = "\n\n".join(f"{n}\n\n{part}" for n, part in enumerate(LONG, 1)) + "\n"
    assert clean(chapters).text == chapters


def test_a_line_a_paragraph() -> None:
    novel = "\n".join(f"　　第{i}天，渡船在黄昏时分进港，船灯已经点亮，下船的人都带着比上船时更多的东西，谁也没有回头。" for i in range(30)) + "\n"
    cleaned = clean(novel)
    assert len(cleaned.text.strip().split("\n\n")) == 30 and cleaned.counts["paragraphs"] == 29


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("ab \n\t.[]1《》（）かな漢-*é\x0c\u00a0\u200b"), max_size=60), max_size=12))
def test_cleaning_twice_is_cleaning_once_and_places_are_in_the_text(parts: list[str]) -> None:
    text = "\n".join(parts)
    once = clean(text, STEPS)
    assert clean(once.text, STEPS).text == once.text
    lines = max(1, len(once.text.split("\n")))
    assert all(1 <= change.line <= len(text.split("\n")) and 1 <= change.at <= lines + 1 for change in once.changes)


def test_every_change_can_be_looked_at_later(persona: Persona, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text(f'Orm[edit]\n\n{LONG[0]}\n\nRetrieved from "https://x"\n\n{LONG[1]}\n')
    report = sources.add(persona, [tmp_path / "page.txt"])
    assert report.changed == {STEPS["wiki"]: 2}
    changes = sources.changes_of(persona, "page.txt")
    lines = (persona.lore / "page.txt").read_text().split("\n")
    assert [(change.before, change.after) for change in changes] == [("Orm[edit]", "Orm"), ('Retrieved from "https://x"', "")]
    assert lines[changes[0].at - 1] == "Orm" and lines[changes[1].at - 1] == LONG[1]
    (persona.lore / "page.txt").write_text("A new beginning.\n\n" + (persona.lore / "page.txt").read_text())
    assert sources.changes_of(persona, "page.txt")[0].at == 3
    kept = sources.add(persona, [tmp_path / "page.txt"], as_is=True)
    assert kept.kept == 1 and (persona.lore / "page-2.txt").read_text().startswith("Orm[edit]")


def test_clean_shows_first_and_keeps_what_stood_there(persona: Persona) -> None:
    spam = "=-" * 40
    near = LONG[1].replace("as it had", "just as it had")
    (persona.lore / "a.md").write_text("\n\n".join([LONG[0], LONG[1], spam, LONG[0], "Share this on the Ferry Network today"]) + "\n")
    (persona.lore / "b.md").write_text("\n\n".join([LONG[2], near, "Share this on the Ferry Network today"]) + "\n")
    (persona.lore / "c.md").write_text("\n\n".join([OTHER, "See https://x.org/a_(b) for it.", "Share this on the Ferry Network today"]) + "\n")
    before = {path.name: path.read_bytes() for path in persona.lore.iterdir()}
    plans = plan(persona)
    assert {path.name: path.read_bytes() for path in persona.lore.iterdir()} == before
    found = {(each.file, change.line, change.step) for each in plans for change in each.cleaned.changes}
    assert found == {("a.md", 5, "symbols"), ("a.md", 7, "duplicates"), ("a.md", 9, "repeated"), ("b.md", 5, "repeated"), ("c.md", 5, "repeated")}
    faults = {(fault.file, fault.line) for fault in check(persona)}
    assert {("lore/a.md", 5), ("lore/a.md", 7), ("lore/a.md", 9), ("lore/b.md", 3), ("lore/c.md", 3)} <= faults
    apply(persona, plan(persona, [*USUAL, "links", "near"]))
    assert (persona.lore / "a.md").read_text() == f"{LONG[0]}\n\n{LONG[1]}\n"
    assert (persona.lore / "b.md").read_text() == f"{LONG[2]}\n"
    assert (persona.lore / "c.md").read_text() == f"{OTHER}\n\nSee for it.\n"
    assert next(persona.sources.glob("*-a.md")).read_bytes() == before["a.md"]
    assert [change.step for change in sources.changes_of(persona, "a.md")] == ["symbols", "duplicates", "repeated"]
    assert plan(persona) == []


def test_an_excerpt_gives_way_to_its_book(persona: Persona) -> None:
    (persona.lore / "a-excerpt.md").write_text("\n\n".join(LONG[3:6]) + "\n")
    (persona.lore / "book.md").write_text("\n\n".join(LONG[:12]) + "\n")
    plans = plan(persona)
    assert [each.file for each in plans] == ["a-excerpt.md"] and plans[0].cleaned.counts == {"duplicates": 3}
    assert any(fault.file == "lore/a-excerpt.md" and "lore/book.md" in fault.what and not fault.line for fault in check(persona))
    apply(persona, plans)
    assert [path.name for path in sources.files(persona)] == ["book.md"]


def test_a_file_that_changed_meanwhile_is_left_alone(persona: Persona) -> None:
    (persona.lore / "a.md").write_text(f"{LONG[0]}\n\n{LONG[0]}\n")
    plans = plan(persona)
    (persona.lore / "a.md").write_text("mine now\n")
    with pytest.raises(StudioError, match="changed while"):
        apply(persona, plans)
    assert (persona.lore / "a.md").read_text() == "mine now\n"


def test_stopping_leaves_whole_files_only(persona: Persona, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(LONG[number])

    def stop_at_third(what: str, done: int, whole: int) -> None:
        if done >= 2 * len(LONG[0]):
            raise StudioError("stopped")

    with pytest.raises(StudioError, match="stopped"):
        sources.add(persona, [tmp_path / f"{n}.txt" for n in range(4)], progress=stop_at_third)
    there = sorted(path.name for path in persona.lore.iterdir())
    assert there and len(there) < 4 and set(there) == sources.added_from(persona).keys()
    assert not list(persona.root.rglob(".*.txt.*"))


def test_dropped_and_brought_back(persona: Persona, tmp_path: Path) -> None:
    (tmp_path / "tale.txt").write_text(LONG[0])
    sources.add(persona, [tmp_path / "tale.txt"])
    (original,) = sources.drop(persona, ["lore/tale.txt"])
    assert not sources.files(persona) and (persona.sources / original).read_text() == LONG[0]
    (persona.lore / "hand.md").write_text("By hand.")
    (kept,) = sources.drop(persona, ["hand.md"])
    assert (persona.sources / kept).read_text() == "By hand."
    with pytest.raises(StudioError, match="no lore file"):
        sources.drop(persona, ["hand.md"])
    assert sources.add(persona, [tmp_path / "tale.txt"]).kept == 1
    assert json.loads((persona.sources / "index.jsonl").read_text().splitlines()[0])["format"] == "text"


def test_steps_done_when_adding_never_judge_the_text() -> None:
    assert not {"links", "symbols", "repeated", "duplicates", "near"} & set(ALWAYS)
