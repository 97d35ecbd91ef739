"""Bringing a base to this machine: the pocket base is made, a hub id is downloaded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from studio.checkpoints.base import POCKET, check_base_name, locate_base, require_base
from studio.errors import StudioError
from studio.jobs.processes import python


def hub_answers() -> bool:
    """Whether the hub can be reached from here; asked only when something of it is about to be offered."""
    import httpx

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    try:
        httpx.head(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=3.0)
    except httpx.HTTPError:
        return False
    return True


def fetch_base(base: str, progress: Callable[[str], None]) -> Path:
    """The folder of a base, brought here first if need be. The one step of the studio that uses the network."""
    base = check_base_name(base)
    if path := locate_base(base):
        return path
    if base == POCKET:
        progress("Making the pocket base (a few seconds, once) …")
        made = subprocess.run(python("studio.stages.pocket"), capture_output=True, text=True, check=False)
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise StudioError(f"The pocket base could not be made: {reason}")
        return require_base(base)
    progress(f"Fetching {base} from the hub …")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(base, allow_patterns=["*.json", "*.safetensors", "*.jinja", "tokenizer*"], token=os.environ.get("HF_TOKEN")))
    except GatedRepoError as error:
        raise StudioError(f"{base} is gated: accept its terms on the hub and set HF_TOKEN, then fetch it again.") from error
    except RepositoryNotFoundError as error:
        raise StudioError(f"The hub knows no model {base}; check the spelling.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise StudioError(f"{base} could not be fetched ({type(error).__name__}): is the hub reachable from here? What had come is kept.") from error
