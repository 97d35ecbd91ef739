"""Bases: where they are, and whether they are fit to train. Reads JSON headers only, never the model library."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.home import home

POCKET = "pocket"
POCKET_VERSION = 1
"""Changes when the recipe of the pocket base changes; each version has its own folder."""

SANE_TOKENS_PER_CHARACTER = 0.6
"""An English text of a sane tokenizer has about 0.25 tokens a character; a broken conversion that knows no merges has 1."""

ENGLISH = (
    "The ferry came in at dusk with its lamps already lit, and the people who stepped off it were carrying more than they had "
    "taken on board: bread from the other side, a letter, a story that would be different by the time it reached the station."
)


def pocket_folder() -> Path:
    return home() / f"pocket-{POCKET_VERSION}"


def check_base_name(base: str) -> str:
    """A base as the manifest keeps it: ``pocket``, an absolute folder with a model in it, or a hub id. Else StudioError."""
    if base == POCKET:
        return base
    folder = Path(base).expanduser()
    if (folder / "config.json").is_file():
        return str(folder.resolve())
    if folder.exists() or base.startswith((".", "/", "~")):
        raise StudioError(f"{base} is no base: there is no config.json in it; give a model folder, a hub id (owner/name) or 'pocket'.")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        return base
    raise StudioError(f"The base {base!r} is unknown: it is no folder and no hub id (owner/name); 'pocket' is always there.")


def locate_base(base: str) -> Path | None:
    """Where the base lies on this machine, or None: the pocket base is not made yet, or the hub id is not fetched."""
    if base == POCKET:
        return pocket_folder() if (pocket_folder() / "config.json").is_file() else None
    folder = Path(base)
    if folder.is_absolute():
        return folder if (folder / "config.json").is_file() else None
    return _hub_snapshot(base)


def _hub_snapshot(hub_id: str) -> Path | None:
    """The newest complete copy in the hub library's cache (layout: huggingface_hub's ``models--owner--name/snapshots/REV``)."""
    cache = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
    folder = Path(cache) / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    copies = [path for path in folder.glob("*") if (path / "config.json").is_file()] if folder.is_dir() else []
    return max(copies, key=lambda path: path.stat().st_mtime, default=None)


def require_base(base: str) -> Path:
    """Where the base lies, or a StudioError that says how to get it."""
    if path := locate_base(base):
        return path
    if base == POCKET:
        raise StudioError("The pocket base is not made yet on this machine; make it (a few seconds) with: studio fetch pocket.")
    if Path(base).is_absolute():
        raise StudioError(f"The base {base} is gone: there is no config.json there; move it back or edit base in persona.toml.")
    raise StudioError(f"The base {base} is not on this machine; fetch it with: studio fetch {base}.")


def model_config(folder: Path) -> dict[str, Any]:
    """``config.json``; for vision-language wrappers the text part's fields are laid over it."""
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{folder / 'config.json'} cannot be read ({error}); the model there is incomplete.") from error
    return config | config.get("text_config", {}) if isinstance(config, dict) else {}


def context_length(folder: Path) -> int:
    """Tokens the model can read at once, by its config (32,768 if it does not say)."""
    return int(model_config(folder).get("max_position_embeddings") or 32768)


def load_tokenizer(folder: Path) -> Any:
    """The base's tokenizer as a ``tokenizers.Tokenizer`` (20 ms; the transformers one takes 4 s)."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise StudioError(f"{folder} has no tokenizer.json; convert its tokenizer to the fast format before using it as a base.")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise StudioError(f"{path} cannot be read ({error}); fetch or convert the tokenizer again.") from error


def tokens_per_character(tokenizer: Any) -> float:
    """Tokens of an English sample per character of it, special tokens not counted."""
    return len(tokenizer.encode(ENGLISH, add_special_tokens=False).ids) / len(ENGLISH)


def check_tokenizer(folder: Path) -> float:
    """Tokens per character of the folder's tokenizer; StudioError if it splits text into single characters."""
    measured = tokens_per_character(load_tokenizer(folder))
    if measured > SANE_TOKENS_PER_CHARACTER:
        raise StudioError(
            f"The tokenizer in {folder} splits English into {measured:.2f} tokens a character (a sane one needs about 0.25): it is broken, "
            "usually by a conversion from GGUF that lost the merges; training on it would learn nothing. Get the original tokenizer.json."
        )
    return measured


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of itself (its tensors by name, ``__metadata__`` beside them), and at which byte their data begin."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            entries: dict[str, Any] = msgspec.json.decode(opened.read(length))
    except (OSError, struct.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{file} is incomplete or damaged ({error}); make or fetch the checkpoint again.") from error
    return entries, 8 + length


def check_whole(file: Path) -> None:
    """StudioError if a safetensors file has not all the bytes that it says it has."""
    entries, data = read_header(file)
    there = file.stat().st_size
    wanted = data + max((entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0)
    if there < wanted:
        raise StudioError(f"{file} is incomplete ({there:,} of {wanted:,} bytes); make or fetch the checkpoint again.")


def shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of every tensor in the safetensors files of a folder, from their headers alone."""
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in read_header(file)[0].items():
            if name != "__metadata__":
                yield name, entry["shape"]


def count_parameters(folder: Path) -> int:
    """Parameters in the safetensors files of a folder (0 if there are none)."""
    return sum(prod(shape) for _, shape in shapes(folder))
