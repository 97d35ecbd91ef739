"""A checkpoint as something other programs take: a model folder, a GGUF file, with a card that says where it comes from.

What is exported is loaded once, as a stranger would load it, and asked one question before it counts as done.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from studio.checkpoints import gguf, herself
from studio.checkpoints.base import context_length
from studio.checkpoints.lineage import ancestors
from studio.checkpoints.ollama import modelfile
from studio.checkpoints.store import Checkpoint, weights_root
from studio.checkpoints.templates import template_for
from studio.errors import StudioError
from studio.files import build_folder, write_atomic
from studio.jobs import processes
from studio.persona.folder import Persona
from studio.review.probes import load_probes, opening
from studio.review.rounds import Sampling

OURS = ("checkpoint.toml", herself.FILE)
"""Files that mean something in the studio alone."""

LONGEST = 8192
"""Tokens of context that the Modelfile asks for at most."""


class Tried(msgspec.Struct, frozen=True):
    """What an exported model answered."""

    prompt: str
    reply: str


Try = Callable[[Path], Tried]


def export_folder(persona: Persona, checkpoint: Checkpoint, to: Path, adapter: bool = False, attempt: Try | None = None) -> tuple[Path, Tried | None]:
    """Copy a checkpoint to a new folder ``to``; whole or not at all. An adapter goes alone only if ``adapter`` says so. ``attempt`` lets it
    answer before it is put in its place; the answer."""
    check_folder(checkpoint, to, adapter)
    if to.is_dir():
        to.rmdir()
    to.parent.mkdir(parents=True, exist_ok=True)
    with build_folder(to) as folder:
        for file in _files(checkpoint):
            shutil.copyfile(file, folder / file.name)
        tried = attempt(folder) if attempt else None
        (folder / "README.md").write_text(model_card(persona, checkpoint), encoding="utf-8")
        if checkpoint.kind == "full" and not checkpoint.scheme and (text := ollama_file(persona, checkpoint, ".")):
            (folder / "Modelfile").write_text(text, encoding="utf-8")
    return to, tried


def export_gguf(persona: Persona, checkpoint: Checkpoint, to: Path, kind: str, untried: bool = False) -> tuple[list[Path], Tried | None]:
    """Write a GGUF file (and a Modelfile beside it) through llama.cpp. The files, and what it answered to the first open probe: None where it
    stays ``untried``, or llama.cpp is not built and nothing can serve it. StudioError where llama.cpp or something in it is missing."""
    file = check_gguf(checkpoint, to, kind)
    prompt, replies = _first_probe(persona), []

    def attempt(made: Path) -> None:
        reply = None if untried else gguf.answer(made, opening(persona, prompt))
        if reply == "":
            raise StudioError("The exported model ends its reply before it begins; nothing was exported.")
        replies.append(reply)

    written = [gguf.convert(Path(checkpoint.path), file, kind, attempt)]
    if text := ollama_file(persona, checkpoint, f"./{file.name}"):
        write_atomic(file.with_name("Modelfile"), text)
        written.append(file.with_name("Modelfile"))
    return written, Tried(prompt, replies[0]) if replies[0] is not None else None


def check_folder(checkpoint: Checkpoint, to: Path, adapter: bool) -> None:
    """StudioError with what keeps a checkpoint from leaving as a folder."""
    _require_weights(checkpoint)
    if checkpoint.kind == "adapter" and not adapter:
        raise StudioError(
            f"{checkpoint.id} is an adapter: fold it into its weights first (studio checkpoints merge {checkpoint.id}) and export that, "
            "or export it alone with --adapter."
        )
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StudioError(f"{to} is there already; name a new folder.")


def check_gguf(checkpoint: Checkpoint, to: Path, kind: str) -> Path:
    """The file that a GGUF of a checkpoint would be; StudioError with what keeps it from being written."""
    _require_weights(checkpoint)
    if checkpoint.kind == "adapter":
        raise StudioError(f"{checkpoint.id} is an adapter: fold it into its weights first: studio checkpoints merge {checkpoint.id}")
    if checkpoint.scheme:
        raise StudioError(f"{checkpoint.id} is quantized ({checkpoint.scheme}); GGUF has its own ways: export its parent {checkpoint.parent}.")
    file = to if to.suffix == ".gguf" else to / f"{checkpoint.id}-{kind}.gguf"
    gguf.tools_for(file, kind)
    return file


def room(checkpoint: Checkpoint, kind: str = "") -> int:
    """Bytes that an export writes at most, its halfway file with them: about as many as the checkpoint has."""
    return sum(file.stat().st_size for file in _files(checkpoint)) * (2 if kind in gguf.QUANTIZED else 1)


def _files(checkpoint: Checkpoint) -> list[Path]:
    """What of a checkpoint's folder is for everybody."""
    return [file for file in sorted(Path(checkpoint.path).iterdir()) if file.is_file() and file.name not in OURS]


def _require_weights(checkpoint: Checkpoint) -> None:
    if checkpoint.kind == "external":
        raise StudioError(f"{checkpoint.id} is an outside endpoint; there are no weights to export.")
    if not checkpoint.path or not Path(checkpoint.path).is_dir():
        raise StudioError(f"{checkpoint.id} is not on this machine; fetch its base with: studio fetch {checkpoint.base}")


def ollama_file(persona: Persona, checkpoint: Checkpoint, source: str) -> str:
    """The Modelfile's text; empty where the chat template has no translation, or the folder no tokenizer."""
    folder = Path(checkpoint.path)
    if not (folder / "tokenizer_config.json").is_file():
        return ""
    context = min(LONGEST, context_length(folder))
    return modelfile(source, template_for(folder), persona.manifest.character.system_prompt, context, Sampling())


def _first_probe(persona: Persona) -> str:
    try:
        return next((probe.prompt for probe in load_probes(persona) if probe.kind == "open"), "Hello.")
    except StudioError:
        return "Hello."


def try_folder(persona: Persona) -> Try:
    """Load a folder in a process of its own, as a stranger would, and put the first open probe to it. StudioError if it does not answer."""
    prompt = _first_probe(persona)

    def attempt(folder: Path) -> Tried:
        asked = msgspec.json.encode(opening(persona, prompt))
        # What the libraries say on the way goes where ours goes: into the log of the run.
        done = subprocess.run(processes.python("studio.stages.trying", str(folder)), input=asked, stdout=subprocess.PIPE, check=False)
        try:
            found = msgspec.json.decode(done.stdout.splitlines()[-1])
        except (IndexError, msgspec.DecodeError) as error:
            raise StudioError(f"The exported model ended without an answer (exit code {done.returncode}); nothing was exported.") from error
        if "error" in found:
            raise StudioError(f"The exported model does not answer ({found['error'].removesuffix('.')}); nothing was exported.")
        if not found["tokens"]:
            raise StudioError("The exported model ends its reply before it begins; nothing was exported.")
        return Tried(prompt, found["reply"])

    return attempt


def licence_of(folder: str) -> str:
    """The licence that the base's own card names; empty where there is no card or it names none."""
    try:
        text = (Path(folder) / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    front = text.partition("---")[2].partition("\n---")[0]
    found = re.search(r"(?m)^license:\s*(\S.*?)\s*$", front)
    return found[1].strip("'\"") if found else ""


def model_card(persona: Persona, checkpoint: Checkpoint) -> str:
    """What it is, from what it was made, what was measured and how it was voted on, as Markdown with the hub's front matter."""
    line = ancestors(persona, checkpoint)
    base = checkpoint.base or line[-1].name
    root = next((c for c in line if c.stage == "base"), None) or weights_root(persona, checkpoint)
    licence = licence_of(root.path)
    front = ["---", *([f"base_model: {base}"] if "/" in base and not base.startswith("/") else [])]
    front += [f"license: {licence}"] if licence else []
    front += ["tags: [persona, roleplay]", "---", ""]
    body = [f"# {persona.manifest.character.name} ({checkpoint.id})", "", f"Made with persona studio from `{base}`.", "", "## Lineage", ""]
    for c in reversed(line):
        made = f" of {', '.join(c.merged)}" if c.merged else ""
        facts = [f"{c.tokens_seen:,} tokens"] if c.tokens_seen else []
        facts += [f"{name} {c.metrics[name]:.4g}" for name in ("train_loss", "val_loss", "kl") if name in c.metrics]
        body.append(f"* **{c.id}**: {c.scheme or c.stage}{made}{' (' + ', '.join(facts) + ')' if facts else ''}")
    body += _data_lines(persona, line) + _herself_lines(checkpoint) + _ranking_lines(persona, checkpoint)
    body += [
        "",
        "## Licence",
        "",
        f"Of the base: {licence}." if licence else "The licence of the base applies to the weights; its card is not on this machine.",
    ]
    if checkpoint.recipe:
        body += ["", "## Recipe of the last step", "", "```toml", checkpoint.recipe.strip(), "```"]
    return "\n".join([*front, *body]) + "\n"


def _data_lines(persona: Persona, line: list[Checkpoint]) -> list[str]:
    from studio.snapshots import read_snapshot

    rows = []
    for name in dict.fromkeys(c.snapshot for c in reversed(line) if c.snapshot and c.stage != "quantize"):
        try:
            snapshot = read_snapshot(persona.snapshots / name)
        except StudioError:
            continue
        tokens = f"{snapshot.train_tokens:,}" if snapshot.train_tokens is not None else ""
        rows.append(f"| {snapshot.kind} | {snapshot.train_rows:,} | {snapshot.val_rows:,} | {tokens} |")
    return ["", "## Data", "", "| kind | rows | held out | tokens |", "|---|---|---|---|", *rows] if rows else []


def _herself_lines(checkpoint: Checkpoint) -> list[str]:
    said = herself.verdict(checkpoint.metrics)
    if said is None:
        return []
    rows = [f"| {what} | {value} | {good} |" for what, value, good in herself.rows(checkpoint.metrics)]
    return ["", f"## Against {checkpoint.parent}", "", f"{said.word}: {said.why}.", "", "| measure | value | herself |", "|---|---|---|", *rows]


def _ranking_lines(persona: Persona, checkpoint: Checkpoint) -> list[str]:
    """The blind ranking, where this checkpoint stands in it. Intervals are the central 95 % of the posterior."""
    from studio.review.ranking import rank
    from studio.review.standing import telling
    from studio.review.votes import votes

    used, _ = telling(persona, votes(persona))
    found = rank(used)
    if checkpoint.id not in {r.checkpoint for r in found.ranking}:
        return []
    rows = [f"| {r.checkpoint} | {r.score:.0f} | {r.low:.0f} to {r.high:.0f} | {r.wins} | {r.losses} | {r.ties} |" for r in found.ranking]
    head = ["| checkpoint | score | 95 % | won | lost | tied |", "|---|---|---|---|---|---|"]
    return ["", "## Blind ranking", "", f"{found.votes} votes between replies without names; 1000 is the mean.", "", *head, *rows]
