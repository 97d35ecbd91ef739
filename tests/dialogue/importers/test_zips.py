"""Zips of exports: read in memory, tricks refused with a sentence."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from studio.cli.main import main
from studio.dialogue import store
from studio.dialogue.adding import add
from studio.dialogue.importers import reading
from studio.persona.folder import Persona
from tests.dialogue.importers.conftest import FIXTURES

CHAT = (FIXTURES / "whatsapp" / "tr_TR.txt").read_bytes()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_of_an_export(mira: Persona, tmp_path: Path) -> None:
    path = zipped(tmp_path / "WhatsApp Chat - Mira.zip", {"_chat.txt": CHAT, "00000012-PHOTO.jpg": b"\xff\xd8", "__MACOSX/._chat.txt": b"x"})
    report = add(mira, [path])
    assert (report.kept, report.format) == (1, "whatsapp") and report.changed["other file of the zip (picture, sound, zip) not read"] == 2
    assert report.files[0].endswith("Mira.zip!_chat.txt") and next(store.rows(mira)).source == "_chat.txt"
    assert [p.name.split("-", 1)[1] for p in mira.sources.iterdir() if p.name != "index.jsonl"] == ["_chat.txt"]


def test_parts_in_a_zip_are_one_chat(mira: Persona, tmp_path: Path) -> None:
    inbox = FIXTURES / "messenger" / "inbox" / "mira_1"
    members = {f"messages/inbox/mira_1/{p.name}": p.read_bytes() for p in inbox.iterdir()}
    assert add(mira, [zipped(tmp_path / "fb.zip", members)]).used == 3


def test_names_that_lead_out_and_links_are_refused(mira: Persona, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"../../evil.txt": CHAT, "/etc/evil.txt": CHAT, "C:\\evil.txt": CHAT, "..\\evil.txt": CHAT})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    before = set(tmp_path.rglob("*"))
    report = add(mira, [path])
    assert report.dropped == {"refused": 5} and not report.kept
    assert {p for p in set(tmp_path.rglob("*")) - before if mira.root not in p.parents and p.is_file()} == set()


def test_bombs_are_refused(mira: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "bomb.zip", {"a.txt": b"0" * (40 << 20), "b.txt": CHAT})
    report = add(mira, [path])
    assert report.dropped["refused"] == 1 and report.kept == 1 and "bombs" in report.faults[0].what
    # One that lies about its size: the header says 100 bytes.
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\x01\x02")
    struct.pack_into("<I", raw, central + 24, 100)
    path.write_bytes(raw)
    report = add(mira, [path], dry_run=True)
    assert report.parts[0].file.endswith("a.txt") and report.parts[0].dropped == {"damaged in the zip": 1}
    monkeypatch.setattr(reading, "LARGEST_ZIP", len(CHAT) + 10)
    report = add(mira, [zipped(tmp_path / "many.zip", {"1.txt": CHAT, "2.txt": CHAT, "3.txt": CHAT})], dry_run=True)
    assert report.dropped["refused"] == 2


def test_damaged_and_locked_zips_are_told(mira: Persona, tmp_path: Path) -> None:
    good = zipped(tmp_path / "a.zip", {"_chat.txt": CHAT}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(good[: len(good) // 2])
    (tmp_path / "none.zip").write_bytes(b"no zip at all")
    flipped = bytearray(good)
    flipped[60] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(flipped)
    locked = bytearray(good)
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    for name, why in (("cut", "half-downloaded"), ("none", "half-downloaded"), ("flipped", "unpacked"), ("locked", "encrypted")):
        report = add(mira, [tmp_path / f"{name}.zip"], dry_run=True)
        assert report.kept == 0 and report.dropped.total() == 1 and why in report.faults[0].what, name


def test_large_files_are_refused_by_size(mira: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_FILE", 100)
    assert add(mira, [FIXTURES / "whatsapp" / "tr_TR.txt"]).dropped == {"too large": 1}


def test_where_there_is_nothing_that_is_said(mira: Persona, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    zipped(tmp_path / "empty.zip", {})
    zipped(tmp_path / "pictures.zip", {"a.jpg": b"\xff\xd8"})
    for name in ("folder", "empty.zip", "pictures.zip"):
        report = add(mira, [tmp_path / name])
        assert report.dropped == {"nothing to read": 1} and report.faults[0].file.endswith(name), name
        assert main(["-p", str(mira.root), "dialogue", "add", str(tmp_path / name)]) == 1
        assert main(["-p", str(mira.root), "lore", "add", str(tmp_path / name)]) == 1


def test_links_below_a_folder_are_told_and_not_followed(mira: Persona, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_bytes(CHAT)
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "_chat.txt").write_bytes(CHAT)
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "one.txt").symlink_to(tmp_path / "elsewhere" / "secret.txt")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_bytes(CHAT)
    report = add(mira, [folder])
    assert (report.kept, report.dropped["a link"]) == (1, 2)
    assert len(list(store.rows(mira))) == 1
