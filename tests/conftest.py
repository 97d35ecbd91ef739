"""Shared ground: every test has a studio home of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Before torch is imported anywhere: on two cores, two threads that spin for a core which something else holds are ten times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from studio.persona.folder import Persona, create

LORE = "\n\n".join(
    f"In the year {year} the ferry of {place} carried {year % 97} crates of {thing}, and the keeper wrote down each one of them in the book "
    f"that lay on the desk by the window. Nobody asked for the {thing} again, but the keeper of {place} kept it dry until the spring of {year + 1}."
    for year, place, thing in zip(
        range(1801, 1861), ["Orm", "Luwan", "Brackwater", "Tern"] * 15, ["lamps", "paper", "plums", "bells", "gloves"] * 12, strict=True
    )
)
"""About 17,000 characters of sentences, no two paragraphs alike."""


TOGETHER = ("tests/engines", "tests/jobs")
"""Folders that stay on one worker: their files share models, servers and trainings that take long to make."""
LONGEST_FIRST = (*TOGETHER, "tests/cli/test_whole_way.py", "tests/stages", "tests/tui")
"""Else one worker would sit alone with a long file at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((number for number, begin in enumerate(LONGEST_FIRST) if item.nodeid.startswith(begin)), len(LONGEST_FIRST))

    items.sort(key=place)


class ByFolder(LoadScopeScheduling):
    """Files stay together, and the files of some folders too."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByFolder(config, log)


@pytest.fixture(autouse=True)
def studio_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("STUDIO_HOME", str(folder))
    return folder


@pytest.fixture
def persona(tmp_path: Path) -> Persona:
    return create("Wen", parent=tmp_path)


@pytest.fixture
def lore_text() -> str:
    return LORE
