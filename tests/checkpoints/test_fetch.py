"""A base that cannot be had: which one, why, and what to do."""

from __future__ import annotations

from pathlib import Path

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from studio.checkpoints.base import require_base
from studio.checkpoints.fetch import fetch_base
from studio.errors import StudioError

ANSWER = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError("no", response=ANSWER), "some/base is gated: accept its terms on the hub and set HF_TOKEN"),
        (RepositoryNotFoundError("no", response=ANSWER), "The hub knows no model some/base; check the spelling"),
        (LocalEntryNotFoundError("no"), "some/base could not be fetched .*is the hub reachable from here"),
    ],
)
def test_a_base_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(StudioError, match=words):
        fetch_base("some/base", print)


def test_a_base_that_is_not_here(tmp_path: Path) -> None:
    for base, words in (
        ("some/base", "not on this machine; fetch it with: studio fetch some/base"),
        ("pocket", "not made yet on this machine"),
        (str(tmp_path / "moved"), "moved is gone: there is no config.json there"),
    ):
        with pytest.raises(StudioError, match=words):
            require_base(base)
