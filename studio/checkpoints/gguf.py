"""GGUF by llama.cpp's own converter: found where the person has it, run, and its file served once before it counts.

We write no converter of our own: each architecture permutes and renames its tensors in its own way, and llama.cpp is where these ways are
kept and tested.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from studio.errors import StudioError
from studio.text import one_line

DIRECT = ("f16", "bf16", "q8_0")
"""Types that the converter writes itself."""
QUANTIZED = ("q6_k", "q5_k_m", "q4_k_m")
"""Types that ``llama-quantize`` makes of an f16 file."""
TYPES = (*DIRECT, *QUANTIZED)

HOW = (
    "GGUF is written by llama.cpp, which is not found here. Get it (git clone https://github.com/ggml-org/llama.cpp), name its folder in "
    "LLAMA_CPP, and export again"
)


class Tools(NamedTuple):
    converter: Path
    quantizer: Path | None
    """``llama-quantize``, once llama.cpp is built."""
    server: Path | None
    """``llama-server``, likewise."""


def find_tools() -> Tools:
    """llama.cpp's converter in ``$LLAMA_CPP``, on the PATH, or in a folder ``llama.cpp`` in the home. StudioError saying how to get it."""
    roots = [Path(root) for root in (os.environ.get("LLAMA_CPP", ""), str(Path.home() / "llama.cpp")) if root]
    on_path = shutil.which("convert_hf_to_gguf.py")
    converter = next((root / "convert_hf_to_gguf.py" for root in roots if (root / "convert_hf_to_gguf.py").is_file()), None)
    converter = converter or (Path(on_path) if on_path else None)
    if converter is None:
        raise StudioError(f"{HOW}.")
    return Tools(converter, _built(converter.parent, "llama-quantize"), _built(converter.parent, "llama-server"))


def tools_for(to: Path, kind: str) -> Tools:
    """What writes a type into the file ``to``; StudioError if that is missing, or the file there already."""
    tools = find_tools()
    if kind in QUANTIZED and tools.quantizer is None:
        raise StudioError(f"{kind} needs llama-quantize, which is part of a built llama.cpp (cmake -B build && cmake --build build); q8_0 does not.")
    if to.exists():
        raise StudioError(f"{to} is there already; name a new file.")
    return tools


def _built(root: Path, name: str) -> Path | None:
    places = (root / place / name for place in ("build/bin", "bin", "."))
    found = next((path for path in places if path.is_file()), None) or shutil.which(name)
    return Path(found) if found else None


def convert(folder: Path, to: Path, kind: str, look: Callable[[Path], None] = lambda file: None) -> Path:
    """Convert the model in ``folder`` to the file ``to`` of a type; whole or not at all. ``look`` sees the file before it is in its place.
    StudioError with the converter's own last words."""
    tools = tools_for(to, kind)
    made = not to.parent.is_dir()
    to.parent.mkdir(parents=True, exist_ok=True)
    first, half = to.with_name(f".{to.name}.making"), to.with_name(f".{to.name}.f16")
    try:
        direct = kind in DIRECT
        _run([sys.executable, str(tools.converter), str(folder), "--outfile", str(first if direct else half), "--outtype", kind if direct else "f16"])
        if not direct:
            _run([str(tools.quantizer), str(half), str(first), kind.upper()])
        tensors = check(first)
        if tensors == 0:
            raise StudioError(f"llama.cpp wrote a GGUF without tensors from {folder}; look at its output.")
        first.chmod(0o600)
        look(first)
        os.replace(first, to)
    finally:
        first.unlink(missing_ok=True)
        half.unlink(missing_ok=True)
        if made and not any(to.parent.iterdir()):
            to.parent.rmdir()
    return to


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")} | {"HF_HUB_OFFLINE": "1"}


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    except OSError as error:
        raise StudioError(f"{command[0]} could not be started: {error.strerror}.") from error
    if done.returncode:
        if missing := re.search(r"No module named '([\w.]+)'", done.stderr):
            raise StudioError(f"llama.cpp's converter wants the Python package {missing[1]}, which is not installed: pip install {missing[1]}")
        if "pre-tokenizer was not recognized" in done.stderr:
            raise StudioError(
                "llama.cpp knows a tokenizer by its fingerprint and does not know this one (the pocket base's never is; a Gemma needs its "
                "tokenizer.model beside it, which studio fetch brings)."
            )
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise StudioError(f"llama.cpp could not convert it ({one_line(said[-1])[:300] if said else f'exit code {done.returncode}'}).")


STARTING = 600.0
"""Seconds that llama-server may take to read a model."""
MOST = 48
"""Tokens of the answer that a file is tried with."""


def answer(file: Path, messages: list[dict[str, str]]) -> str | None:
    """What llama.cpp itself makes of a file: served for a moment, its own template and tokenizer at work, and asked once without any chance
    in it. None where there is no ``llama-server``; StudioError where it does not answer."""
    from studio.engines.client import Sampler, stream_chat
    from studio.engines.servers import external
    from studio.engines.starting import choose_port

    server = find_tools().server
    if server is None:
        return None
    port, key = choose_port(None), secrets.token_urlsafe(16)
    command = [str(server), "-m", str(file), "--host", "127.0.0.1", "--port", str(port), "-c", "2048", "-np", "1"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment() | {"LLAMA_API_KEY": key})
        there = external(f"http://127.0.0.1:{port}/v1", {"gguf": "gguf"}, key, "llama-server")

        async def reply() -> str:
            return "".join([delta.text async for delta in stream_chat(there, "gguf", messages, Sampler(temperature=0, max_tokens=MOST))])

        try:
            deadline = time.monotonic() + STARTING
            while not _is_up(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = [line for line in log.read().decode("utf-8", "replace").split("\n") if "error" in line.lower()]
                    raise StudioError(f"llama.cpp cannot load what it wrote ({one_line(said[0])[:300] if said else 'no reason given'}).")
                time.sleep(0.1)
            return asyncio.run(reply()).strip()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_up(port: int) -> bool:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check(file: Path) -> int:
    """How many tensors a GGUF file holds; StudioError if it is none."""
    try:
        with file.open("rb") as opened:
            magic, version, tensors, _ = struct.unpack("<4sIQQ", opened.read(24))
    except (OSError, struct.error) as error:
        raise StudioError(f"llama.cpp left no whole GGUF file behind ({error}).") from error
    if magic != b"GGUF" or version < 2:
        raise StudioError(f"What llama.cpp wrote is no GGUF file (it begins with {magic!r}).")
    return int(tensors)
