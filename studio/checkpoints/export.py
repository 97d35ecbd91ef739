"""A checkpoint as a folder of its own, with a model card that says where it comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

from studio.checkpoints.lineage import ancestors
from studio.checkpoints.store import Checkpoint
from studio.errors import StudioError
from studio.files import build_folder
from studio.persona.folder import Persona


def export_folder(persona: Persona, checkpoint: Checkpoint, to: Path, adapter: bool = False) -> Path:
    """Copy a checkpoint to a new folder ``to``; whole or not at all. An adapter goes alone only if ``adapter`` says so."""
    if checkpoint.kind == "external":
        raise StudioError(f"{checkpoint.id} is an outside endpoint; there are no weights to export.")
    if not checkpoint.path or not Path(checkpoint.path).is_dir():
        raise StudioError(f"{checkpoint.id} is not on this machine; fetch its base with: studio fetch {checkpoint.base}")
    if checkpoint.kind == "adapter" and not adapter:
        raise StudioError(
            f"{checkpoint.id} is an adapter: fold it into its weights first (studio checkpoints merge {checkpoint.id}) and export that, "
            "or export it alone with --adapter."
        )
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StudioError(f"{to} is there already; name a new folder.")
    if to.is_dir():
        to.rmdir()
    to.parent.mkdir(parents=True, exist_ok=True)
    with build_folder(to) as folder:
        for file in sorted(Path(checkpoint.path).iterdir()):
            if file.is_file() and file.name != "checkpoint.toml":
                shutil.copyfile(file, folder / file.name)
        (folder / "README.md").write_text(model_card(persona, checkpoint), encoding="utf-8")
    return to


def model_card(persona: Persona, checkpoint: Checkpoint) -> str:
    """What it is, from what it was made and what was measured, as Markdown with the hub's front matter."""
    line = ancestors(persona, checkpoint)
    base = checkpoint.base or line[-1].name
    front = ["---", *([f"base_model: {base}"] if "/" in base and not base.startswith("/") else []), "tags: [persona, roleplay]", "---", ""]
    body = [f"# {persona.manifest.character.name} ({checkpoint.id})", "", f"Made with persona studio from `{base}`.", "", "## Lineage", ""]
    for c in reversed(line):
        made = f" of {', '.join(c.merged)}" if c.merged else ""
        facts = [f"{c.tokens_seen:,} tokens"] if c.tokens_seen else []
        facts += [f"{name} {c.metrics[name]:.4g}" for name in ("train_loss", "val_loss", "kl") if name in c.metrics]
        body.append(f"* **{c.id}**: {c.scheme or c.stage}{made}{' (' + ', '.join(facts) + ')' if facts else ''}")
    body += ["", "The licence of the base applies to the weights."]
    if checkpoint.recipe:
        body += ["", "## Recipe of the last step", "", "```toml", checkpoint.recipe.strip(), "```"]
    return "\n".join([*front, *body]) + "\n"
