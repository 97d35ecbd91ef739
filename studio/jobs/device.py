"""The device as its driver sees it: how much memory is free and who computes on it. Read through NVML, changed by nobody here.

``STUDIO_DEVICE`` names a JSON file to read instead (``{"uuid", "name", "total", "free", "processes": [{"pid", "name", "memory"}]}``): for
a device that NVML does not know, and for trying out what happens on a GPU without one.
"""

from __future__ import annotations

import os
import pwd
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from studio.home import known_personas
from studio.jobs import processes
from studio.text import one_line, size


class Process(msgspec.Struct, frozen=True):
    """A process that computes on the device."""

    pid: int
    name: str = ""
    memory: int = 0
    """Bytes; 0 when the driver does not say (inside a container)."""

    @property
    def said(self) -> str:
        """``python (pid 123, lin) with 7.2 GB``."""
        try:
            user = ", " + pwd.getpwuid(os.stat(f"/proc/{self.pid}").st_uid).pw_name
        except (OSError, KeyError):
            user = ""
        name = one_line(self.name)[:60] or _command(self.pid) or "a process outside this container"
        return f"{name} (pid {self.pid}{user})" + (f" with {size(self.memory)}" if self.memory else "")


class Reading(msgspec.Struct, frozen=True):
    uuid: str
    name: str = ""
    total: int = 0
    """Bytes of memory."""
    free: int = 0
    processes: list[Process] = []


def read() -> Reading | None:
    """The device now; None without one."""
    if file := os.environ.get("STUDIO_DEVICE"):
        try:
            return msgspec.json.decode(Path(file).read_bytes(), type=Reading)
        except (OSError, msgspec.DecodeError):
            return None
    handle = _handle()
    if handle is None:
        return None
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        found = [Process(p.pid, _process_name(p.pid), int(p.usedGpuMemory or 0)) for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
        return Reading(_text(pynvml.nvmlDeviceGetUUID(handle)), _text(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free), found)
    except pynvml.NVMLError:
        return None


def uuid() -> str:
    """UUID of the GPU the studio uses, or ``""`` without one. The first of CUDA_VISIBLE_DEVICES, else device 0."""
    if os.environ.get("STUDIO_DEVICE"):
        reading = read()
        return reading.uuid if reading else ""
    return _uuid()


@cache
def _uuid() -> str:
    handle = _handle()
    if handle is None:
        return ""
    import pynvml

    try:
        return _text(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        return ""


@cache
def _handle() -> Any:
    """NVML's handle of the device. No driver, no library, no device: all mean that there is no GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        if visible in ("", "-1"):
            return None
        if visible.startswith("GPU-"):
            return pynvml.nvmlDeviceGetHandleByUUID(visible)
        return pynvml.nvmlDeviceGetHandleByIndex(int(visible))
    except Exception:
        return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _process_name(pid: int) -> str:
    import pynvml

    try:
        return Path(_text(pynvml.nvmlSystemGetProcessName(pid))).name
    except pynvml.NVMLError:
        return ""


def _command(pid: int) -> str:
    try:
        return one_line(Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return ""


def is_ours(pid: int) -> bool:
    """Whether a process was started for a run or as a server by this studio: another home's, another person's, is a stranger."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    mark = f"{processes.RUN_VARIABLE}=".encode()
    folder = next((Path(os.fsdecode(entry[len(mark) :])) for entry in environment if entry.startswith(mark)), None)
    return folder is not None and any(folder.is_relative_to(root) for root in known_personas())


def foreign() -> list[Process]:
    """Processes on the device that are not ours, the largest first. A ghost that has ended already does not count."""
    reading = read()
    found = [p for p in reading.processes if p.pid != os.getpid() and not is_ours(p.pid) and not _is_ghost(p.pid)] if reading else []
    return sorted(found, key=lambda p: -p.memory)


def _is_ghost(pid: int) -> bool:
    """A zombie. (A pid we cannot see at all belongs to another container and counts.)"""
    return Path(f"/proc/{pid}").exists() and processes.born(pid) is None
