"""An export is a run in the queue: it outlives the terminal, has the device to itself, and leaves nothing half at its place."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from studio.checkpoints.leaving import left_by
from studio.cli.main import main
from studio.errors import StudioError
from studio.jobs import control, queue
from studio.jobs.runs import CANCELLED, DONE, INTERRUPTED, Run
from studio.jobs.telling import event_line
from studio.launch import start_export
from tests.checkpoints.test_export import made
from tests.jobs.machine import Machine, over

HEADER = struct.pack("<4sIQQ", b"GGUF", 3, 7, 0)
CONVERTER = f"""
import sys, time
from pathlib import Path
out, slow = Path(sys.argv[sys.argv.index("--outfile") + 1]), Path(__file__).with_name("slow")
if slow.exists():
    out.write_bytes(b"half")
    slow.rename(slow.with_name("begun"))
    time.sleep(600)
if Path(__file__).with_name("broken").exists():
    sys.exit("Model Foo is not supported")
out.write_bytes({HEADER!r})
"""


@pytest.fixture
def llama(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for llama.cpp, on a machine whose stages are the real ones."""
    machine.configure(jobs={"launcher": []})
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(CONVERTER)
    monkeypatch.setenv("LLAMA_CPP", str(folder))
    return folder


def begun(machine: Machine, llama: Path, run: Run) -> None:
    machine.wait(run, lambda _: (llama / "begun").exists())
    (llama / "begun").unlink()


def test_an_export_that_is_killed_is_whole_after_a_retry(machine: Machine, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, out = made(machine.persona, "cpt-1-e1"), tmp_path / "out"
    (llama / "slow").touch()
    run = start_export(machine.persona, checkpoint, "gguf q8_0", out, untried=True)
    begun(machine, llama, run)
    stage = machine.pid("stage", run)
    assert "libtorch" not in Path(f"/proc/{stage}/maps").read_text(), "what only waits for others needs no model library"
    machine.kill(stage)
    assert machine.wait(run, over).status.state == INTERRUPTED
    assert left_by(run.path) is None and not list(out.glob("*.gguf"))

    monkeypatch.delenv("LLAMA_CPP")  # whoever retries it needs not know where llama.cpp is
    control.retry(machine.persona, run.id)
    done = machine.wait(run, over)
    assert done.status.state == DONE and f"Written: {out}/cpt-1-e1-q8_0.gguf" in done.status.message
    assert [file.name for file in out.iterdir()] == ["cpt-1-e1-q8_0.gguf"] and (out / "cpt-1-e1-q8_0.gguf").read_bytes() == HEADER

    monkeypatch.setenv("LLAMA_CPP", str(llama))
    with pytest.raises(StudioError, match="is there already"):
        start_export(machine.persona, checkpoint, "gguf q8_0", out)
    (llama / "slow").touch()
    stopped = start_export(machine.persona, checkpoint, "gguf q8_0", tmp_path / "other", untried=True)
    begun(machine, llama, stopped)
    control.cancel(machine.persona, stopped.id)
    cancelled = machine.wait(stopped, over).status
    assert cancelled.state == CANCELLED and "starts it over" in cancelled.message, "there is no trainer state to go on from"
    assert not (tmp_path / "other").exists()
    assert machine.losses_found() + machine.quiet() == []


def test_the_command_waits_for_its_run_and_prints_what_came_of_it(
    machine: Machine, llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = made(machine.persona, "cpt-1-e1")
    words = ["-p", str(machine.persona.root), "export", checkpoint.id, "--untried", "--to", str(tmp_path / "her")]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert {Path(file).name for file in json.loads(said.out)["files"]} == {"README.md", "config.json", "model.safetensors"}
    assert main(words) == 1 and "is there already; name a new folder." in capsys.readouterr().err
    (llama / "broken").touch()
    assert main([*words, "--format", "gguf"]) == 1
    assert "llama.cpp could not convert it (Model Foo is not supported)." in capsys.readouterr().err

    queue.pause()
    waiting = start_export(machine.persona, checkpoint, "hf", tmp_path / "third")
    assert "the queue is paused" in next(line for event in control.follow(waiting.path) if (line := event_line(event)))
    control.cancel(machine.persona, waiting.id)
    queue.resume()
