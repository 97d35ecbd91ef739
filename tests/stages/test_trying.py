"""What leaves the studio is loaded once, as a stranger would load it, and asked one question."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from studio.checkpoints.export import export_folder, try_folder
from studio.checkpoints.store import Checkpoint, read_checkpoint, write_card
from studio.checkpoints.templates import CHATML
from studio.errors import StudioError
from studio.jobs import processes
from studio.persona.folder import Persona
from studio.stages.trying import answer


def test_an_exported_model_answers_once_or_is_not_exported(persona: Persona, pocket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = persona.checkpoints / "cpt-1-e1"
    folder.mkdir()
    for file in pocket.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(CHATML)
    write_card(folder, Checkpoint("cpt-1-e1", "cpt-1-e1", "cpt", parent="base", base="pocket"))
    out, tried = export_folder(persona, read_checkpoint(folder), tmp_path / "out", attempt=try_folder(persona))
    assert tried is not None and tried.prompt and (out / "Modelfile").is_file()

    assert answer(pocket, [{"role": "user", "content": "The lamp"}])["tokens"], "a base without a chat template goes on from the words"

    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    # The same loading in this process: another one would only start up once more.
    with pytest.raises(Exception, match=r"incomplete metadata|not fully covered"):
        answer(folder, [{"role": "user", "content": "Hello."}])
    says_no = [sys.executable, "-c", 'print(\'{"error": "The weights are damaged."}\')']
    for command, words in (
        (says_no, r"does not answer \(The weights are damaged\); nothing"),
        (["false"], r"without an answer \(exit code 1\); nothing"),
    ):
        monkeypatch.setattr(processes, "python", lambda *_, command=command: command)
        with pytest.raises(StudioError, match=words):
            export_folder(persona, read_checkpoint(folder), tmp_path / "torn", attempt=try_folder(persona))
        assert not (tmp_path / "torn").exists()
