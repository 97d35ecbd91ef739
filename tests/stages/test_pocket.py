"""The pocket base is the same everywhere, whole, and fit to train on."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from studio.checkpoints.base import check_tokenizer, load_tokenizer, locate_base, model_config
from studio.checkpoints.templates import template_for
from studio.stages.pocket import CONTROL, VOCABULARY, ensure_pocket, make_pocket


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_made_twice_it_is_the_same_to_the_byte(pocket: Path, tmp_path: Path) -> None:
    make_pocket(tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert digest(tmp_path / name) == digest(pocket / name)


def test_tokenizer_is_sane_and_knows_turns(pocket: Path) -> None:
    assert check_tokenizer(pocket) < 0.4
    tokenizer = load_tokenizer(pocket)
    assert [tokenizer.encode(token).ids for token in CONTROL] == [[0], [1], [2]]
    # Every row of the embedding is a token: an untrained model that draws any of them still says something that decodes.
    assert tokenizer.get_vocab_size() == VOCABULARY == model_config(pocket)["vocab_size"]
    text = "Ülj le. 你好，灯还亮着。 座ってください。 \n\n🙂 'tis"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert template_for(pocket).name == "chatml", "by its control tokens: it has no template of its own"


def test_two_at_once_make_it_once(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path))
    threads = [threading.Thread(target=ensure_pocket) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert locate_base("pocket") == tmp_path / "pocket-1"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["pocket-1"]
