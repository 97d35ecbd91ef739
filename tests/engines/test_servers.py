"""Engine processes: started by one, found by another, ended without remains."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from studio.checkpoints.store import Checkpoint, get_checkpoint
from studio.engines import client, servers, starting
from studio.engines.client import Sampler
from studio.engines.servers import Server
from studio.errors import StudioError
from studio.jobs import processes
from studio.persona.folder import Persona
from tests.engines.engine_family import chosen

HELLO = [{"role": "user", "content": "Hello."}]


@pytest.fixture
def orphan(family: Persona) -> Server:
    """A server whose starter is dead: found by nothing but its files."""
    code = (
        "import sys, pathlib\n"
        "from studio.persona.folder import open_persona\n"
        "from studio.checkpoints.store import get_checkpoint\n"
        "from studio.engines import starting\n"
        "persona = open_persona(pathlib.Path(sys.argv[1]))\n"
        "print(starting.start(persona, [get_checkpoint(persona, 'base')], 'embedded')[0].name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(family.root)], capture_output=True, text=True, check=True)
    (server,) = [s for s in servers.running(family) if s.name == done.stdout.strip()]
    return servers.wait_ready(server)


async def test_a_server_outlives_its_starter_and_its_death_is_a_sentence(family: Persona, orphan: Server) -> None:
    for name in ("key", "server.json", "log.txt", "models.json"):
        assert stat.S_IMODE((orphan.path / name).stat().st_mode) == 0o600
    key = orphan.key
    assert key not in repr(orphan) and key not in (orphan.path / "server.json").read_text()
    assert key.encode() not in Path(f"/proc/{orphan.pid}/cmdline").read_bytes()
    text, killed = "", False
    with pytest.raises(StudioError, match=r"died in the middle of the reply; what had come is kept\. It was killed") as raised:
        async for delta in client.stream_chat(orphan, "base", HELLO, Sampler(max_tokens=1500, seed=4)):
            text += delta.text
            if len(text) > 20 and not killed:
                os.kill(orphan.pid, signal.SIGKILL)
                killed = True
    assert len(text) > 20 and "\n" not in str(raised.value)
    assert orphan.name not in [s.name for s in servers.running(family)]
    assert not orphan.path.exists(), "what is left of a dead server is cleared away"
    with pytest.raises(StudioError, match="Nothing answers at http://127"):
        await client.count_tokens(servers.external("http://127.0.0.1:9/v1", {}), "base", HELLO)


async def test_stop_leaves_no_process_no_port_no_folder(family: Persona, orphan: Server) -> None:
    assert processes.members(orphan.path)
    servers.stop(orphan)
    assert processes.members(orphan.path) == []
    assert not orphan.path.exists()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", orphan.port))
    with pytest.raises(StudioError, match="is not running anymore"):
        await client.count_tokens(orphan, "base", HELLO)


def test_what_ignores_sigterm_is_killed_with_its_children(family: Persona) -> None:
    folder = family.private / "servers" / "embedded-77"
    folder.mkdir(parents=True)
    stubborn = "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN); subprocess.Popen([sys.executable, '-c', sys.argv[1], '']) if sys.argv[1] else 0; print('up', flush=True); time.sleep(600)"  # noqa: E501
    child = processes.detach([sys.executable, "-c", stubborn, stubborn], folder / "log.txt", os.environ | {processes.RUN_VARIABLE: str(folder)})
    while (folder / "log.txt").read_text().count("up") < 2:
        assert child.poll() is None
    server = Server(
        "embedded-77", "embedded", "http://127.0.0.1:1/v1", {}, 1, child.pid, processes.born(child.pid) or 0, processes.boot_id(), folder=str(folder)
    )
    alive = processes.members(folder)
    assert len(alive) == 2
    child.send_signal(signal.SIGKILL)  # the head dies, its child stays
    child.wait()
    servers.stop(server)
    assert not any(processes.is_running(pid) for pid in alive)


def test_a_pid_that_now_is_somebody_else_is_no_server(family: Persona) -> None:
    folder = family.private / "servers" / "embedded-78"
    folder.mkdir(parents=True)
    born = processes.born(os.getpid())
    assert born is not None
    fields = {"port": 1, "pid": os.getpid(), "state": "ready", "folder": str(folder)}
    ours = Server("embedded-78", "embedded", "http://127.0.0.1:1/v1", {}, born=born, boot=processes.boot_id(), **fields)  # type: ignore[arg-type]
    assert servers.is_alive(ours)
    for born_then, boot in ((born - 1, processes.boot_id()), (born, "another-boot")):
        servers.write_json(folder / "server.json", Server("x", "embedded", "u", {}, born=born_then, boot=boot, **fields))  # type: ignore[arg-type]
        assert "x" not in [s.name for s in servers.running(family)]
        assert not folder.exists()
        folder.mkdir()
    folder.rmdir()


def test_a_taken_port_is_refused_and_leaves_nothing(family: Persona) -> None:
    before = set((family.private / "servers").glob("*")) if (family.private / "servers").exists() else set()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StudioError, match=f"Port {port} cannot be used"):
            starting.start(family, chosen(family, "base"), "embedded", port=port)
    with pytest.raises(StudioError, match="Port 99999"):
        starting.start(family, chosen(family, "base"), "embedded", port=99999)
    assert {path for path in (family.private / "servers").glob("*") if path.is_dir()} <= before


def test_a_broken_folder_is_one_sentence(family: Persona, tmp_path: Path) -> None:
    source, folder = Path(get_checkpoint(family, "cpt-1").path), tmp_path / "broken"
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 3000 if file.suffix == ".safetensors" else None])
    (server,) = starting.start(family, [Checkpoint("cpt-9", "cpt-9", "cpt", path=str(folder))], "embedded")
    with pytest.raises(StudioError, match=r"^embedded-\d+ did not start: The model in .* cannot be loaded") as raised:
        servers.wait_ready(server)
    assert "\n" not in str(raised.value)
    assert not server.path.exists()


def test_an_adapter_on_the_wrong_base_is_one_sentence(family: Persona, pocket: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from studio.engines.embedded.models import Library, Plan, Served

    source, folder = Path(get_checkpoint(family, "sft-1").path), tmp_path / "strange"
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name.replace("q_proj", "wq"): tensor.to(torch.float32) for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    plan = Plan(port=0, context=2048, models=[Served("sft-9", root=str(pocket), adapter=str(folder))])
    with pytest.raises(StudioError, match=r"adapter .* does not match"):
        Library(plan, print)


def test_a_checkpoint_that_is_not_here_is_named(family: Persona) -> None:
    with pytest.raises(StudioError, match="somebody/something"):
        starting.start(family, [Checkpoint("base", "somebody/something", "base", base="somebody/something")])
    with pytest.raises(StudioError, match="at least one"):
        starting.start(family, [])


def test_the_app_side_imports_nothing_heavy() -> None:
    code = (
        "import sys, studio.engines.servers, studio.engines.client, studio.engines.environment, studio.engines.vllm\n"
        "print([m for m in ('torch', 'transformers', 'peft', 'httpx', 'starlette', 'tokenizers') if m in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
