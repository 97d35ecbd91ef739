"""The table of importers and fixtures: what each file is taken for, and what becomes of every record in it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from studio.cli.main import main
from studio.dialogue import store
from studio.dialogue.adding import add
from studio.dialogue.importers.base import Asked
from studio.dialogue.importers.registry import FORMATS
from studio.files import read_lines
from studio.persona.folder import Persona
from studio.preference import store as preference
from tests.dialogue.importers.conftest import FIXTURES


class Case(NamedTuple):
    file: str
    """A file or a folder of the fixtures."""
    format: str
    read: int
    used: int
    """Records in kept rows."""
    rows: int
    pairs: int
    dropped: dict[str, int]
    first: str
    """The first row, its turns with the first letter of their role."""
    character: str = ""
    dates: str = ""


CASES = [Case(**json.loads(line)) for line in (Path(__file__).parent / "expected.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case.file for case in CASES])
def test_every_record_is_kept_or_dropped_by_its_reason(mira: Persona, case: Case) -> None:
    asked = Asked(character=(case.character,) if case.character else (), dates=case.dates)
    report = add(mira, [FIXTURES / case.file], asked)
    assert (report.format, report.read, report.used, report.kept, report.pairs) == (case.format, case.read, case.used, case.rows, case.pairs)
    assert report.dropped == case.dropped
    assert report.read == report.used + report.dropped.total()
    assert all(part.read == part.used + part.dropped.total() for part in report.parts)
    assert all(fault.file.startswith(str(FIXTURES)) and (fault.line or len(report.faults) == 1) for fault in report.faults)
    rows, pairs = list(store.rows(mira)), list(preference.rows(mira))
    assert (len(rows), len(pairs)) == (case.rows, case.pairs)
    if rows:
        assert " / ".join(f"{m.role[0]}:{m.content}" for m in rows[0].messages) == case.first
    for row in rows:
        assert row.source and row.line
        roles = [m.role for m in row.messages if m.role != "system"]
        assert roles[-1] == "assistant" and all(a != b for a, b in pairwise(roles))


def test_every_format_has_a_fixture() -> None:
    tested = {name for case in CASES for name in case.format.split(", ")}
    assert {format_.name for format_ in FORMATS} <= tested


@pytest.mark.parametrize("case", [case for case in CASES if (FIXTURES / case.file).is_file()], ids=lambda case: case.file)
def test_the_format_that_is_said_reads_the_same(mira: Persona, case: Case) -> None:
    asked = Asked(character=(case.character,) if case.character else (), dates=case.dates)
    told = add(mira, [FIXTURES / case.file], asked, dry_run=True)
    if ", " not in case.format and case.file != "sharegpt.jsonl":  # whose last row is ambiguous only until it is said
        forced = add(mira, [FIXTURES / case.file], Asked(case.format, asked.me, asked.character, dates=case.dates), dry_run=True)
        assert (forced.read, forced.used, forced.dropped) == (told.read, told.used, told.dropped)
    assert not list(store.rows(mira)) and not (mira.sources / "index.jsonl").exists(), "a dry run writes nothing"


def test_adding_twice_adds_nothing(mira: Persona) -> None:
    file = FIXTURES / "telegram" / "result.json"
    first, second = add(mira, [file]), add(mira, [file])
    assert first.kept == 2 and second.kept == 0 and second.dropped["duplicate"] == first.used
    assert add(mira, [FIXTURES / "sillytavern.jsonl"]).pairs == 2
    assert add(mira, [FIXTURES / "sillytavern.jsonl"]).pairs == 0


def test_rows_know_where_and_when_they_were_said(mira: Persona) -> None:
    add(mira, [FIXTURES / "telegram" / "result.json"])
    first, second = store.rows(mira)
    assert (first.source, first.line, first.time) == ("result.json", 2, "2025-06-13T19:00:10+00:00")
    assert first.message_ids == ["2", "3", "4", "6", "8"] and second.message_ids == ["12", "13"]
    (entry,) = (value for _, value in read_lines(mira.sources / "index.jsonl"))
    assert (mira.sources / entry["original"]).read_bytes() == (FIXTURES / "telegram" / "result.json").read_bytes()
    assert (mira.sources / entry["original"]).stat().st_mode & 0o077 == 0, "a private chat is nobody else's to read"


def test_local_times_have_no_zone(mira: Persona) -> None:
    add(mira, [FIXTURES / "whatsapp" / "sv_SE.txt"])
    assert next(store.rows(mira)).time == "2025-06-13T21:25:00"


def test_swipes_become_pairs_with_the_talk_before_them(mira: Persona) -> None:
    add(mira, [FIXTURES / "sillytavern.jsonl"])
    first, second = preference.rows(mira)
    assert [m.content for m in first.prompt] == ["Me again."] and (first.better, first.worse) == ("Then shut the door.", "Welcome back, dear friend!")
    assert (second.better, second.worse) == ("Good.", "Great job!") and len(second.prompt) == 3
    assert first.source == "sillytavern.jsonl" and first.line == 4 and first.tags == ["swipe"]


def test_a_folder_of_everything_is_read_file_by_file(mira: Persona) -> None:
    report = add(mira, [FIXTURES], Asked(character=("Mira", "米拉", "미라", "ميرا"), dates="dmy"))
    assert len(report.parts) == sum(path.is_file() for path in FIXTURES.rglob("*"))
    assert report.read == report.used + report.dropped.total()
    assert not {part.file for part in report.parts if not part.format}
    assert report.dropped["duplicate"], "signal's two files hold the same talk"


def test_the_command_line_tells_and_refuses(mira: Persona, capsys: pytest.CaptureFixture[str]) -> None:
    mira_ = ["-p", str(mira.root), "dialogue"]
    chat = str(FIXTURES / "whatsapp" / "tr_TR.txt")
    assert main([*mira_, "add", str(FIXTURES / "whatsapp" / "zh_CN.txt")]) == 1
    said = capsys.readouterr().err
    assert "汤姆 2" in said and "米拉 2" in said and "--character" in said and "生气" not in said
    assert main([*mira_, "add", str(FIXTURES / "whatsapp" / "zh_CN.txt"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["speakers"] == {"汤姆": 2, "米拉": 2}
    assert main([*mira_, "add", chat, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Lamba yanıyor mu?" in said and "1 conversation would be kept, of 4 of 5 messages read (whatsapp)" in said
    assert not list(store.rows(mira))
    assert main([*mira_, "add", chat, "--character", "Tom", "--me", "Mira", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] == 1 and told["cast"] == {"Mira": "me", "Tom": "character"} and told["dropped"]["unanswered"] == 1
    assert main([*mira_, "formats", "--json"]) == 0
    assert {entry["format"] for entry in json.loads(capsys.readouterr().out)} == {format_.name for format_ in FORMATS}
    assert main([*mira_, "add", chat, "--format", "icq"]) == 2
    assert main([*mira_, "add", str(FIXTURES / "whatsapp" / "ambiguous.txt")]) == 1
    assert "--dates dmy" in capsys.readouterr().err


def test_kto_rows_reach_the_preference_set_by_its_own_command_too(mira: Persona) -> None:
    report = preference.add(mira, [FIXTURES / "kto.jsonl"])
    assert (report.read, report.kept, report.format, report.dropped) == (4, 2, "kto", {"no counterpart": 1})
    assert report.faults[0].line == 4
    first, second = preference.rows(mira)
    assert first.better == second.better == "Nobody you owe money." and first.worse != second.worse
    assert add(mira, [FIXTURES / "kto.jsonl"]).dropped == {"no counterpart": 1, "duplicate": 3}
