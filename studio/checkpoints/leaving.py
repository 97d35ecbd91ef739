"""Out of the house: a checkpoint in the form that another program takes, whatever that is. Both faces of the studio export by this."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

from studio.checkpoints import gguf
from studio.checkpoints.elsewhere import Trainer, export_recipe
from studio.checkpoints.export import Tried, check_folder, check_gguf, export_folder, export_gguf, room, try_folder
from studio.checkpoints.store import Checkpoint
from studio.errors import StudioError
from studio.jobs.runs import read_events
from studio.persona.folder import Persona


class Left(NamedTuple):
    """What was written."""

    files: list[Path]
    tried: Tried | None
    """What it answered when it was loaded once."""
    lines: list[str]
    """What it is for and what to do with it, a sentence or a command each."""


TRAINED = ("cpt", "sft", "dpo", "orpo")


def forms(checkpoint: Checkpoint) -> list[tuple[str, str, str]]:
    """``(form, what it is, why it cannot be had)`` of everything a checkpoint may leave as; the reason is empty where it can. Looks for
    llama.cpp, but does not try it."""
    gone = "it is an outside endpoint: there are no weights" if checkpoint.kind == "external" else ""
    gone = gone or ("" if checkpoint.path else "its base is not on this machine")
    adapter = "it is an adapter: fold it into its weights first (m)" if checkpoint.kind == "adapter" else ""
    missing, tools = "", None
    try:
        tools = gguf.find_tools()
    except StudioError as error:
        missing = str(error)
    found = [("hf", "a plain model folder with its card, asked one question before it is done", gone or adapter)]
    if checkpoint.kind == "adapter":
        found.append(("adapter", "the adapter alone, not folded into its weights", gone))
    quantized = f"it is quantized already: take {checkpoint.parent}" if checkpoint.scheme else ""
    for kind in gguf.TYPES:
        unbuilt = "llama-quantize, part of a built llama.cpp, is not found here" if tools and kind in gguf.QUANTIZED and not tools.quantizer else ""
        found.append((f"gguf {kind}", "one file by llama.cpp, with a Modelfile for Ollama", gone or adapter or quantized or missing or unbuilt))
    found.append(("sillytavern", "card and presets with which SillyTavern sends what she was trained on", gone))
    untrained = "" if checkpoint.stage in TRAINED and checkpoint.recipe else "nothing trained it here"
    found += [(trainer, "recipe and data it was trained with, for that trainer", untrained) for trainer in ("axolotl", "llamafactory")]
    return found


def by_run(form: str) -> bool:
    """Whether a form is written by a run in the queue: one that carries weights takes its time, and the device to be tried on."""
    return form in ("hf", "adapter") or form.startswith("gguf ")


def check(checkpoint: Checkpoint, form: str, to: Path) -> int:
    """Bytes that a run would write at most. StudioError with what would keep it from it."""
    name, _, kind = form.partition(" ")
    if name == "gguf":
        check_gguf(checkpoint, to, kind)
    else:
        check_folder(checkpoint, to, name == "adapter")
    return room(checkpoint, kind)


def left_by(run: Path) -> Left | None:
    """What an export's run has written, as its events tell; None before."""
    event = next((event for event in reversed(read_events(run)) if event["kind"] == "exported"), None)
    if event is None:
        return None
    return Left([Path(file) for file in event["files"]], Tried(**event["tried"]) if event["tried"] else None, event["lines"])


def leave(
    persona: Persona, checkpoint: Checkpoint, form: str, to: Path, untried: bool = False, tell: Callable[[str], None] = lambda line: None
) -> Left:
    """Write a checkpoint to ``to`` in one of its ``forms``. ``untried``: it is not loaded once first. StudioError with what keeps it here."""
    name, _, kind = form.partition(" ")
    if name in ("axolotl", "llamafactory"):
        return Left(export_recipe(persona, checkpoint, cast(Trainer, name), to), None, [])
    if name == "gguf":
        tell(f"llama.cpp converts {checkpoint.id} to {kind} …")
        files, tried = export_gguf(persona, checkpoint, to, kind, untried)
        lines = [] if tried or untried else ["It was not tried: llama-server, which is part of a built llama.cpp, is not found here."]
        into_ollama = f"Into Ollama: cd {files[0].parent} && ollama create {persona.root.name.lower()} -f Modelfile"
        plain = "Its chat template has no translation for Ollama; llama.cpp reads it from the file itself."
        return Left(files, tried, [*lines, into_ollama if len(files) > 1 else plain])
    if name in ("hf", "adapter"):
        if not untried:
            tell(f"Copying {checkpoint.id}, then it is loaded once and asked one question …")
        folder, tried = export_folder(persona, checkpoint, to, name == "adapter", None if untried else try_folder(persona))
        return Left(sorted(folder.iterdir()), tried, [])
    from studio.sillytavern.bundle import write_bundle

    files = write_bundle(persona, checkpoint, to)
    card = "; import card.png as the character." if any(file.name == "card.png" for file in files) else ". There is no card yet: studio card set FILE"
    lines = [
        f"Serve it:        studio serve {checkpoint.id} --engine vllm   (it prints the address and where the key is)",
        "In SillyTavern:  API Text Completion, type vLLM, that address without /v1, and the key;",
        f"                 Advanced Formatting > Master Import > {files[0].name}; Instruct Mode on{card}",
    ]
    return Left(files, None, lines)


def said(left: Left) -> list[str]:
    """For people."""
    folders = {file.parent for file in left.files}
    whole = len(folders) == 1 and len(left.files) > 3
    found = [f"Written: {next(iter(folders)) if whole else ', '.join(map(str, left.files))}"]
    if left.tried:
        found.append(f"Asked “{left.tried.prompt}” it answers: {left.tried.reply or '(nothing readable)'}")
    return found + left.lines
