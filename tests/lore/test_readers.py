"""Every kind of file becomes the text a person would read in it; what is refused is refused with a sentence."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from pathlib import Path

import pytest

from studio.lore import sources
from studio.lore.readers import Reading, Unreadable, read_here, reader_of
from studio.lore.readers.apart import Apart
from studio.persona.folder import Persona

from .making import BOOK, PROSE, book_pdf, epub, every_kind, zipped


def read(name: str, raw: bytes | None = None) -> Reading:
    raw = every_kind()[name] if raw is None else raw
    return read_here(reader_of(name, raw), raw, name)


def test_a_page_is_its_text_with_heads_and_without_menus_and_readings() -> None:
    reading = read("page.html")
    assert reading.text.startswith("# The Ferry\n\n" + PROSE[0])
    assert "## Chapter One\n\n" in reading.text and "彼は漢字を書いた。" in reading.text and "line one\nline two" in reading.text
    assert not {"Home", "var x", "かんじ"} & {word for word in ("Home", "var x", "かんじ") if word in reading.text}
    assert reading.changed["readings (ruby) left out"] == 1


def test_a_page_in_the_encoding_it_names() -> None:
    page = '<html><head><meta charset="shift_jis"></head><body><p>吾輩は猫である。名前はまだ無い。</p></body></html>'
    reading = read("a.html", page.encode("shift_jis"))
    assert "吾輩は猫である" in reading.text and reading.encoding == "shift_jis"


def test_an_epub_follows_its_spine() -> None:
    reading = read("book.epub")
    assert reading.text == f"## One\n\n{PROSE[0]}\n\n## Two\n\n{PROSE[1]}\n"
    assert reading.unread == [(0, "the chapter OEBPS/text/gone.xhtml is named in the spine but not in the book")]
    assert reading.changed == {"tables of contents left out": 1, "chapters that cannot be read left out": 1}


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"META-INF/encryption.xml": '<e><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></e>'}, "encrypted"),
        ({"OEBPS/content.opf": '<!DOCTYPE a [<!ENTITY b "c">]><package>&b;</package>'}, "damaged book"),
        ({"META-INF/container.xml": "<container><rootfiles>"}, "damaged book"),
        ({"OEBPS/content.opf": "<package/>"}, "no text in it"),
    ],
)
def test_a_book_that_cannot_be_read_says_why(extra: dict[str, str], reason: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read("book.epub", epub(dict(extra)))
    assert refused.value.reason == reason


def test_a_pdf_is_paragraphs_without_page_numbers_and_running_heads() -> None:
    reading = read("book.pdf", book_pdf())
    parts = reading.text.strip().split("\n\n")
    assert parts[0] == "# Chapter One"
    keeper = "the keeper of the lost property office wrote down each of the crates in the book"
    assert parts[1] == f"One, {keeper}, number 1, and nobody asked for the plums again."
    assert parts[2].startswith("In the evening the ferry came in with one lamps lit, and all of its passengers were carrying")
    assert parts[-1].endswith("had taken on board, which is all that can be said.")
    assert "LOST PROPERTY OFFICE" not in reading.text
    assert reading.changed == {"page numbers left out": 6, "running heads left out": 6, "words broken at line ends joined": 5}


def test_a_word_file_keeps_insertions_and_notes_and_drops_what_was_deleted() -> None:
    reading = read("letter.docx")
    assert reading.text.startswith("# The Ferry\n\nBefore. Inserted words. " + PROSE[0])
    assert "A note on ferries." in reading.text and "Deleted" not in reading.text


def test_rows_and_what_is_none() -> None:
    reading = read("rows.jsonl")
    assert reading.text == f"{PROSE[0]}\n\n# Two\n\n{PROSE[1]}\n"
    assert [line for line, _ in reading.unread] == [3]
    with pytest.raises(Unreadable, match="studio dialogue add"):
        read("a.jsonl", b'{"messages":[{"role":"user","content":"hi"}]}\n')
    assert read("a.jsonl", '{"text":"one\u2028two"}\n'.encode()).text == "one\u2028two\n"


def test_subtitles_become_sentences() -> None:
    assert read("film.srt").text == "The ferry came in at dusk.\n- Who is there?\n- Nobody.\n\nThen let nobody in.\n"
    assert read("film.srt").changed["credits left out"] == 1
    assert read("film.vtt").text == "The book lies by the window.\n"
    assert read("film.ass").text == "Wen: Good evening, stranger.\nBao: Evening.\n"


def test_scripts_become_lines_with_names() -> None:
    assert read("play.fountain").text == "## INT. OFFICE - NIGHT\n\nA lamp burns.\n\nWEN: (quietly) Then sit.\n\nBAO: Which thing first?\n\nCUT TO:\n"
    assert read("game.rpy").text == "Wen: The kettle is on.\nIt has never once broken.\n> Stay\nWen: Good.\n> Leave\n"
    assert read("lines.csv").text == "Wen: The kettle, as ever, is on.\nBao: Good.\n\nThe lamp goes out.\n"
    assert read("talk.json").text == "Wen: Then sit.\n(She sits.)\n\nBao: Yes.\n\nBao: No.\n"


def test_a_wiki_dump_is_its_articles() -> None:
    reading = read("wiki.xml")
    assert reading.text == "# Orm\n\nOrm is a harbour town of the North.\n\n## History\n\nIt has a bell.link\n\n- a lamp\n- a kite\n"
    assert reading.changed["redirects left out"] == 1 and reading.changed["talk, template and other pages left out"] == 1


def test_a_lorebook_is_its_entries_resolved_and_makes_questions(persona: Persona, tmp_path: Path) -> None:
    (tmp_path / "book.json").write_text(json.dumps(BOOK))
    report = sources.add(persona, [tmp_path / "book.json"], probes=True)
    text = (persona.lore / "book.md").read_text()
    assert text.startswith("# Brackwater\n\n## Brackwater\n\nBrackwater is a drowned town below the weir, where Wen was born.")
    assert "@@" not in text and "{{" not in text and "Switched off" not in text
    assert report.changed["decorators left out"] == 2 and report.changed["entries that are switched off left out"] == 1
    probes = [json.loads(line) for line in persona.probes.read_text().splitlines()]
    assert [probe["answer"] for probe in probes] == ["Brackwater", "Orm", "Luwan", "Tern"]
    assert all(probe["answer"] not in probe["prompt"] and len(probe["wrong"]) == 3 for probe in probes)
    from studio.review.probes import load_probes

    assert len(load_probes(persona)) == 4
    again = sources.add(persona, [tmp_path / "book.json"], probes=True)
    assert again.dropped == {"already here": 1} and len(load_probes(persona)) == 4


def test_a_card_is_lore_but_for_what_is_dialogue() -> None:
    reading = read("card.png")
    assert (
        reading.text
        == "# Wen\n\nWen keeps the lost property office. Calm.\n\n## Personality\n\nDry.\n\n## Kettle\n\nThe kettle of Wen has never broken.\n"
    )
    assert reading.changed["greetings and examples left out (they are dialogue)"] == 1


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("a.jpg", b"\xff\xd8", "not a kind of file that is read as lore"),
        ("a.txt", b"%PDF-1.4 x", "not what its ending says"),
        ("a.pdf", b"%PDF-1.4 x", "damaged file"),
        ("a.pdf", b"hello", "damaged file"),
        ("a.docx", b"PK\x03\x04 x", "damaged archive"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40, "no card in it"),
        ("a.srt", b"hello", "no text in it"),
        ("a.csv", b"a,b\n1,2\n", "no text column"),
        ("a.xml", b"<a/>", "not a wiki export"),
        ("a.xml", b"<mediawiki><page>", "damaged file"),
        ("a.json", b'{"a": 1}', "not lore"),
        ("a.json", b"[" * 100_000, "no JSON"),
        ("a.html", b"<div>" * 100_000, "too deeply nested"),
        ("a.txt", b"\xff\xfe\x00\xd8\x00", "not readable as text"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name: str, raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(name, raw)
    assert refused.value.reason == reason and len(str(refused.value)) < 400


def test_utf16_without_its_mark() -> None:
    assert read("a.txt", "The ferry came in.\n".encode("utf-16-le")).text == "The ferry came in.\n"


def test_a_reader_that_dies_or_hangs_costs_only_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    with Apart(patience=0.0) as impatient, pytest.raises(Unreadable, match="given up"):
        impatient.read("html", b"<p>x</p>", "a.html")
    with Apart() as apart:
        assert apart.read("html", b"<p>x</p>", "a.html").text == "x\n"
        assert apart.process
        os.kill(apart.process.pid, signal.SIGKILL)
        with pytest.raises(Unreadable, match="broke on it"):
            apart.read("html", b"<p>x</p>", "a.html")
        assert apart.read("html", b"<p>y</p>", "a.html").text == "y\n"


def test_chats_among_the_texts_are_no_lore_unless_they_are_meant(persona: Persona, tmp_path: Path) -> None:
    for name, text in {
        "book.txt": "The lamp room stood at the end of the pier, and nobody but the keeper had its key.\n" * 9,
        "scene.txt": "MIRA: The lamp is lit.\n\nTOM: Which one?\n\nMIRA: All of them.\n" * 3,
        "WhatsApp Chat with Mira.txt": "6/13/25, 10:02 PM - Tom: Is it lit?\n6/13/25, 10:03 PM - Mira: Which one?\n" * 4,
        "train.txt": "<|im_start|>user\nLit?<|im_end|>\n<|im_start|>assistant\nAll of them.<|im_end|>\n",
        "chat.md": "[2025-06-13 21:58:00] Me: Lit?\n\n[2025-06-13 21:59:00] Mira: Yes.\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    report = sources.add(persona, [tmp_path / name.name for name in tmp_path.iterdir() if name.is_file()])
    assert (report.kept, report.dropped) == (2, {"dialogue, not lore": 3})
    assert any("it is a chat (whatsapp)" in str(fault) for fault in report.faults)
    assert sources.add(persona, [tmp_path / "train.txt"], as_is=True).kept == 1


def test_folders_and_archives_are_read_and_their_tricks_refused(persona: Persona, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "en").mkdir(parents=True)
    (inbox / "en" / "tale.txt").write_text(PROSE[0])
    (tmp_path / "secret.txt").write_text("a secret outside")
    (inbox / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inbox / ".hidden.txt").write_text("hidden")
    link = zipfile.ZipInfo("escape.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(inbox / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zh/tale.txt", "渡船在黄昏时分进港，船灯已经点亮。")
        archive.writestr("../../evil.txt", "evil")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bomb.txt", b"a" * 5_000_000)
        archive.writestr("inner.zip", zipped({"a.txt": "x"}))
        archive.writestr("__MACOSX/._x", "x")
    (inbox / "broken.zip").write_bytes((inbox / "all.zip").read_bytes()[:200])
    report = sources.add(persona, [inbox])
    assert {path.name for path in persona.lore.iterdir()} == {"tale.en.txt", "tale.zh.txt"}
    assert report.kept == 2 and report.read == 8
    assert report.dropped == {
        "a link": 2,
        "path leads out of the archive": 1,
        "decompression bomb": 1,
        "an archive in an archive": 1,
        "damaged archive": 1,
    }
    assert not list(tmp_path.rglob("evil*")) and "secret" not in "".join(p.read_text() for p in persona.lore.iterdir())
    assert all(fault.file.startswith(str(inbox)) for fault in report.faults)
    kept = next(persona.sources.glob("*-all.zip"))
    assert kept.stat().st_mode & 0o777 == 0o400
    assert all(path.stat().st_mode & 0o077 == 0 for path in persona.lore.iterdir())


def test_names_that_are_long_or_no_unicode_and_folders_that_are_closed(persona: Persona, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "closed").mkdir(parents=True)
    (inbox / ("渡" * 83 + ".txt")).write_text(PROSE[0])
    with open(os.fsencode(inbox) + b"/caf\xe9\x1b[2J.txt", "w") as file:
        file.write(PROSE[1])
    (inbox / "closed").chmod(0)
    report = sources.add(persona, [inbox])
    (inbox / "closed").chmod(0o700)
    assert report.kept == 2 and (os.geteuid() == 0 or report.dropped == {"cannot be opened": 1})
    json.dumps(report.as_json()).encode()
    names = [path.name for path in sources.files(persona)]
    assert all(len(name.encode()) < 200 and name.isprintable() for name in names) and len(sources.added_from(persona)) == 2


def test_an_archive_that_lies_about_its_size_is_cut_off(persona: Persona, tmp_path: Path) -> None:
    raw = bytearray(zipped({"a.txt": "x" * 100_000}))
    place = raw.index(b"PK\x01\x02")
    raw[place + 24 : place + 28] = (10).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(raw)
    report = sources.add(persona, [tmp_path / "liar.zip"])
    assert report.kept == 0 and sum(report.dropped.values()) == 1


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Старый паромщик ещё раз оглянулся на город, потом ушёл. ", "cp1251"),
        ("Старый паромщик ещё раз оглянулся на город, потом ушёл. ", "koi8-r"),
        ("Az öreg révész őszintén szólva fűtött a büszkeségtől. ", "cp1250"),
        ("Der alte Fährmann ging übers Ufer nach Hause. ", "latin-1"),
        ("渡船在黄昏时分进港，船灯已经点亮。", "gb18030"),
        ("渡船在黃昏時分進港，船燈已經點亮。", "big5"),
        ("渡し船は夕暮れに灯をともして入ってきた。", "shift_jis"),
        ("渡し船は夕暮れに灯をともして入ってきた。", "euc_jp"),
        ("渡し船は夕暮れに灯をともして入ってきた。", "iso2022_jp"),
        ("나룻배는 해질녘에 등불을 켜고 들어왔다. ", "euc_kr"),
        ("나룻배는 해질녘에 등불을 켜고 들어왔다. ", "utf-16"),
    ],
)
def test_old_encodings(text: str, encoding: str) -> None:
    assert read("a.txt", (text * 12).encode(encoding)).text == text * 12
