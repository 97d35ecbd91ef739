"""What other programs take: a GGUF through llama.cpp, an Ollama Modelfile, configurations of other trainers, a model that answers first."""

from __future__ import annotations

import json
import stat
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from studio.checkpoints import gguf
from studio.checkpoints.elsewhere import export_recipe, to_yaml
from studio.checkpoints.export import export_gguf, licence_of, model_card
from studio.checkpoints.ollama import modelfile
from studio.checkpoints.store import Checkpoint, read_checkpoint, write_card
from studio.checkpoints.templates import CHATML, GEMMA, LLAMA3, PLAIN, Template
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.recipes.files import to_toml
from studio.recipes.schema import Cpt, Dpo, Orpo, Recipe, Sft
from studio.review.rounds import Sampling

TALK = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]}
PAIR = {
    "prompt": [{"role": "user", "content": "Hi"}],
    "chosen": [{"role": "assistant", "content": "Yes."}],
    "rejected": [{"role": "assistant", "content": "No."}],
}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for a base: a tokenizer with ChatML's tokens, and the card of its licence."""
    folder = tmp_path / "base"
    folder.mkdir()
    tokens = [{"content": token, "id": i, "special": True} for i, token in enumerate(("<|im_start|>", "<|im_end|>", "<|endoftext|>"))]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    (folder / "README.md").write_text('---\nlanguage: en\nlicense: "apache-2.0"\n---\n# A base\nlicense: mit\n')
    monkeypatch.setattr("studio.checkpoints.base.locate_base", lambda name: folder)
    return folder


def trained(persona: Persona, base: Path, stage: str, recipe: Recipe, rows: list[Any], val: bool = True) -> Checkpoint:
    persona.manifest.base = "org/real"
    data = persona.snapshots / "s1"
    data.mkdir(parents=True, exist_ok=True)
    for half in ("train", "val") if val else ("train",):
        (data / f"{half}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = persona.checkpoints / f"{stage}-1-e1"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    kind = "full" if getattr(recipe, "method", "lora") == "full" else "adapter"
    (folder / "model.safetensors").write_bytes(b"weights")
    write_card(folder, Checkpoint(folder.name, folder.name, stage, parent="base", base="org/real", kind=kind, recipe=to_toml(recipe), snapshot="s1"))
    return read_checkpoint(folder)


@pytest.mark.parametrize(
    ("stage", "recipe", "rows", "axolotl", "factory"),
    [
        (
            "cpt",
            Cpt(),
            [{"text": "Lore."}],
            {"learning_rate": 3e-5, "sample_packing": True, "gradient_accumulation_steps": 12},
            {"stage": "pt", "finetuning_type": "full", "optim": "adamw_torch_fused"},
        ),
        (
            "sft",
            Sft(method="qlora", variant="dora"),
            [TALK],
            {"adapter": "qlora", "load_in_4bit": True, "peft_use_dora": True, "neftune_noise_alpha": 5.0, "eot_tokens": ["<|im_end|>"]},
            {"stage": "sft", "finetuning_type": "lora", "quantization_bit": 4, "use_dora": True, "template": "chatml"},
        ),
        ("dpo", Dpo(beta=0.3), [PAIR], {"rl": "dpo", "rl_beta": 0.3}, {"stage": "dpo", "pref_beta": 0.3, "pref_loss": "sigmoid"}),
        ("orpo", Orpo(), [PAIR], {"rl": "orpo", "orpo_alpha": 0.1}, {"stage": "dpo", "pref_loss": "orpo", "learning_rate": 8e-5}),
    ],
)
def test_a_training_goes_on_elsewhere(
    persona: Persona, base: Path, tmp_path: Path, stage: str, recipe: Recipe, rows: list[Any], axolotl: dict[str, Any], factory: dict[str, Any]
) -> None:
    checkpoint = trained(persona, base, stage, recipe, rows)
    for trainer, expected in (("axolotl", axolotl), ("llamafactory", factory)):
        to = tmp_path / trainer
        files = {path.name for path in export_recipe(persona, checkpoint, trainer, to)}  # type: ignore[arg-type]
        assert {f"{trainer}.yaml", "train.jsonl", "val.jsonl", "chat_template.jinja"} <= files
        config = yaml.safe_load((to / f"{trainer}.yaml").read_text())
        assert expected.items() <= config.items()
        assert config["base_model" if trainer == "axolotl" else "model_name_or_path"] == "org/real"
        row = json.loads((to / "train.jsonl").read_text())
        if trainer == "axolotl":
            assert config["datasets"][0]["path"] == "./train.jsonl"
            if stage == "orpo":
                assert [m["role"] for m in row["chosen"]] == ["user", "assistant"], "its ORPO reads whole conversations"
        else:
            info = json.loads((to / "dataset_info.json").read_text())["persona_train"]
            assert set(info["columns"].values()) <= set(row) and info.get("ranking", False) is (stage in ("dpo", "orpo"))
            assert (config.get("eval_dataset"), config["dataset"]) == ("persona_val", "persona_train")


def test_what_was_not_trained_here_has_no_recipe(persona: Persona, base: Path, tmp_path: Path) -> None:
    checkpoint = trained(persona, base, "sft", Sft(), [TALK], val=False)
    with pytest.raises(StudioError, match="was not trained here"):
        export_recipe(persona, msgspec.structs.replace(checkpoint, stage="merge"), "axolotl", tmp_path / "x")
    (persona.snapshots / "s1" / "train.jsonl").unlink()
    with pytest.raises(StudioError, match="snapshot s1"):
        export_recipe(persona, checkpoint, "axolotl", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_yaml_is_read_as_it_was_meant() -> None:
    values = {"a": 1e-05, "b": 3e-5, "c": 2.0, "d": True, "e": "yes: #1", "f": [1, "x"], "g": [{"h": "i", "j": False}], "k": None, "l": 1.5e-7}
    assert yaml.safe_load(to_yaml(values)) == values


def converter(folder: Path, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "convert_hf_to_gguf.py").write_text(body)
    return folder


SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"{}")

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["authorization"] == "Bearer " + os.environ["LLAMA_API_KEY"]
        chunk = b'{"choices": [{"index": 0, "delta": {"content": "The lamp is lit."}, "finish_reason": "stop"}]}'
        self.answer(b"data: " + chunk + b"\\n\\ndata: [DONE]\\n\\n")

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def test_gguf_is_written_by_llama_cpp_or_not_at_all(persona: Persona, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = trained(persona, base, "cpt", Cpt(), [{"text": "Lore."}])
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "nowhere"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StudioError, match=r"written by llama\.cpp, which is not found here\. Get it"):
        export_gguf(persona, checkpoint, tmp_path / "out", "q8_0")
    monkeypatch.setenv(
        "LLAMA_CPP", str(converter(tmp_path / "llama", "import sys; print('Model Foo is not supported', file=sys.stderr); sys.exit(1)"))
    )
    with pytest.raises(StudioError, match=r"could not convert it \(Model Foo is not supported\)"):
        export_gguf(persona, checkpoint, tmp_path / "out", "q8_0")
    for cause, told in (
        ("ModuleNotFoundError: No module named 'sentencepiece'", "pip install sentencepiece"),
        ("NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()", "knows a tokenizer by its fingerprint"),
    ):
        converter(tmp_path / "llama", f"import sys; sys.exit({cause!r})")
        with pytest.raises(StudioError, match=told):
            export_gguf(persona, checkpoint, tmp_path / "out", "q8_0")
    with pytest.raises(StudioError, match="q4_k_m needs llama-quantize"):
        export_gguf(persona, checkpoint, tmp_path / "out", "q4_k_m")
    header = struct.pack("<4sIQQ", b"GGUF", 3, 7, 0)
    write = f"import sys; a = sys.argv; open(a[a.index('--outfile') + 1], 'wb').write({header!r} + a[a.index('--outtype') + 1].encode())"
    tools = converter(tmp_path / "llama", write)
    (file, ollama), tried = export_gguf(persona, checkpoint, tmp_path / "out", "q8_0")
    assert tried is None, "nothing is there that could serve it"
    assert file.read_bytes() == header + b"q8_0" and gguf.check(file) == 7 and ollama.read_text().startswith("FROM ./cpt-1-e1-q8_0.gguf\n")
    # The smaller types are made from f16 by llama-quantize; nothing else stays behind.
    quantizer = tools / "llama-quantize"
    quantizer.write_text('#!/bin/sh\ncp "$1" "$2"; printf "%s" "$3" >> "$2"\n')
    quantizer.chmod(quantizer.stat().st_mode | stat.S_IXUSR)
    (small, _), _ = export_gguf(persona, checkpoint, tmp_path / "small.gguf", "q4_k_m")
    assert small.read_bytes() == header + b"f16Q4_K_M"
    converter(tmp_path / "llama", "import sys; open(sys.argv[sys.argv.index('--outfile') + 1], 'wb').write(b'nonsense' * 9)")
    with pytest.raises(StudioError, match="is no GGUF file"):
        export_gguf(persona, checkpoint, tmp_path / "other" / "x.gguf", "f16")
    assert not (tmp_path / "other").exists()
    assert sorted(p.name for p in tmp_path.glob("*.gguf")) == ["small.gguf"] and not list(tmp_path.glob(".*gguf*"))
    # It is served once before it counts: by a server that can read it, and by one that cannot.
    converter(tmp_path / "llama", write)
    server = tools / "llama-server"
    server.write_text(f"#!{sys.executable}\n{SERVER}")
    server.chmod(0o700)
    _, tried = export_gguf(persona, checkpoint, tmp_path / "tried.gguf", "q8_0")
    assert tried is not None and tried.reply == "The lamp is lit."
    server.write_text("#!/bin/sh\necho 'llama_model_load: error loading model: unknown pre-tokenizer' >&2; exit 1\n")
    with pytest.raises(StudioError, match=r"cannot load what it wrote \(llama_model_load: error loading model: unknown pre-tokenizer\)"):
        export_gguf(persona, checkpoint, tmp_path / "broken.gguf", "q8_0")
    assert not (tmp_path / "broken.gguf").exists() and not list(tmp_path.glob(".*gguf*"))


def template(name: str, text: str, end: str) -> Template:
    return Template(name, text, end, "</s>", "")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (template("chatml", CHATML, "<|im_end|>"), ["<|im_start|>{{ .Role }}", "<|im_start|>assistant\n"]),
        (template("gemma", GEMMA, "<end_of_turn>"), ["<start_of_turn>model", "{{ $.System }}"]),
        (template("llama-3", LLAMA3, "<|eot_id|>"), ["<|start_header_id|>{{ .Role }}<|end_header_id|>"]),
        (template("plain", PLAIN, "</s>"), ["Assistant:\n{{ .Content }}</s>"]),
    ],
)
def test_the_modelfile_says_it_in_ollamas_words(found: Template, words: list[str]) -> None:
    text = modelfile(".", found, 'You are Wen. """ no', 4096, Sampling())
    assert text.startswith("FROM .\n") and all(word in text for word in words)
    assert f'PARAMETER stop "{found.end_of_turn}"' in text and "PARAMETER num_ctx 4096" in text
    assert "PARAMETER top_k 0\nPARAMETER repeat_penalty 1.0\n" in text, "Ollama's own would draw otherwise than the studio"
    assert text.count('"""') == 4, "a system prompt cannot end its own quotes"
    assert text.count("{{") == text.count("}}") and text.count("{{ end }}") + text.count("{{- end }}") >= 1
    assert modelfile(".", template("own", "{{ x }}", "</s>"), "", 4096, Sampling()) == ""


def test_the_card_has_data_verdict_and_licence(persona: Persona, base: Path) -> None:
    checkpoint = trained(persona, base, "cpt", Cpt(), [{"text": "Lore."}])
    checkpoint.metrics |= {"kl": 0.4, "kl_p99": 2.0, "top1": 0.7, "ppl": 9.0, "parent_ppl": 6.0, "checked_tokens": 100.0}
    card = model_card(persona, checkpoint)
    assert card.startswith("---\nbase_model: org/real\nlicense: apache-2.0\n") and "Of the base: apache-2.0." in card
    assert "changed: it differs by 0.40 nats" in card and "| divergence, mean | 0.400 nats a token | up to 0.1 |" in card
    assert licence_of("/nowhere") == ""
