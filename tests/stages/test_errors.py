"""Whatever goes wrong ends in one sentence, with the traceback in the log alone."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.errors import StudioError
from studio.recipes.schema import Sft
from studio.stages import model as models
from studio.stages.__main__ import main
from studio.stages.model import load_model
from studio.stages.sentences import sentence

from .conftest import MakeRun, dialogue, done, events, lore, result
from .test_families import family


def error_of(run: Path) -> str:
    assert main([str(run)]) == 1
    outcome = result(run)
    assert outcome["ok"] is False and "\n" not in outcome["error"]
    assert not list((run.parent.parent / "checkpoints").glob("*")) if (run.parent.parent / "checkpoints").exists() else True
    return str(outcome["error"])


def start_from(run: Path, folder: Path) -> None:
    inputs = json.loads((run / "inputs.json").read_text()) | {"parent_path": str(folder), "weights_path": str(folder)}
    (run / "inputs.json").write_text(json.dumps(inputs))


def test_an_empty_half(make_run: MakeRun) -> None:
    assert "val.jsonl has no rows" in error_of(make_run("cpt", val=[]))
    assert "train.jsonl has no rows" in error_of(make_run("cpt", "cpt-2", train=[]))


def test_rows_without_a_reply(make_run: MakeRun) -> None:
    rows = [{"messages": [{"role": "user", "content": "Anyone?"}]}] * 3
    assert error_of(make_run("sft", train=rows)).startswith("No row of train.jsonl can be used (no reply: 3)")


def test_a_tokenizer_that_knows_no_merges(make_run: MakeRun, pocket: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(pocket, tmp_path / "broken")
    tokenizer = json.loads((broken / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = []
    (broken / "tokenizer.json").write_text(json.dumps(tokenizer))
    run = make_run("cpt")
    start_from(run, broken)
    assert "it is broken" in error_of(run)
    (broken / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in error_of(run)


def test_damaged_weights(make_run: MakeRun, pocket: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(pocket, tmp_path / "damaged")
    whole = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    run = make_run("cpt")
    start_from(run, damaged)
    assert "are damaged" in error_of(run)


def test_an_adapter_of_another_base(make_run: MakeRun, pocket: Path, tmp_path: Path) -> None:
    learned = make_run("sft", train=dialogue(2), rank=2, alpha=4)
    done(learned)
    (adapter,) = (tmp_path / "persona" / "checkpoints").iterdir()
    other = family("llama", pocket, tmp_path / "other")
    for number, stage in ((2, "sft"), (3, "dpo")):
        run = make_run(stage, f"{stage}-{number}", parent=adapter.name, weights=other, kind="adapter")
        assert main([str(run)]) == 1
        told = result(run)["error"]
        assert "was made on another base: its layer model.layers.0." in told and "is of another size" in told
    shallow = family("llama", pocket, tmp_path / "shallow")
    model = load_model(shallow, "float32", "sdpa", trust=False)
    moved = {"base_model.model.model.layers.7.mlp.up_proj.lora_A.weight": torch.zeros(2, 32)}
    save_file(moved, adapter / "adapter_model.safetensors")
    with pytest.raises(StudioError, match=r"layer model.layers.7.mlp.up_proj is missing"):
        models.insist_on_its_base(model, adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(StudioError, match="is damaged"):
        models.insist_on_its_base(model, adapter)


def test_a_length_that_the_base_cannot_read_at_once(make_run: MakeRun, pocket: Path, tmp_path: Path) -> None:
    short = family("llama", pocket, tmp_path / "short")
    run = make_run("cpt", length=2048, train=lore(2), val=lore(3)[2:])
    start_from(run, short)
    done(run)
    assert "length is 512, as many tokens as this base can read at once, not 2048." in [event["text"] for event in events(run, "warning")]


def test_a_loss_that_is_no_number(make_run: MakeRun, pocket: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    poisoned = shutil.copytree(pocket, tmp_path / "poisoned")
    weights = load_file(poisoned / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, poisoned / "model.safetensors", metadata={"format": "pt"})
    run = make_run("cpt")
    start_from(run, poisoned)
    assert error_of(run).startswith("The training broke at step 1")
    assert "Traceback" in capfd.readouterr().err


def test_a_precision_this_machine_cannot_have(make_run: MakeRun) -> None:
    assert "pip install torchao" in error_of(make_run("cpt", precision="bf16-stochastic"))
    assert "brings its own optimizer" in error_of(make_run("cpt", "cpt-2", precision="bf16-kahan", optimizer="adamw-8bit"))
    assert "needs weights that are not in 4 bits" in error_of(make_run("sft", method="qlora", variant="pissa"))


def test_a_recipe_that_wants_what_this_machine_has_not(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    told = error_of(make_run("sft", activation_offloading=True))
    assert told.startswith("activation_offloading = true") and "there is no GPU here" in told and "set it to false" in told
    assert "there is no GPU here" in error_of(make_run("dpo", activation_offloading=True))
    monkeypatch.setenv("CXX", "no-such-compiler")
    told = error_of(make_run("cpt", compile=True))
    assert "needs a C++ compiler" in told and "compile = false" in told
    # A GPU that its libraries cannot compile for; and one that does not compute in bf16.
    monkeypatch.setattr(models, "on_cuda", lambda: True)
    monkeypatch.setattr(models, "importable", lambda *names: "triton" not in names)
    with pytest.raises(StudioError, match="needs the package triton"):
        models.insist_on_what_it_needs(Sft(compile=True))
    models.insist_on_what_it_needs(Sft(activation_offloading=True))
    monkeypatch.setattr(models, "bf16_pays", lambda: False)
    with pytest.raises(StudioError, match=r"precision = bf16 needs a GPU that computes in bf16 \(RTX 30 and newer\).*use precision = fp32"):
        models.choose_precision(Sft(precision="bf16"), 1000)
    assert models.choose_precision(Sft(), 1000).weights == "float32" and not models.choose_precision(Sft(method="qlora"), 1000).autocast
    assert models.attention(autocast=False) == "sdpa"


def test_wrong_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 2
    assert main([str(tmp_path)]) == 1
    assert "is no run folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StudioError("Mend this."), "Mend this."),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 576 vs 470"), "The disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "The disk is full"),
        (MemoryError(), "The memory ran out"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "The memory ran out"),
        (ValueError("odd\nthing"), "The run stopped unexpectedly (ValueError: odd); the whole story is in log.txt."),
        (KeyError(), "The run stopped unexpectedly (KeyError: no message)"),
    ],
)
def test_sentences(error: Exception, words: str) -> None:
    assert sentence(error).startswith(words)


def test_weights_that_cannot_move_are_stopped_in_the_first_steps(make_run: MakeRun, pocket: Path, tmp_path: Path) -> None:
    dead = shutil.copytree(pocket, tmp_path / "dead")
    weights = load_file(dead / "model.safetensors")
    save_file({name: tensor * 0 for name, tensor in weights.items()}, dead / "model.safetensors", metadata={"format": "pt"})
    run = make_run("cpt", epochs=9.0)
    start_from(run, dead)
    assert "The gradient of the first 3 steps is exactly 0" in error_of(run)
    assert events(run, "step")[-1]["step"] == 3 and events(run, "broken")[0]["rule"] == "nothing moves"


def test_out_of_memory_names_the_next_best_setting(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.stages import training

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(training.TextTrainer, "training_step", full)
    told = error_of(make_run("sft", length=512, batch=4, micro_batch=4, packing=False))
    assert told.startswith("The memory ran out (planned were") and "studio train sft --set" in told
