"""One persona on the pocket base with frozen lore, made once for all job tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.checkpoints.fetch import fetch_base
from studio.lore import build
from studio.persona.folder import Persona, create
from tests.conftest import LORE


@pytest.fixture(scope="session")
def jobs_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("jobs-home")
    before = os.environ.get("STUDIO_HOME")
    os.environ["STUDIO_HOME"] = str(folder)
    fetch_base("pocket", lambda _line: None)
    yield folder
    os.environ.pop("STUDIO_HOME")
    if before is not None:
        os.environ["STUDIO_HOME"] = before


@pytest.fixture(autouse=True)
def studio_home(jobs_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDIO_HOME", str(jobs_home))
    return jobs_home


@pytest.fixture(scope="session")
def trained(jobs_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Persona:
    os.environ["STUDIO_HOME"] = str(jobs_home)
    persona = create("Wen", parent=tmp_path_factory.mktemp("persona"))
    (persona.lore / "book.txt").write_text(LORE)
    build.build(persona)
    return persona
