"""What quantizing would be is told before the work: sizes, cards, layers that stay, and a refusal where nothing fits."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from studio import forecast
from studio.errors import StudioError
from studio.persona.folder import Persona, create
from studio.recipes.schema import Quantize
from tests.tui.places import tiny_base


def with_layers(folder: Path, **widths: tuple[int, int]) -> None:
    """Weights whose header names these layers (inputs, outputs) and whose data is missing: a plan reads headers alone."""
    shapes = {"model.embed_tokens": (256, 1000), "lm_head": (256, 1000)} | {f"model.layers.0.mlp.{name}": both for name, both in widths.items()}
    header = {f"{name}.weight": {"dtype": "BF16", "shape": [out, inn], "data_offsets": [0, 0]} for name, (inn, out) in shapes.items()}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


@pytest.fixture
def persona(tmp_path: Path) -> Persona:
    return create("Planned", str(tiny_base(tmp_path / "base")), parent=tmp_path)


def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: float, memory: int = 10**10) -> None:
    (tmp_path / "device.json").write_text(json.dumps({"uuid": "GPU-x", "total": memory, "free": memory, "capability": capability}))
    monkeypatch.setenv("STUDIO_DEVICE", str(tmp_path / "device.json"))


def test_sizes_and_cards_are_told_first(persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_layers(tmp_path / "base", gate_proj=(256, 512), up_proj=(256, 512), down_proj=(512, 256))
    card(tmp_path, monkeypatch, 8.6)
    planned = forecast.plan(persona, "quantize", Quantize(scheme="fp8-dynamic"), "base")
    linear, rest = 3 * 256 * 512, 2 * 256 * 1000
    assert planned.disk == linear + 2 * rest, "the head and the embeddings stay in bf16"
    assert "become about" in planned.notes[0] and "8.6 (RTX 30, A10, A40)" in planned.notes[1] and "speed of bf16" in planned.notes[1]
    assert not any("training conversations" in note for note in planned.notes) and not planned.warnings
    card(tmp_path, monkeypatch, 8.6, memory=10**5)
    assert not forecast.plan(persona, "quantize", Quantize(), "base").warnings, "layer by layer, a model larger than the card goes through"
    card(tmp_path, monkeypatch, 7.0)
    assert "vLLM on this machine cannot serve fp8-dynamic" in forecast.plan(persona, "quantize", Quantize(), "base").warnings[0]


def test_layers_that_stay_are_named_and_nothing_at_all_is_refused(persona: Persona, tmp_path: Path) -> None:
    with_layers(tmp_path / "base", gate_proj=(256, 512), up_proj=(256, 520), down_proj=(512, 256))
    planned = forecast.plan(persona, "quantize", Quantize(scheme="fp8-block"), "base")
    assert "Left in bf16" in planned.warnings[0] and "gate_proj, up_proj" in planned.warnings[0] and "down_proj" not in planned.warnings[0]
    with_layers(tmp_path / "base", gate_proj=(64, 192))
    with pytest.raises(StudioError, match="fp8-block wants layers whose widths 128 divides, and none of gate_proj"):
        forecast.plan(persona, "quantize", Quantize(scheme="fp8-block"), "base")
    with pytest.raises(StudioError, match="snapshot"):
        forecast.plan(persona, "quantize", Quantize(scheme="int8"), "base")
