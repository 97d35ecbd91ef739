"""Addresses of endpoints that somebody else runs."""

from __future__ import annotations

from urllib.parse import urlsplit

from studio.errors import StudioError


def host_of(url: str) -> str:
    """Host and port of an OpenAI-compatible endpoint. StudioError if the address is none, or holds what belongs into the environment."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StudioError(f"{url!r} is no address of an OpenAI-compatible endpoint; it begins with http:// or https:// and mostly ends in /v1.")
    if parts.username or parts.password:
        raise StudioError("The address holds a name or a password; set the key in STUDIO_EXTERNAL_KEY and give the address without it.")
    return parts.netloc


def on_this_machine(host: str) -> bool:
    """Whether what is sent to ``host_of`` an address stays on this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or name.startswith("127.")
