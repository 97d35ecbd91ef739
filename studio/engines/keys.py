"""Keys of outside endpoints, by their address, in ``keys.toml`` of the studio's home folder: mode 0600, in no persona and in no log.

Runs of the queue read it too: their environment does not carry the shell's ``STUDIO_EXTERNAL_KEY``.
"""

from __future__ import annotations

import os

import msgspec
import tomli_w

from studio.errors import StudioError
from studio.files import write_atomic
from studio.home import home


def _keys() -> dict[str, str]:
    path = home() / "keys.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is not valid; mend the line or remove the file and set the keys again.") from error


def key_of(base_url: str) -> str:
    """The key for an address: what was set for it, else ``$STUDIO_EXTERNAL_KEY``; empty without one."""
    return _keys().get(base_url.rstrip("/")) or os.environ.get("STUDIO_EXTERNAL_KEY", "")


def set_key(base_url: str, key: str) -> None:
    """Keep the key for an address; an empty one is forgotten."""
    kept = _keys() | {base_url.rstrip("/"): key}
    write_atomic(home() / "keys.toml", tomli_w.dumps({address: value for address, value in kept.items() if value}), mode=0o600)
