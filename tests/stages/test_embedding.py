"""Rows near in meaning, by a model of the person's own; what it made of a text is made once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from studio.cli.main import main
from studio.dialogue import embedding
from studio.dialogue.embedding import Meaning, key_of
from studio.dialogue.nearest import Nearest
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.stages.embedding import loaded, vectors_of
from tests.dialogue.checks.making import good, put, row

LEFT = "Third shelf, left of the brass barometer, where the cat never goes."


def test_the_nearest_in_meaning_are_found_and_remembered(
    persona: Persona, pocket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(persona, [*good(20), row("Where?", LEFT, "Why?", "Ask the cat."), row("So?", "Ξένος τόπος, 静かな夜。")])
    assert main(["-p", str(persona.root), "dialogue", "nearest", LEFT, "--embed", str(pocket), "--most", "3", "--json"]) == 0
    ((asked),) = json.loads(capsys.readouterr().out)
    first, *others = asked["nearest"]
    assert (first["reply"], first["likeness"]) == (LEFT, pytest.approx(1, abs=1e-3))
    assert [other["likeness"] for other in others] == sorted((other["likeness"] for other in others), reverse=True)

    # Each vector is that of its text alone: what stood beside it in a batch, and the filling up, left no trace.
    meaning = Meaning(persona, str(pocket))
    model, tokenizer, longest = loaded(pocket)
    texts = ["Ask the cat.", LEFT, "Ξένος τόπος, 静かな夜。"]
    meaning.learn(texts)
    alone = np.concatenate([vectors_of(model, tokenizer, [text], longest) for text in texts])
    assert np.allclose(meaning.vectors[meaning.of(texts)], alone, atol=2e-3)

    # Asked again nothing is started, even where a killed process left half a record.
    monkeypatch.setattr(embedding, "python", lambda *_: [sys.executable, "-c", "raise SystemExit('started')"])
    known = len(meaning.places)
    with meaning.path.open("ab") as file:
        file.write(key_of("torn")[:7])
    again = Nearest(persona, meaning=Meaning(persona, str(pocket)), asked=[LEFT]).find(LEFT, 1)
    assert [near.reply for near in again] == [LEFT]
    assert meaning.path.stat().st_size == known * (16 + 2 * meaning.dims) and meaning.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StudioError, match="cannot be embedded with"):
        Nearest(persona, meaning=Meaning(persona, str(pocket))).find("A text that nobody has read.")


def test_what_is_no_model_to_embed_with_is_told(persona: Persona, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StudioError, match="names no hidden size"):
        Meaning(persona, str(tmp_path))
    with pytest.raises(StudioError, match="no base"):
        Meaning(persona, str(tmp_path / "nothing"))
