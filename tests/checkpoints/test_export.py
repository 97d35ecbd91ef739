"""An exported checkpoint is a plain model folder with its lineage, whole or not there."""

from pathlib import Path

import pytest

from studio.checkpoints.export import export_folder
from studio.checkpoints.store import Checkpoint, write_card
from studio.errors import StudioError
from studio.merging import start_merge
from studio.persona.folder import Persona
from studio.recipes.schema import Merge


def made(persona: Persona, name: str, **fields: object) -> Checkpoint:
    folder = persona.checkpoints / name
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    card = Checkpoint(name, name, "cpt", **{"parent": "base", "base": "org/real", "metrics": {"val_loss": 3.2}, **fields})  # type: ignore[arg-type]
    write_card(folder, card)
    card.path = str(folder)
    return card


def test_a_full_checkpoint_goes_out_with_where_it_comes_from(persona: Persona, tmp_path: Path) -> None:
    child = made(persona, "cpt-2-e1", parent=made(persona, "cpt-1-e1").id, recipe="epochs = 1\n")
    out, tried = export_folder(persona, child, tmp_path / "new" / "out")
    assert tried is None
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (out / "README.md").read_text()
    assert (
        card.startswith("---\nbase_model: org/real")
        and card.index("cpt-1-e1") < card.index("**cpt-2-e1**")
        and "val_loss 3.2" in card
        and "epochs = 1" in card
    )
    with pytest.raises(StudioError, match="is there already"):
        export_folder(persona, child, out)


def test_an_adapter_goes_alone_only_when_asked(persona: Persona, tmp_path: Path) -> None:
    adapter = made(persona, "sft-1-e1", kind="adapter")
    with pytest.raises(StudioError, match="studio checkpoints merge sft-1-e1"):
        export_folder(persona, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (export_folder(persona, adapter, tmp_path / "out", adapter=True)[0] / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (Merge(checkpoints=["cpt-1-e1"]), "has all its weights already"),
        (Merge(checkpoints=["cpt-1-e1", "cpt-1-e1"]), "cannot be merged with itself"),
        (Merge(checkpoints=["cpt-1-e1", "int4"]), "quantized"),
        (Merge(checkpoints=["cpt-1-e1", "cpt-2-e1"], weights=[1.0]), "give one weight for each"),
        (Merge(checkpoints=["cpt-1-e1", "cpt-2-e1"], weights=[1.0, -1.0]), "sum above zero"),
        (Merge(checkpoints=["cpt-1-e1", "cpt-2-e1"], result="adapter"), "only out of several adapters"),
        (Merge(checkpoints=["cpt-1-e1", "cpt-2-e1"], method="cat"), "add --result adapter"),
        (Merge(checkpoints=["cpt-1-e1", "cpt-2-e1", "sft-1-e1"], method="slerp"), "between two"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_queued(persona: Persona, recipe: Merge, sentence: str) -> None:
    made(persona, "cpt-1-e1")
    made(persona, "cpt-2-e1")
    made(persona, "sft-1-e1", kind="adapter", parent="cpt-1-e1")
    made(persona, "int4", scheme="int4-rtn")
    with pytest.raises(StudioError, match=sentence):
        start_merge(persona, recipe)
    assert not any(persona.runs.iterdir())
