"""A small real persona for the app's tests, made by the domain's own functions, and ways to look at the app.

The screen is read through Textual's compositor (private, Textual 8.2.8); ``test_screens`` fails when that moves.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from pathlib import Path
from typing import Any

from textual import events

from studio.checkpoints.store import Checkpoint, write_card
from studio.dialogue.adding import add as add_dialogue
from studio.jobs.runs import Inputs, append_event, create_run, update_status
from studio.lore.sources import add as add_lore
from studio.persona.folder import Persona, create
from studio.tui.app import StudioApp

LORE = "The lamp room stood at the end of the pier. {n} lamps were lit at dusk and {n} were put out at dawn, and Mira counted them both times.\n\n"


def tiny_base(folder: Path) -> Path:
    """A base as the app needs it: config, tokenizer with ChatML's control tokens, the header of its weights. No model library."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([LORE.format(n=n) for n in range(50)] + ["The ferry came in at dusk with its lamps already lit"] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"w": {"dtype": "BF16", "shape": [600, 64], "data_offsets": [0, 76800]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(76800))
    return folder


def conversations(count: int) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is lamp {n} for?"},
                {"role": "assistant", "content": f"Number {n} is for the ferry that is late. It has been lit since March."},
            ]
        }
        for n in range(count)
    ]


def make_persona(folder: Path, name: str = "Mira") -> Persona:
    """Lore, dialogue, two runs and four checkpoints on a tiny base."""
    persona = create(name, str(tiny_base(folder / "base")), parent=folder)
    (folder / "in").mkdir()
    (folder / "in" / "pier.md").write_text("# The Pier\n\n" + "".join(LORE.format(n=n) * 3 for n in range(30)), encoding="utf-8")
    (folder / "in" / "码头.txt").write_text("码头尽头有一间灯房。米拉每天傍晚点灯，清晨熄灯，两次都数一遍。\n" * 12, encoding="utf-8")
    add_lore(persona, [folder / "in"])
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in conversations(40)), encoding="utf-8")
    add_dialogue(persona, [folder / "talk.jsonl"])
    make_run(persona)
    for number, (identity, stage, parent, kind, metrics) in enumerate(
        (
            ("cpt-1-e1", "cpt", "base", "full", {"val_loss": 4.733, "train_loss": 4.433, "gap": 0.0677}),
            ("cpt-1-e2", "cpt", "base", "full", {"val_loss": 3.91, "train_loss": 3.41, "gap": 0.1466}),
            ("sft-2-e1", "sft", "cpt-1-e1", "adapter", {"val_loss": 2.5, "train_loss": 2.4, "gap": 0.0417}),
            ("sft-2-e2", "sft", "cpt-1-e1", "adapter", {"val_loss": 2.4, "train_loss": 2.2, "gap": 0.0909}),
        ),
        1,
    ):
        make_checkpoint(persona, identity, stage, parent, kind, f"2026-01-02T10:0{number}:00Z", metrics)
    return persona


def make_checkpoint(persona: Persona, identity: str, stage: str, parent: str, kind: str, created: str, metrics: dict[str, float]) -> Path:
    path = persona.checkpoints / identity
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    base = persona.manifest.base
    write_card(
        path,
        Checkpoint(identity, identity, stage, parent, base=base, kind=kind, created=created, run="cpt-1", tokens_seen=12_345, metrics=dict(metrics)),
    )
    return path


def make_run(persona: Persona, steps: int = 60, state: str = "done") -> Path:
    """A training as its files tell it: falling losses, two evaluations, the second with a gap over the alarm."""
    inputs = Inputs(stage="cpt", persona=str(persona.root), parent="base", parent_path=persona.manifest.base, snapshot="lore-0123456789ab")
    path = create_run(persona, inputs, "learning_rate = 3e-05\n").path
    append_event(path, "phase", name="Reading the lore")
    append_event(path, "plan", steps=steps, trainable=38_400, parameters=38_400)
    for step in range(1, steps + 1):
        loss = 3.0 + 5.0 * 0.95**step
        append_event(
            path, "step", step=step, epoch=step / steps, loss=loss, learning_rate=3e-5, grad_norm=1.0, tokens=step * 100, tokens_per_s=1234.5
        )
    for step, val, train in ((steps // 2, 4.4, 4.2), (steps, 3.9, 3.3)):
        append_event(path, "eval", step=step, epoch=1.0, val_loss=val, train_loss=train, gap=(val - train) / train)
    append_event(path, "checkpoint", id="cpt-1-e1", path="x", epoch=1, bytes=8_000_000, seconds=0.5)
    append_event(path, "memory", peak_bytes=1_234_000_000)
    update_status(path, state=state, started=1_767_340_000.0, ended=1_767_340_600.0, step=steps, steps=steps, checkpoints=["cpt-1-e1", "cpt-1-e2"])
    return path


def screen_text(app: StudioApp) -> str:
    """What stands on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def settled(pilot: Any, seconds: float = 20.0) -> None:
    """Wait until no background job runs and everything is drawn."""
    for _ in range(int(seconds / 0.02)):
        await pilot.pause()
        if (not pilot.app.busy and pilot.app.pulse is not None) or (pilot.app.persona is None and not pilot.app.busy):
            break
        await asyncio.sleep(0.02)
    await pilot.pause()
    await pilot.pause()


async def press(pilot: Any, *keys: str) -> str:
    """Press keys, each when the one before has had its effect; the screen after."""
    for key in keys:
        await pilot.press(key)
        await settled(pilot)
    return screen_text(pilot.app)


async def type_text(pilot: Any, text: str) -> None:
    """Write into the field that has the focus, in one go as a paste does: each key by itself draws the screen anew."""
    field = pilot.app.focused
    assert field is not None
    field.post_message(events.Paste(text))
    await settled(pilot)


def said(app: StudioApp) -> str:
    """The sentences shown as toasts so far (``App._notifications`` is private, Textual 8.2.8)."""
    return "\n".join(str(notification.message) for notification in app._notifications)


def golden(name: str, text: str) -> None:
    """``text`` equals the golden file; with UPDATE_GOLDEN=1 it becomes it."""
    path = Path(__file__).parent / "golden" / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert path.read_text(encoding="utf-8").rstrip("\n") == text.rstrip("\n")
