"""Every value of every recipe says what it does and what it may be; a preset can be taken by name of the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.cli.recipes import for_card
from studio.errors import StudioError
from studio.persona.folder import Persona, create
from studio.recipes.files import allowed, explained, resolve, to_toml
from studio.recipes.schema import STAGES, Training

TRAININGS = [name for name, kind in STAGES.items() if issubclass(kind, Training)]


@pytest.mark.parametrize("stage", TRAININGS)
def test_every_value_is_explained(persona: Persona, stage: str) -> None:
    recipe = resolve(persona, stage)
    for key, value, words in explained(recipe):
        assert words.endswith((".", ")")) and len(words) > 20, key
        may = allowed(recipe, key)
        assert may, key
        if " | " in may:
            assert str(value).lower() in may.split(" | "), key
    assert allowed(recipe, "epochs") == "0 < … ≤ 1,000" and allowed(recipe, "gradient_checkpointing") == "true | false"


def test_an_unknown_key_and_a_value_out_of_bounds_are_said(persona: Persona) -> None:
    with pytest.raises(StudioError, match="has no key 'learning'; its keys are learning_rate, "):
        resolve(persona, "sft", settings=["learning=1"])
    with pytest.raises(StudioError, match="Expected `float` <= 1000"):
        resolve(persona, "sft", settings=["epochs=5000"])
    with pytest.raises(StudioError, match="Invalid enum value 'lora2'"):
        resolve(persona, "sft", settings=["method=lora2"])


def test_the_preset_of_a_card(tmp_path: Path) -> None:
    from tests.test_planning import headers_of_four_billion

    persona = create("Wen", str(headers_of_four_billion(tmp_path / "base")), parent=tmp_path)
    small = resolve(persona, "sft", settings=for_card(persona, "sft", 12))
    large = resolve(persona, "cpt", settings=for_card(persona, "cpt", 141))
    assert "gradient_checkpointing = true" in to_toml(small) and 'method = "full"' in to_toml(large)
    with pytest.raises(StudioError, match=r"does not fit on 2 GB even with .*method=qlora"):
        for_card(persona, "sft", 2)
