"""Merged models say what they must: a folded adapter what the adapter says, a mean what lies between."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio.checkpoints.lineage import ancestors, common_ancestor
from studio.checkpoints.store import depends_on, get_checkpoint, read_checkpoint
from studio.errors import StudioError
from studio.persona.folder import Persona, create
from studio.recipes.files import to_toml
from studio.recipes.schema import Merge
from studio.stages import merge as merging
from studio.stages.__main__ import main
from studio.stages.herself import log_probabilities
from studio.stages.model import load_adapter, load_model

from .conftest import dialogue, done, result, run_in

IDS = [5, 60, 7, 81, 9, 10]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merging")


@pytest.fixture(scope="module")
def trained(root: Path, pocket: Path) -> Persona:
    """Two adapters on the pocket base and one full checkpoint, really trained, for a few steps."""
    persona = create("Persona", parent=root)
    for number in (1, 2):
        done(run_in(root, pocket, "sft", f"sft-{number}", rank=4, alpha=8, seed=number, learning_rate=5e-3, val=dialogue(25)[24:]))
    done(run_in(root, pocket, "cpt", "cpt-3"))
    return persona


@pytest.fixture
def family(trained: Persona, pocket: Path, monkeypatch: pytest.MonkeyPatch) -> Persona:
    monkeypatch.setattr("studio.checkpoints.base.locate_base", lambda base: pocket)
    return trained


NUMBERS = iter(range(10, 99))
Make = Callable[..., Path]


@pytest.fixture
def make(family: Persona, root: Path, pocket: Path) -> Make:
    def made(*names: str, **settings: object) -> Path:
        run = run_in(root, pocket, "cpt", f"merge-{next(NUMBERS)}", parent="base")
        (run / "recipe.toml").write_text(to_toml(Merge(checkpoints=list(names), **settings)))  # type: ignore[arg-type]
        inputs = (run / "inputs.json").read_text().replace('"stage":"cpt"', '"stage":"merge"').replace('"stage": "cpt"', '"stage": "merge"')
        data = root / "data" / "sft-1"
        (run / "inputs.json").write_text(inputs.replace(str(root / "data" / run.name), str(data)))
        return run

    return made


def logits(weights: Path, adapter: Path | None = None) -> torch.Tensor:
    model = load_model(weights, "float32", "sdpa", False)
    return log_probabilities(load_adapter(model, str(adapter), False) if adapter else model, IDS)


def test_a_folded_adapter_says_what_the_adapter_says(family: Persona, make: Make, pocket: Path) -> None:
    run = make("sft-1-e1")
    (name,) = done(run)["checkpoints"]
    card = read_checkpoint(family.checkpoints / name)
    assert (card.stage, card.kind, card.parent, card.merged) == ("merge", "full", "sft-1-e1", ["sft-1-e1"])
    before = logits(pocket, family.checkpoints / "sft-1-e1")
    # bf16 has 8 bits of precision: a weight moves by up to 0.4 %.
    assert (logits(Path(card.path)) - before).abs().max() < 0.1 < (logits(pocket) - before).abs().max()
    assert card.metrics["kl"] < 0.001
    assert [c.id for c in depends_on(family, "sft-1-e1")] == [name]
    assert (Path(card.path) / "chat_template.jinja").is_file() and [c.id for c in ancestors(family, card)] == [name, "sft-1-e1", "base"]


def test_cat_of_two_adapters_is_the_sum_of_what_they_do(family: Persona, make: Make, pocket: Path) -> None:
    run = make("sft-1-e1", "sft-2-e1", method="cat", result="adapter", weights=[1.0, 3.0])
    (name,) = done(run)["checkpoints"]
    card = read_checkpoint(family.checkpoints / name)
    assert card.kind == "adapter" and card.merged == ["sft-1-e1", "sft-2-e1"]

    def change(adapter: str) -> torch.Tensor:
        plain = load_model(pocket, "float32", "sdpa", False)
        folded = load_adapter(load_model(pocket, "float32", "sdpa", False), str(family.checkpoints / adapter), False).merge_and_unload()
        layer = "model.layers.0.self_attn.q_proj.weight"
        return folded.state_dict()[layer] - plain.state_dict()[layer]

    expected = 0.25 * change("sft-1-e1") + 0.75 * change("sft-2-e1")
    assert torch.allclose(change(name), expected, atol=1e-5) and expected.abs().max() > 1e-4


@pytest.mark.parametrize("method", ["linear", "slerp", "ties", "dare-ties"])
def test_full_models_and_adapters_merge_tensor_by_tensor(family: Persona, make: Make, method: str) -> None:
    (name,) = done(make("sft-1-e1", "cpt-3-e1", method=method))["checkpoints"]
    merged = logits(family.checkpoints / name)
    assert merged.isfinite().all() and get_checkpoint(family, name).kind == "full"
    if method == "linear":
        # The mean of two nearly equal models lies between them.
        ends = [logits(family.checkpoints / "cpt-3-e1"), logits(Path(get_checkpoint(family, "base").path), family.checkpoints / "sft-1-e1")]
        far = (ends[0] - ends[1]).abs().mean()
        assert all((merged - end).abs().mean() < far for end in ends)


def test_layers_go_over_from_one_model_to_the_other(family: Persona, make: Make) -> None:
    (name,) = done(make("sft-1-e1", "cpt-3-e1", weights=[1, 0], late=[0, 1]))["checkpoints"]
    merged = load_model(family.checkpoints / name, "float32", "sdpa", False).state_dict()
    adapted = load_model(Path(get_checkpoint(family, "base").path), "float32", "sdpa", False)
    first = load_adapter(adapted, str(family.checkpoints / "sft-1-e1"), False).merge_and_unload().state_dict()
    last = load_model(family.checkpoints / "cpt-3-e1", "float32", "sdpa", False).state_dict()
    final = max(int(key.split(".")[2]) for key in merged if key.startswith("model.layers."))
    for key, source, other in (("0.mlp.up_proj", first, last), (f"{final}.mlp.up_proj", last, first)):
        whole = f"model.layers.{key}.weight"
        assert torch.equal(merged[whole], source[whole].bfloat16().float()) and not torch.equal(merged[whole], other[whole].bfloat16().float())
    assert torch.equal(merged["model.embed_tokens.weight"], first["model.embed_tokens.weight"].bfloat16().float())


def test_models_that_do_not_fit_together_are_named_and_leave_nothing(family: Persona, make: Make) -> None:
    alien = family.checkpoints / "alien"
    shutil.copytree(family.checkpoints / "cpt-3-e1", alien)
    card = alien / "checkpoint.toml"
    card.write_text(card.read_text().replace('id = "cpt-3-e1"', 'id = "alien"'))
    save_file({"another.weight": torch.zeros(2, 2)}, alien / "model.safetensors")
    run = make("sft-1-e1", "alien")
    assert main([str(run)]) == 1
    assert "do not have the same layers" in result(run)["error"] and not (family.checkpoints / run.name).exists()


def test_the_nearest_common_ancestor(family: Persona) -> None:
    one, two = (get_checkpoint(family, name) for name in ("sft-1-e1", "cpt-3-e1"))
    assert common_ancestor(family, [one, two]).id == "base"
    one.parent = "nobody"
    with pytest.raises(StudioError, match="no common ancestor"):
        common_ancestor(family, [one, two])


CHANCE = torch.Generator().manual_seed(1)


def test_ties_trims_elects_and_averages_the_winners() -> None:
    base = torch.zeros(4)
    tensors = [torch.tensor([4.0, 1.0, -3.0, 0.1]), torch.tensor([2.0, -5.0, -1.0, 0.2])]
    # Kept of each: its two largest. Place 0: 4 and 2. Place 1: -5 alone. Place 2: -3 alone. Place 3: nothing.
    assert merging.ties(tensors, base, [0.5, 0.5], 0.5, CHANCE).tolist() == pytest.approx([3.0, -5.0, -3.0, 0.0])
    # Disagreement in sign: the heavier side wins and is not diluted by the other.
    assert merging.ties([torch.tensor([2.0]), torch.tensor([-5.0])], torch.tensor([1.0]), [0.5, 0.5], 1.0, CHANCE).tolist() == [-5.0]


def test_slerp_keeps_the_length_that_a_mean_loses() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert merging.slerp([a, b], a, [0.5, 0.5], 1.0, CHANCE).norm().item() == pytest.approx(1.0)
    assert merging.linear([a, b], a, [0.5, 0.5], 1.0, CHANCE).norm().item() == pytest.approx(math.sqrt(0.5))
    assert merging.slerp([a, 2 * a], a, [0.5, 0.5], 1.0, CHANCE).tolist() == [[1.5, 0.0]]


def test_dare_keeps_the_expected_change() -> None:
    base, tuned = torch.zeros(20_000), torch.ones(20_000)
    merged = merging.dare_linear([tuned, tuned], base, [0.5, 0.5], 0.25, CHANCE)
    assert merged.mean().item() == pytest.approx(1.0, abs=0.05) and set(merged.unique().tolist()) == {0.0, 2.0, 4.0}
