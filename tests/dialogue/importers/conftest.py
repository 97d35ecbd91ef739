"""A persona whose names stand in the fixtures, so that the files' speakers are known without flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.persona.folder import Persona, create

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def mira(tmp_path: Path) -> Persona:
    made = create("Mira", parent=tmp_path / "personas")
    made.manifest.character.user = "Tom"
    return made
