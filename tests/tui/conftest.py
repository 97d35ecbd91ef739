from __future__ import annotations

import time
from pathlib import Path

import pytest

from studio.jobs import control
from studio.persona.folder import Persona

pytest.register_assert_rewrite(f"{__package__}.places")

from .places import make_persona  # noqa: E402


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The studio's folder and the person's home of each test are its own; the zone is fixed for clock times on screen."""
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "studio-home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    time.tzset()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are queued for real, but nothing begins to train in a test."""
    monkeypatch.setattr(control, "kick", lambda always=False: None)


@pytest.fixture
def persona(tmp_path: Path) -> Persona:
    return make_persona(tmp_path)
