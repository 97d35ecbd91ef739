"""Measured of real models: the same one is herself, a noisy one changed, a wrecked one broken; and what stands in the card afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.checkpoints import herself
from studio.checkpoints.store import Checkpoint, get_checkpoint, read_checkpoint, write_card
from studio.errors import StudioError
from studio.examining import start_examining
from studio.jobs.runs import create_run
from studio.persona.folder import Persona, create
from studio.recipes.schema import Herself

from .conftest import done, events

SHORT = Herself(tokens=128, replies=2, reply_tokens=12, questions=4)


@pytest.fixture
def family(tmp_path: Path, pocket: Path, monkeypatch: pytest.MonkeyPatch) -> Persona:
    """The base, and three quantized children of it: its copy, one with noise on its weights, one with nothing but noise."""
    monkeypatch.setattr("studio.checkpoints.base.locate_base", lambda base: pocket)
    monkeypatch.setattr("studio.jobs.control.submit", create_run)
    persona = create("Persona", parent=tmp_path)
    persona.probes.write_text(
        '{"id":"c1","kind":"cloze","prompt":"What came in at dusk?","answer":"The ferry","wrong":["A zebra","The king"]}\n'
        '{"id":"o1","kind":"open","prompt":"Who are you?"}\n'
    )
    torch.manual_seed(1)
    for name, noise in (("copy", 0.0), ("noisy", 1.0), ("wrecked", 30.0)):
        folder = persona.checkpoints / name
        shutil.copytree(pocket, folder)
        weights = load_file(folder / "model.safetensors")
        spread = {key: t + noise * t.float().std() * torch.randn_like(t) for key, t in weights.items() if t.dim() == 2}
        save_file(weights | spread, folder / "model.safetensors", metadata={"format": "pt"})
        write_card(folder, Checkpoint(name, name, "quantize", parent="base", base="pocket", scheme="int8", metrics={"seconds": 1.0}))
    return persona


def test_she_is_herself_changed_or_broken(family: Persona) -> None:
    words = {}
    for name in ("copy", "noisy", "wrecked"):
        run = start_examining(family, name, SHORT)
        assert done(run.path)["checkpoints"] == []
        card = read_checkpoint(family.checkpoints / name)
        said = herself.verdict(card.metrics)
        assert said is not None and events(run.path, "herself")[0]["verdict"] == said.word
        assert card.metrics["seconds"] == 1.0, "what stood in the card stays"
        words[name] = said.word
        comparison = herself.read_comparison(family.checkpoints / name)
        assert comparison is not None and comparison.against == "base" and "English" in comparison.material
        assert len(comparison.replies) == 1 and card.metrics["cloze_asked"] == 1
        if name == "copy":
            # Half precision of what is kept is the only difference.
            assert card.metrics["kl"] < 1e-4 and card.metrics["top1"] == 1.0 and comparison.replies[0].same
            assert card.metrics["ppl"] == pytest.approx(card.metrics["parent_ppl"])
    assert words == {"copy": "herself", "noisy": "changed", "wrecked": "broken"}


def test_what_makes_no_sense_is_refused_in_words(family: Persona) -> None:
    with pytest.raises(StudioError, match="The base was made from nothing"):
        start_examining(family, "base", SHORT)
    with pytest.raises(StudioError, match="copy is itself"):
        start_examining(family, "copy", Herself(against="copy"))
    trained = family.checkpoints / "noisy" / "checkpoint.toml"
    trained.write_text(trained.read_text().replace('stage = "quantize"', 'stage = "sft"'))
    with pytest.raises(StudioError, match=r"trained to differ.*--against"):
        start_examining(family, "noisy", SHORT)
    run = start_examining(family, "noisy", Herself(against="copy"))
    assert run.inputs.parent == "noisy" and 'against = "copy"' in run.recipe_text
    assert get_checkpoint(family, "noisy").metrics == {"seconds": 1.0, "bytes": get_checkpoint(family, "noisy").metrics["bytes"]}
