"""One persona on the pocket base with frozen lore, made once for all job tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.checkpoints.base import pocket_folder
from studio.checkpoints.fetch import fetch_base
from studio.lore import build
from studio.persona.folder import Persona, create
from tests.conftest import LORE
from tests.jobs.machine import ROOT, Machine


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


@pytest.fixture
def light(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is such a place: what is tested here is not the speed of the disk's syncs."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="studio-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def studio_home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, light: Path) -> Path:
    """The home of the trained persona for tests that train for real; a fresh one for the others."""
    if "trained" in request.fixturenames:
        home: Path = request.getfixturevalue("jobs_home")
    else:
        home = light / "home"
        home.mkdir()
    monkeypatch.setenv("STUDIO_HOME", str(home))
    return home


@pytest.fixture
def pocket(jobs_home: Path, studio_home: Path) -> None:
    """The base that was made for all, in a home of the test's own."""
    mine = pocket_folder()
    mine.symlink_to(jobs_home / mine.name)


@pytest.fixture
def machine(studio_home: Path, light: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with a queue of its own, whose stages are light processes (``stage.py``)."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = Machine(studio_home, light)
    yield made
    made.clear_away()


@pytest.fixture(scope="session")
def trained(jobs_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Persona:
    os.environ["STUDIO_HOME"] = str(jobs_home)
    persona = create("Wen", parent=tmp_path_factory.mktemp("persona"))
    (persona.lore / "book.txt").write_text(LORE)
    build.build(persona)
    return persona
