"""A persona with two checkpoints and an engine that says what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.persona.folder import Persona, create
from tests.tui.review.fake_engine import KEY, FakeEngine


def add_checkpoint(persona: Persona, name: str, stage: str = "sft") -> None:
    folder = persona.checkpoints / name
    folder.mkdir()
    (folder / "checkpoint.toml").write_text(f'id = "{name}"\nname = "{name}"\nstage = "{stage}"\nparent = "base"\n')


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies are drawn as soon as they come: a test does not read along."""
    monkeypatch.setattr("studio.tui.review.asking.TICKS", 50)
    monkeypatch.setattr("studio.tui.review.asking.PANE_FLUSHES", 200)
    monkeypatch.setattr("studio.tui.chat.screen.TICKS", 50)


@pytest.fixture
def wen(tmp_path: Path) -> Persona:
    persona = create("Wen", parent=tmp_path / "judged")
    add_checkpoint(persona, "cpt-1-e1", "cpt")
    add_checkpoint(persona, "sft-1-e2")
    persona.probes.write_text('{"id":"p1","kind":"open","prompt":"I had a bad day."}\n{"id":"p2","kind":"open","prompt":"Who is Deputy?"}\n')
    return persona


@pytest.fixture
def engine(wen: Persona, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """Every checkpoint is served by the scripted engine, the model named ``m-`` and its id."""
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FakeEngine() as fake:
        fake.register(wen)
        yield fake
