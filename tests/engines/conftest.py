"""A tiny family, made once: the pocket base, two adapters on it, and a full checkpoint that has learned one reply by heart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from studio.checkpoints.base import pocket_folder
from studio.checkpoints.store import Checkpoint, write_card
from studio.checkpoints.templates import render, template_for
from studio.engines import environment, servers, starting
from studio.engines.servers import Server
from studio.persona.folder import Persona, create
from tests.engines.engine_family import BY_HEART, QUESTION, chosen

MACHINE_HOME = os.environ.get("STUDIO_HOME")
"""The home the tests were started with: the serving environment (3.5 GB) is shared through it, and built there if missing."""


@contextmanager
def at_home(folder: str | Path | None) -> Iterator[None]:
    """``STUDIO_HOME`` is this folder (None: the usual place), whatever fixtures of other folders in this process have set."""
    before = os.environ.pop("STUDIO_HOME", None)
    if folder is not None:
        os.environ["STUDIO_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("STUDIO_HOME", None)
        if before is not None:
            os.environ["STUDIO_HOME"] = before


@pytest.fixture(scope="session")
def family_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine-home")


@pytest.fixture(scope="module", autouse=True)
def module_home(family_home: Path) -> Iterator[None]:
    with at_home(family_home):
        yield


@pytest.fixture(autouse=True)
def studio_home(family_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One home for all engine tests: models are made and servers started once a session."""
    monkeypatch.setenv("STUDIO_HOME", str(family_home))
    return family_home


@pytest.fixture(scope="session")
def family(family_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Persona]:
    """Persona with ``base``, ``cpt-1`` (full), ``sft-1`` and ``sft-2`` (adapters on the base)."""
    from studio.stages.pocket import ensure_pocket

    with at_home(family_home):
        root = ensure_pocket()
        persona = create("Trial", parent=tmp_path_factory.mktemp("personas"))
        _make_adapter(persona, root, "sft-1", 1)
        _make_adapter(persona, root, "sft-2", 2)
        _make_learned(persona, root)
    yield persona
    for server in servers.running(persona):
        servers.stop(server)


def _copy_tokenizer(root: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(root / name, folder / name)
    (folder / "chat_template.jinja").write_text(template_for(root).text, encoding="utf-8")


def _make_adapter(persona: Persona, root: Path, name: str, seed: int) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32)
    # init_lora_weights=False leaves B random, so that the adapter does something.
    settings = LoraConfig(r=12, lora_alpha=24, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    folder = persona.checkpoints / name
    folder.mkdir()
    get_peft_model(model, settings).save_pretrained(folder)
    _copy_tokenizer(root, folder)
    write_card(folder, Checkpoint(name, name, "sft", parent="base", base="pocket", kind="adapter", created=f"2026-01-0{seed}"))


def _make_learned(persona: Persona, root: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    template = template_for(root)
    tokenizer = Tokenizer.from_file(str(root / "tokenizer.json"))
    prompt = tokenizer.encode(render(template, [{"role": "user", "content": QUESTION}], True), add_special_tokens=False).ids
    reply = tokenizer.encode(BY_HEART + template.end_of_turn, add_special_tokens=False).ids
    ids = torch.tensor([prompt + reply])
    labels = torch.tensor([[-100] * len(prompt) + reply])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(200):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.002:
            break
    folder = persona.checkpoints / "cpt-1"
    model.save_pretrained(folder)
    _copy_tokenizer(root, folder)
    write_card(folder, Checkpoint("cpt-1", "cpt-1", "cpt", parent="base", base="pocket", created="2026-01-00"))


@pytest.fixture(scope="session")
def embedded(family_home: Path, family: Persona) -> Iterator[Server]:
    """One embedded process that serves the whole family."""
    with at_home(family_home):
        (server,) = starting.start(family, chosen(family, "base", "cpt-1", "sft-1", "sft-2"), "embedded")
        servers.wait_ready(server)
    yield server
    servers.stop(server)


@pytest.fixture(scope="session")
def serving(family_home: Path) -> environment.ServingEnvironment:
    """The real serving environment of this machine, built if it is missing."""
    with at_home(MACHINE_HOME):
        built = environment.build(print)
    (family_home / "serving").symlink_to(built.path)
    with at_home(family_home):
        return environment.require()


@pytest.fixture
def pocket(family: Persona) -> Path:
    return pocket_folder()
