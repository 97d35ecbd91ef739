"""A training of ours as the configuration of another trainer: Axolotl and LLaMA-Factory.

Keys are those of Axolotl's ``utils/schemas`` and of LLaMA-Factory's ``examples`` and ``data/README.md`` (both read in November 2026). What
has no counterpart there stands as a comment in the file: nothing is dropped in silence.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from studio.checkpoints.store import Checkpoint, get_checkpoint, weights_root
from studio.checkpoints.templates import template_for
from studio.errors import StudioError
from studio.files import build_folder, read_lines
from studio.persona.folder import Persona
from studio.recipes.files import from_toml
from studio.recipes.schema import OPTIMIZERS, Cpt, Dpo, Orpo, Preference, Recipe, Sft, Training

Trainer = Literal["axolotl", "llamafactory"]
TRAINERS: tuple[Trainer, ...] = ("axolotl", "llamafactory")

FACTORY_TEMPLATES = {"gemma": "gemma", "llama-3": "llama3", "chatml": "chatml"}
"""LLaMA-Factory's templates that render as ours do; it takes no Jinja."""


def export_recipe(persona: Persona, checkpoint: Checkpoint, trainer: Trainer, to: Path) -> list[Path]:
    """Write the configuration that made a checkpoint, and its data, into a new folder; the files. StudioError where nothing trained it."""
    if checkpoint.stage not in ("cpt", "sft", "dpo", "orpo") or not checkpoint.recipe:
        raise StudioError(f"{checkpoint.id} was not trained here ({checkpoint.stage}), so there is no recipe to hand on; name a trained checkpoint.")
    recipe = from_toml(checkpoint.stage, checkpoint.recipe)
    assert isinstance(recipe, Training)
    data = persona.snapshots / checkpoint.snapshot
    if not checkpoint.snapshot or not (data / "train.jsonl").is_file():
        raise StudioError(f"The snapshot {checkpoint.snapshot or '(none)'} of {checkpoint.id} is not there any more; build it again and retrain.")
    parent = get_checkpoint(persona, checkpoint.parent)
    root = weights_root(persona, parent)
    if to.exists() and any(to.iterdir()):
        raise StudioError(f"{to} is there already; name a new folder.")
    if to.is_dir():
        to.rmdir()
    to.parent.mkdir(parents=True, exist_ok=True)
    with build_folder(to) as folder:
        template = template_for(Path(root.path)) if root.path else None
        halves = _copy_data(data, folder, trainer, recipe)
        if template:
            (folder / "chat_template.jinja").write_text(template.text, encoding="utf-8")
        name = template.name if template else ""
        model = root.path if root.stage != "base" else (persona.manifest.base if "/" in persona.manifest.base else root.path)
        adapter = parent.path if parent.kind == "adapter" else ""
        if trainer == "axolotl":
            ends = "" if template is None or isinstance(recipe, Cpt) else template.end_of_turn
            written = _axolotl(recipe, str(model), adapter, halves, ends)
            told = "axolotl train axolotl.yaml"
        else:
            written = _factory(recipe, str(model), adapter, halves, FACTORY_TEMPLATES.get(name, "default"))
            (folder / "dataset_info.json").write_text(json.dumps(_dataset_info(recipe, halves), indent=2) + "\n", encoding="utf-8")
            told = "llamafactory-cli train llamafactory.yaml"
        notes = [f"{checkpoint.id} of {persona.manifest.character.name}, as persona studio trained it. Run it in this folder: {told}"]
        notes += _without_counterpart(recipe, trainer, name)
        text = "".join(f"# {note}\n" for note in notes) + "\n" + to_yaml(written)
        (folder / f"{trainer}.yaml").write_text(text, encoding="utf-8")
        for file in folder.iterdir():
            file.chmod(0o600)
    return sorted(to.iterdir())


def _copy_data(data: Path, folder: Path, trainer: Trainer, recipe: Recipe) -> list[str]:
    """The halves that have rows. For pairs LLaMA-Factory wants the one message itself, and Axolotl the messages before it by their own name."""
    found = []
    for half in ("train", "val"):
        source, target = data / f"{half}.jsonl", folder / f"{half}.jsonl"
        if not source.is_file() or not source.stat().st_size:
            continue
        found.append(half)
        if not isinstance(recipe, Preference):
            shutil.copyfile(source, target)
            continue
        rows = []
        for _, row in read_lines(source):
            chosen, rejected = row["chosen"][-1], row["rejected"][-1]
            if trainer == "axolotl" and isinstance(recipe, Orpo):
                rows.append({"chosen": [*row["prompt"], chosen], "rejected": [*row["prompt"], rejected]})
            else:
                rows.append({"messages": row["prompt"], "chosen": chosen, "rejected": rejected})
        target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return found


def _axolotl(recipe: Training, model: str, adapter: str, halves: list[str], end_of_turn: str) -> dict[str, Any]:
    def dataset(half: str) -> dict[str, Any]:
        place: dict[str, Any] = {"path": f"./{half}.jsonl", "ds_type": "json"}
        if isinstance(recipe, Cpt):
            return place | {"type": "completion", "field": "text"}
        if isinstance(recipe, Sft):
            return place | {"type": "chat_template", "field_messages": "messages", "roles_to_train": ["assistant"], "train_on_eos": "turn"}
        if isinstance(recipe, Orpo):
            return place | {"split": "train", "type": "chat_template.argilla"}
        fields = {"field_messages": "messages", "field_chosen": "chosen", "field_rejected": "rejected"}
        return place | {"split": "train", "type": "chat_template.default", **fields}

    config: dict[str, Any] = {"base_model": model}
    if isinstance(recipe, Dpo | Orpo):
        config["rl"] = "dpo" if isinstance(recipe, Dpo) else "orpo"
        config["rl_beta" if isinstance(recipe, Dpo) else "orpo_alpha"] = recipe.beta
        config |= {} if isinstance(recipe, Dpo) else {"remove_unused_columns": False}
    if end_of_turn:
        config |= {"chat_template": "jinja", "chat_template_jinja": "./chat_template.jinja", "eot_tokens": [end_of_turn]}
    config["datasets"] = [dataset("train")]
    if "val" in halves:
        config["test_datasets"] = [dataset("val") | {"split": "train"}]
    config |= {"sequence_len": recipe.length, "train_on_inputs": False}
    if isinstance(recipe, Cpt | Sft):
        config |= {"sample_packing": recipe.packing, "eval_sample_packing": False}
        config |= {"neftune_noise_alpha": recipe.neftune} if recipe.neftune else {}
    if _method(recipe) != "full":
        config |= {"adapter": _method(recipe), "lora_r": _value(recipe, "rank"), "lora_alpha": _value(recipe, "alpha")}
        config |= {"lora_dropout": _value(recipe, "dropout") or 0.0, "lora_target_linear": True, "load_in_4bit": _method(recipe) == "qlora"}
        config |= {"lora_model_dir": adapter} if adapter else {}
        variant = str(_value(recipe, "variant"))
        beginning = {name: {"peft_init_lora_weights": name} for name in ("pissa", "olora")}
        config |= ({"dora": {"peft_use_dora": True}, "rslora": {"peft_use_rslora": True}} | beginning).get(variant, {})
    config |= {
        "micro_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": max(1, recipe.batch // recipe.micro_batch),
        "num_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler": recipe.schedule,
        "warmup_ratio": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "optimizer": OPTIMIZERS[recipe.optimizer],
        "bf16": "auto",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "saves_per_epoch": 1,
        "seed": recipe.seed,
        "output_dir": "./out",
    }
    return config | ({"evals_per_epoch": recipe.evals_per_epoch} if "val" in halves else {})


def _factory(recipe: Training, model: str, adapter: str, halves: list[str], template: str) -> dict[str, Any]:
    method = _method(recipe)
    config: dict[str, Any] = {"model_name_or_path": model, "stage": {Cpt: "pt", Sft: "sft"}.get(type(recipe), "dpo"), "do_train": True}
    config["finetuning_type"] = "full" if method == "full" else "lora"
    if adapter:
        config["adapter_name_or_path"] = adapter
    if method != "full":
        config |= {"lora_rank": _value(recipe, "rank"), "lora_alpha": _value(recipe, "alpha"), "lora_target": "all"}
        config |= {"lora_dropout": _value(recipe, "dropout") or 0.0}
        config |= {"quantization_bit": 4} if method == "qlora" else {}
        config |= {"dora": {"use_dora": True}, "rslora": {"use_rslora": True}, "pissa": {"pissa_init": True}}.get(str(_value(recipe, "variant")), {})
    if isinstance(recipe, Dpo | Orpo):
        config |= {"pref_beta": recipe.beta, "pref_loss": "sigmoid" if isinstance(recipe, Dpo) else "orpo"}
    config |= {"dataset_dir": ".", "dataset": "persona_train", "cutoff_len": recipe.length}
    if not isinstance(recipe, Cpt):
        config["template"] = template
    if isinstance(recipe, Cpt | Sft):
        config |= {"packing": recipe.packing} | ({"neat_packing": True} if recipe.packing and isinstance(recipe, Sft) else {})
        config |= {"neftune_noise_alpha": recipe.neftune} if recipe.neftune else {}
    config |= {
        "output_dir": "out",
        "save_strategy": "epoch",
        "logging_steps": 1,
        "report_to": "none",
        "per_device_train_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": max(1, recipe.batch // recipe.micro_batch),
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": recipe.epochs,
        "lr_scheduler_type": recipe.schedule,
        "warmup_ratio": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "optim": OPTIMIZERS[recipe.optimizer],
        "bf16": True,
        "disable_gradient_checkpointing": not recipe.gradient_checkpointing,
        "seed": recipe.seed,
    }
    if "val" in halves:
        config |= {
            "eval_dataset": "persona_val",
            "eval_strategy": "steps",
            "eval_steps": round(1 / recipe.evals_per_epoch / max(recipe.epochs, 1), 4),
        }
    return config


def _dataset_info(recipe: Training, halves: list[str]) -> dict[str, Any]:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
    found: dict[str, Any] = {}
    for half in halves:
        entry: dict[str, Any] = {"file_name": f"{half}.jsonl"}
        if isinstance(recipe, Cpt):
            entry["columns"] = {"prompt": "text"}
        elif isinstance(recipe, Sft):
            entry |= {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
        else:
            columns = {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}
            entry |= {"formatting": "sharegpt", "ranking": True, "columns": columns, "tags": tags}
        found[f"persona_{half}"] = entry
    return found


def _method(recipe: Training) -> str:
    return str(getattr(recipe, "method", "lora"))


def _value(recipe: Training, name: str) -> Any:
    return getattr(recipe, name, None)


def _without_counterpart(recipe: Training, trainer: Trainer, template: str) -> list[str]:
    """What that trainer does otherwise, a sentence each."""
    notes = []
    if recipe.precision in ("bf16-kahan", "bf16-stochastic"):
        notes.append(f"precision = {recipe.precision} has no counterpart: its bf16 weights lose small updates that ours kept.")
    elif _method(recipe) == "full":
        notes.append("Ours kept float32 weights under bf16 arithmetic where the memory allowed; check what this trainer keeps.")
    if trainer == "llamafactory" and not isinstance(recipe, Cpt) and template not in FACTORY_TEMPLATES:
        notes.append("Our chat template (chat_template.jinja) has no counterpart among its templates: register one that renders the same.")
    variant = str(_value(recipe, "variant") or "plain")
    if variant == "olora" and trainer == "llamafactory":
        notes.append(f"variant = {variant} has no counterpart here; this is plain LoRA.")
    if isinstance(recipe, Dpo):
        notes.append("The reference is the model it starts from, as in ours.")
    return notes


def to_yaml(values: dict[str, Any]) -> str:
    """YAML of plain data: every scalar as JSON writes it, which YAML 1.2 reads, and YAML 1.1 too as long as numbers have a point."""
    out = []
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            out.append(f"{key}:")
            for entry in value:
                lines = [f"{name}: {_scalar(inner)}" for name, inner in entry.items()]
                out += [f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])]
        else:
            out.append(f"{key}: {_scalar(value)}")
    return "\n".join(out) + "\n"


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        text = repr(value)
        # 1e-05 is a string to YAML 1.1 (PyYAML): it wants a point in the number.
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    return json.dumps(value, ensure_ascii=False)
