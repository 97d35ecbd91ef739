"""The persona folder: made, found and opened. Everything else asks a ``Persona`` where things are."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tomli_w

from studio.errors import StudioError
from studio.files import build_folder, lock, write_atomic
from studio.home import remember_persona
from studio.persona.cards import read_card

FORMAT = 1
"""Version of the folder layout; a newer one is refused, older ones are opened for ever."""


class Character(msgspec.Struct):
    name: str
    """Who she is in the dialogue; also what her turns are labelled with on screen."""
    user: str = "You"
    """What the person on the other side is called."""
    system_prompt: str = ""
    """Put before every conversation, in training and in chat alike. Empty: none, in neither."""


class Trust(msgspec.Struct):
    remote_code: list[str] = []
    """Bases whose own Python code may run (``trust_remote_code``), by name. Empty: none."""


class External(msgspec.Struct, frozen=True):
    """An outside endpoint (vLLM elsewhere, llama.cpp, Ollama, a hosted one) that can be chatted with and reviewed like a checkpoint."""

    url: str
    """The root of its OpenAI API, mostly ending in ``/v1``."""
    model: str
    """The name it has there."""


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """``persona.toml``."""

    name: str
    base: str
    """``pocket``, a local folder, or a hub id."""
    character: Character
    created: str = ""
    format: int = FORMAT
    trust: Trust = msgspec.field(default_factory=Trust)
    external: dict[str, External] = {}
    """Outside endpoints, by the name they have here. Their keys are the machine's (``engines/keys``) and stand in no persona."""


@dataclass(frozen=True)
class Persona:
    """An opened persona folder."""

    root: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def lore(self) -> Path:
        """Lore as the person edits it: ``.txt`` and ``.md``, UTF-8."""
        return self.root / "lore"

    @property
    def dialogue(self) -> Path:
        """Shards ``NNNN.jsonl`` of 200 conversations."""
        return self.root / "dialogue"

    @property
    def preference(self) -> Path:
        """Shards ``NNNN.jsonl`` of 200 pairs; made with the first pair."""
        return self.root / "preference"

    @property
    def sources(self) -> Path:
        """Untouched, read-only originals of everything that was added."""
        return self.root / "sources"

    @property
    def recipes(self) -> Path:
        return self.root / "recipes"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def chats(self) -> Path:
        return self.root / "chats"

    @property
    def reviews(self) -> Path:
        return self.root / "reviews"

    @property
    def votes(self) -> Path:
        """Every vote ever cast, append-only."""
        return self.root / "votes.jsonl"

    @property
    def probes(self) -> Path:
        return self.root / "probes.jsonl"

    @property
    def card(self) -> Path:
        return self.root / "card.json"

    @property
    def private(self) -> Path:
        """Disposable state: indexes, frozen exports, locks, servers."""
        return self.root / ".studio"

    def exclusive(self) -> AbstractContextManager[None]:
        """The lock under which more than one file of the folder is changed (two studios on one folder take turns)."""
        return lock(self.private / "lock")


def slug(name: str) -> str:
    """A folder name for ``name``: letters and digits of any script, joined by ``-``."""
    return re.sub(r"[^\w]+", "-", name, flags=re.UNICODE).strip("-_").lower() or "persona"


def create(name: str, base: str = "pocket", card: Path | None = None, parent: Path | None = None) -> Persona:
    """Make a new persona folder ``parent/slug(name)``. Nothing is left behind if it fails.

    ``base`` is checked as far as that is possible without the network.
    """
    from studio.checkpoints.base import check_base_name

    if not name.strip():
        raise StudioError("A persona needs a name: studio new NAME.")
    base = check_base_name(base)
    character = read_card(card) if card else None
    root = (parent or Path.cwd()).expanduser().resolve() / slug(name)
    manifest = Manifest(
        name=name.strip(),
        base=base,
        character=Character(name=(character.name if character and character.name else name.strip())),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    with build_folder(root) as building:
        for folder in ("lore", "dialogue", "recipes", "snapshots", "runs", "checkpoints", "reviews", "chats"):
            (building / folder).mkdir()
        (building / ".gitignore").write_text(".studio/\nruns/\ncheckpoints/\n", encoding="utf-8")
        (building / "persona.toml").write_bytes(_encode(manifest))
        if character:
            write_atomic(building / "card.json", character.to_json())
    remember_persona(root)
    return Persona(root, manifest)


def create_from_sample(sample: Path, parent: Path, name: str | None = None) -> Persona:
    """A new persona with the card, recipes and probes of a sample folder; its lore and dialogue still have to be added."""
    given = load_manifest(sample)
    persona = create(name or given.name, given.base, sample / "card.json", parent)
    for file in (*sorted((sample / "recipes").glob("*.toml")), sample / "probes.jsonl"):
        if file.is_file():
            target = persona.root / file.relative_to(sample)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
    save_manifest(persona.root, msgspec.structs.replace(given, name=persona.name, created=persona.manifest.created))
    return open_persona(persona.root)


def open_persona(start: Path | None = None) -> Persona:
    """The persona whose folder is ``start`` or lies around it (default: the current folder)."""
    asked = (start or Path.cwd()).expanduser().resolve()
    for folder in (asked, *asked.parents):
        if (folder / "persona.toml").is_file():
            manifest = load_manifest(folder)
            remember_persona(folder)
            return Persona(folder, manifest)
    what = f"{asked} does not exist" if not asked.exists() else f"{asked} is no persona and lies in none (no persona.toml)"
    raise StudioError(f"{what}; make one with: studio new NAME, or name one with: studio -p FOLDER.")


def load_manifest(folder: Path) -> Manifest:
    path = folder / "persona.toml"
    try:
        manifest = msgspec.toml.decode(path.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is not a valid manifest ({error}); mend the file or restore it from a backup.") from error
    except OSError as error:
        raise StudioError(f"{path} cannot be read: {error.strerror}.") from error
    if manifest.format > FORMAT:
        raise StudioError(f"{path} was written by a newer studio (format {manifest.format}, this one knows {FORMAT}); update the studio.")
    return manifest


def save_manifest(folder: Path, manifest: Manifest) -> None:
    write_atomic(folder / "persona.toml", _encode(manifest))


def _encode(manifest: Manifest) -> bytes:
    return tomli_w.dumps(msgspec.to_builtins(manifest)).encode()
