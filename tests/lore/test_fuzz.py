"""Files that are damaged anywhere are read or refused with a sentence that names them; nothing else ever happens."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.lore import sources
from studio.lore.cleaning import clean
from studio.lore.readers import APART, FORMATS, Unreadable, ending, read_here, reader_of
from studio.lore.readers.apart import Apart
from studio.persona.folder import Persona

from .making import every_kind, zipped

FILES = every_kind()
HERE = {name: raw for name, raw in FILES.items() if FORMATS[ending(name)] not in APART}
ELSEWHERE = {name: raw for name, raw in FILES.items() if FORMATS[ending(name)] in APART}


def mutated(raw: bytes, dice: random.Random) -> bytes:
    """``raw`` with bytes changed, cut, doubled or put in."""
    made = bytearray(raw)
    for _ in range(dice.choice((1, 2, 5, 20))):
        at = dice.randrange(len(made) + 1)
        match dice.randrange(6):
            case 0 if made:
                made[at % len(made)] = dice.randrange(256)
            case 1:
                del made[at : at + dice.randrange(1, 40)]
            case 2:
                made[at:at] = made[at : at + dice.randrange(1, 200)]
            case 3:
                made[at:at] = dice.choice((b"\0", b"\xff", b"<", b"{{" * 50, b"[[" * 50, b"-->", b"\xe2\x80\xa8", b"9" * 30, b"\n\n", b'"', b"\\"))
            case 4:
                del made[at:]
            case _:
                made[at:at] = bytes(dice.randrange(256) for _ in range(8))
    return bytes(made)


def mutated_inside(raw: bytes, dice: random.Random) -> bytes:
    """A zip file whose members are damaged and the archive is whole."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    for name in dice.sample(sorted(members), dice.randint(1, 3)):
        content = members[name]
        members[name] = mutated(content if isinstance(content, bytes) else content.encode(), dice)
    return zipped(members)


def sane(text: str) -> None:
    text.encode("utf-8")
    assert "\r" not in text
    clean(text)


@pytest.mark.parametrize("name", HERE)
@settings(max_examples=120, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_damaged_files_are_read_or_refused(name: str, seed: int) -> None:
    raw = mutated(HERE[name], random.Random(seed))
    try:
        sane(read_here(reader_of(name, raw), raw, name).text)
    except Unreadable as refused:
        assert refused.reason and 10 < len(str(refused)) < 500 and refused.line >= 0


@pytest.mark.parametrize("name", ELSEWHERE)
def test_damaged_files_of_c_libraries_are_read_or_refused(name: str) -> None:
    with Apart() as apart:
        for seed in range(60):
            inside = seed % 3 and ELSEWHERE[name].startswith(b"PK")
            raw = (mutated_inside if inside else mutated)(ELSEWHERE[name], random.Random(seed))
            try:
                sane(apart.read(reader_of(name, raw), raw, name).text)
            except Unreadable as refused:
                assert refused.reason and 10 < len(str(refused)) < 500


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=400), kind=st.sampled_from(sorted(kind for kind in FORMATS if FORMATS[kind] not in APART)))
def test_any_bytes_at_all(raw: bytes, kind: str) -> None:
    try:
        sane(read_here(reader_of("a" + kind, raw), raw, "a" + kind).text)
    except Unreadable as refused:
        assert str(refused)


def test_a_folder_of_damage_is_added_as_far_as_it_goes(persona: Persona, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    for number, (name, raw) in enumerate(FILES.items()):
        (inbox / f"{number}-{name}").write_bytes(raw[: len(raw) // 2])
        (inbox / f"{number}-good-{name}").write_bytes(raw)
    report = sources.add(persona, [inbox])
    assert report.read == 2 * len(FILES) and report.kept + sum(report.dropped.values()) == report.read
    assert report.kept >= len(FILES)
    named = {fault.file for fault in report.faults}
    assert all(str(inbox) in file for file in named)
    for path in sources.files(persona):
        assert path.parent == persona.lore
        path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.srt", b"1\n" + b"00:00:01,000 --> " * 20_000),
        ("a.wiki", b"{{" * 100_000),
        ("a.wiki", b"[[" * 100_000 + b"]]" * 100_000),
        ("a.wiki", b"'''" * 100_000 + b"=" * 50_000),
        ("a.md", b"---\n" + b"a: b\n" * 100_000),
        ("a.md", b"<!--" * 100_000),
        ("a.txt", b"a" * 3_000_000),
        ("a.txt", ("漢（かな" * 200_000).encode()),
        ("a.txt", b"[Illustration" * 50_000 + b"*** START OF THE PROJECT GUTENBERG"),
        ("a.txt", b"- \n" * 300_000),
        ("a.rpy", b'e "' + b"\\" * 15_000 + b"\n" + b"a " * 9_000),
        ("a.csv", b"text\n" + b'"' * 100_001),
        ("a.fountain", b"/*" * 100_000),
        ("a.json", b'{"a":' * 50_000),
        ("a.xml", b"<mediawiki>" + b"<page>" * 5_000),
    ],
)
def test_what_is_made_to_be_slow_is_not(name: str, raw: bytes) -> None:
    """Each of these takes well under a second; a pattern that tries every way would take hours and meet the test's time limit."""
    try:
        clean(
            read_here(reader_of(name, raw), raw, name).text,
            ["frame", "wiki", "pages", "furigana", "wrapped", "paragraphs", "links", "symbols", "spaces"],
        )
    except Unreadable as refused:
        assert str(refused)
