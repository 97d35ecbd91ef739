"""What a server counts, read from the text it really gives, and the lines for other programs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from studio.engines import lines, metrics, service
from studio.engines.metrics import Reading
from studio.engines.servers import Server
from studio.persona.folder import Persona

EXCERPT = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base"} 3.0
vllm:num_requests_waiting{engine="0",model_name="base"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="base",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="base"} 120.0
vllm:generation_tokens_total{engine="0",model_name="base"} 1.5e+03
vllm:generation_tokens_created{engine="0",model_name="base"} 1.7636e+09
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02",model_name="base"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.04",model_name="base"} 10.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="base"} 18.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="base"} 20.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="base"} 20.0
"""


def test_counters_become_a_line() -> None:
    now = metrics.parse(EXCERPT, at=12.0)
    assert (now.generated, now.prompted, now.running, now.waiting, now.cache) == (1500, 120, 3, 2, 0.25)
    # Ten of twenty are under 0.04 s; the 19th lies beyond the last bound, which is then all that is known.
    assert now.percentile(0.5) == pytest.approx(0.04) and now.percentile(0.95) == pytest.approx(0.1)
    assert metrics.said([Reading(at=10.0, generated=1400), now]) == (
        "50.0 tokens/s, 3 under way, 2 waiting, cache 25%, first token p50 0.04 s, p95 0.10 s"
    )
    assert metrics.as_json([now])["tokens_per_s"] is None and metrics.said([]) == ""


def test_before_the_first_reply_nothing_is_made_up() -> None:
    empty = metrics.parse("", at=0.0)
    assert empty.percentile(0.5) is None and metrics.rate([empty]) is None
    assert metrics.said([empty]) == "0 under way, 0 waiting, cache 0%"


def server(tmp_path: Path, engine: str) -> Server:
    folder = tmp_path / "vllm-1 o'clock"
    folder.mkdir()
    (folder / "key").write_text("secret-key")
    return Server("vllm-1", engine, "http://127.0.0.1:8123/v1", {"sft-1": "sft-1"}, port=8123, folder=str(folder))  # type: ignore[arg-type]


@pytest.mark.parametrize(("engine", "program"), [("vllm", "API Type: vLLM"), ("embedded", "Custom (OpenAI-compatible)")])
def test_lines_name_address_and_model_and_keep_the_key_out_of_command_lines(tmp_path: Path, engine: str, program: str) -> None:
    there = server(tmp_path, engine)
    found = dict(lines.lines(there, "sft-1"))
    assert set(found) == {"curl", "OpenAI client (Python)", "SillyTavern", "Open WebUI", "Open WebUI (new)", "from another machine"}
    assert program in found["SillyTavern"] and all("8123" in line for line in found.values())
    assert "secret-key" not in lines.text(there) and "secret-key" in lines.text(there, "secret-key")
    # The curl line is one that a shell reads: curl itself gets the key through a file, not as a word.
    fake = tmp_path / "curl"
    fake.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$0.words"\nfor word in "$@"; do case "$word" in @/*) cat "${word#@}";; esac; done\n')
    fake.chmod(0o700)
    answer = subprocess.run(["bash", "-c", found["curl"]], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert answer.stdout == "Authorization: Bearer secret-key"
    words = (tmp_path / "curl.words").read_text()
    assert "secret-key" not in words and '"model": "sft-1"' in words


def test_the_unit_starts_what_was_asked_for(persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.checkpoints.store import Checkpoint

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "a $home %h"))
    persona.manifest.character.name = "Wen 100%\n[Service]"
    path, port = service.write_unit(persona, [Checkpoint("sft-1", "sft-1", "sft")], "vllm", None)
    assert path == tmp_path / "config" / "systemd" / "user" / "studio-wen.service"
    text = path.read_text()
    (command,) = [line.removeprefix("ExecStart=") for line in text.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(command)
    assert words[1:] == ["-m", "studio.cli.main", "-p", str(persona.root), "serve", "sft-1", "--engine", "vllm", "--port", str(port), "--stay"]
    assert '"--stay" "--host" "0.0.0.0"' in service.unit_text(persona, [Checkpoint("sft-1", "sft-1", "sft")], "vllm", port, host="0.0.0.0")
    assert text.count("[Service]\n") == 1, "a name is a word and no section"
    # systemd.exec(5): in Environment= a dollar is a dollar, a percent sign begins a specifier.
    assert f'Environment="STUDIO_HOME={tmp_path}/a $home %%h"' in text
    if systemd := shutil.which("systemd-analyze"):
        environment = {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
        said = subprocess.run([systemd, "verify", "--user", str(path)], env=environment, capture_output=True, text=True)
        assert said.returncode == 0 and said.stdout + said.stderr == "", said
    key = service.service_key(persona)
    assert key not in text and service.service_key(persona) == key and (persona.private / "service.key").stat().st_mode & 0o777 == 0o600
