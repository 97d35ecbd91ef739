"""An outside endpoint sits in a review like any checkpoint: here the embedded engine of one persona is the outside of another."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from studio.checkpoints.store import all_checkpoints, delete_checkpoint, get_checkpoint
from studio.cli.main import main
from studio.engines import keys, servers, starting
from studio.engines.servers import Server
from studio.engines.sharing import ensure_served
from studio.errors import StudioError
from studio.home import home
from studio.persona.folder import External, Persona, create, open_persona, save_manifest
from studio.review.ahead import Pool, add_prompts, write_ahead
from studio.review.prompts import Prompt
from studio.review.rounds import Sampling, open_review
from tests.engines.engine_family import BY_HEART, QUESTION


@pytest.fixture
def other(tmp_path: Path, embedded: Server) -> Persona:
    persona = create("Other", parent=tmp_path)
    for name in ("near", "far"):
        persona.manifest.external[name] = External(embedded.base_url, "cpt-1" if name == "near" else "sft-1")
    save_manifest(persona.root, persona.manifest)
    return open_persona(persona.root)


def test_it_answers_in_a_review_and_is_never_started_or_stopped(other: Persona, embedded: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", embedded.key)
    review = open_review(other, ["near", "far"], Sampling(temperature=0.0, max_tokens=80), seed=1)
    add_prompts(other, review, [Prompt("", [{"role": "user", "content": QUESTION}])])
    assert write_ahead(other, review) == []
    replies = Pool(other, review).replies["p1"]
    assert replies["near"].reply == BY_HEART and replies["far"].reply != BY_HEART and replies["near"].engine == "external"
    assert servers.running(other) == [] and servers.is_alive(embedded)


def test_a_wrong_key_or_a_dead_address_is_one_sentence_and_the_others_go_on(
    other: Persona, embedded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", embedded.key)
    other.manifest.external["far"] = External("http://127.0.0.1:9/v1", "x")
    review = open_review(other, ["near", "far"], Sampling(temperature=0.0, max_tokens=8), seed=1)
    add_prompts(other, review, [Prompt("", [{"role": "user", "content": QUESTION}])])
    (failure,) = write_ahead(other, review)
    assert "Nothing answers at http://127.0.0.1:9/v1" in failure
    assert set(Pool(other, review).replies["p1"]) == {"near"}
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", "wrong")
    add_prompts(other, review, [Prompt("", [{"role": "user", "content": "And now?"}])])
    assert any("refuses the key" in failure for failure in write_ahead(other, review))


def test_it_has_no_weights_to_train_serve_or_delete(other: Persona) -> None:
    from studio import readiness
    from studio.recipes.files import resolve

    near = get_checkpoint(other, "near")
    assert near in all_checkpoints(other) and ensure_served(other, [near])[1] == []
    with pytest.raises(StudioError, match="without weights here"):
        readiness.prepare(other, "sft", resolve(other, "sft"), "near")
    with pytest.raises(StudioError, match="is not served from here"):
        starting.start(other, [near])
    with pytest.raises(StudioError, match="studio external remove near"):
        delete_checkpoint(other, "near")


def test_the_key_of_an_endpoint_is_kept_for_it_alone_and_readable_by_the_person_only(
    other: Persona, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STUDIO_EXTERNAL_KEY", raising=False)
    here = ["-p", str(other.root), "external"]
    assert main([*here, "add", "near", "--url", "http://127.0.0.1:9/v1/", "--model", "m"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-secret\n"))
    assert main([*here, "key", "near"]) == 0
    assert keys.key_of("http://127.0.0.1:9/v1") == "sk-secret" and keys.key_of("http://127.0.0.1:8/v1") == ""
    kept = home() / "keys.toml"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not any(b"sk-secret" in path.read_bytes() for path in other.root.rglob("*") if path.is_file())
    assert "sk-secret" not in "".join(capsys.readouterr())
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main([*here, "key", "near"]) == 0 and keys.key_of("http://127.0.0.1:9/v1") == ""
