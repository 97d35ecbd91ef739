"""A persona is made, found from below, and refused in words when it is none."""

import base64
import json
import struct
import threading
import zlib
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.home import known_personas
from studio.jobs.runs import Inputs, create_run
from studio.persona.cards import read_card
from studio.persona.folder import Persona, create, open_persona

V3 = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {"name": "Wen", "description": "{{char}} keeps things.", "extensions": {"odd/key": [1]}},
}


def png(keyword: bytes, payload: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", keyword + b"\0" + base64.b64encode(payload)) + chunk(b"IEND", b"")


def test_open_from_any_subfolder(persona: Persona) -> None:
    deep = persona.root / "lore" / "books" / "one"
    deep.mkdir(parents=True)
    assert open_persona(deep).root == persona.root
    assert persona.root in known_personas()


def test_a_folder_that_is_no_persona(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="is no persona"):
        open_persona(tmp_path)
    with pytest.raises(StudioError, match="does not exist"):
        open_persona(tmp_path / "nowhere")


def test_a_damaged_manifest_is_named(persona: Persona) -> None:
    (persona.root / "persona.toml").write_text("name = ")
    with pytest.raises(StudioError, match=r"persona\.toml is not a valid manifest"):
        open_persona(persona.root)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    create("Wen", parent=tmp_path)
    with pytest.raises(StudioError, match="exists already"):
        create("Wen", parent=tmp_path)


@pytest.mark.parametrize("base", ["nonsense", "./no/such", "/no/such/folder"])
def test_an_unknown_base_is_refused_and_leaves_nothing(tmp_path: Path, base: str) -> None:
    with pytest.raises(StudioError, match="base"):
        create("Wen", base=base, parent=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_names_of_any_script(tmp_path: Path) -> None:
    assert create("温·托利弗", parent=tmp_path).root.name == "温-托利弗"
    assert create("Árvíztűrő Tükör", parent=tmp_path).root.name == "árvíztűrő-tükör"


def test_cards_of_every_carrier(tmp_path: Path) -> None:
    raw = json.dumps(V3).encode()
    (tmp_path / "card.json").write_bytes(b"\xef\xbb\xbf" + raw)
    (tmp_path / "card.png").write_bytes(png(b"CCV3", raw))
    (tmp_path / "old.png").write_bytes(png(b"chara", json.dumps({"name": "Wen", "description": "x", "first_mes": "Sit."}).encode()))
    for name in ("card.json", "card.png", "old.png"):
        assert read_card(tmp_path / name).name == "Wen"
    card = read_card(tmp_path / "card.png")
    assert json.loads(card.to_json()) == V3
    assert card.fill("{{Char}} and <USER>", "Tom") == "Wen and Tom"


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[]", b'{"name": "x"}', b"\x89PNG\r\n\x1a\n", png(b"chara", b"no json"), png(b"comment", b"{}"), b"\xff\xfe\x00"]
)
def test_a_card_that_is_none_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card").write_bytes(content)
    with pytest.raises(StudioError, match="card"):
        create("Wen", card=tmp_path / "card", parent=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["card"]


def test_two_studios_make_runs_in_one_folder(persona: Persona) -> None:
    inputs = Inputs("cpt", str(persona.root), "base", "")
    threads = [threading.Thread(target=lambda: [create_run(persona, inputs, "") for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in persona.runs.iterdir()) == sorted(f"cpt-{n}" for n in range(1, 41))
