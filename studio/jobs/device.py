"""The device as its driver sees it: how much memory is free and who computes on it. Read through NVML, changed by nobody here.

``STUDIO_DEVICE`` names a JSON file to read instead (``{"uuid", "name", "total", "free", "processes": [{"pid", "name", "memory"}]}``, or a
list of such): for a device that NVML does not know, and for trying out what happens on a GPU without one.
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
    found = readings(1)
    return found[0] if found else None


def readings(count: int) -> list[Reading]:
    """The first so many devices now; fewer where there are fewer."""
    if file := os.environ.get("STUDIO_DEVICE"):
        try:
            found = msgspec.json.decode(Path(file).read_bytes(), type=Reading | list[Reading])
        except (OSError, msgspec.DecodeError):
            return []
        return (found if isinstance(found, list) else [found])[:count]
    return [reading for handle in _handles()[:count] if (reading := _reading(handle))]


def _reading(handle: Any) -> Reading | None:
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        found = [Process(p.pid, _process_name(p.pid), int(p.usedGpuMemory or 0)) for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
        return Reading(_text(pynvml.nvmlDeviceGetUUID(handle)), _text(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free), found)
    except pynvml.NVMLError:
        return None


def uuid() -> str:
    """UUID of the GPU the studio uses, or ``""`` without one. The first of CUDA_VISIBLE_DEVICES, else device 0."""
    return next(iter(uuids(1)), "")


def uuids(count: int) -> list[str]:
    """UUIDs of the first so many GPUs; fewer where there are fewer."""
    if os.environ.get("STUDIO_DEVICE"):
        return [reading.uuid for reading in readings(count)]
    return _uuids()[:count]


@cache
def _uuids() -> list[str]:
    if not _handles():
        return []
    import pynvml

    try:
        return [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in _handles()]
    except pynvml.NVMLError:
        return []


@cache
def _handles() -> list[Any]:
    """NVML's handles of the devices that may be used. No driver, no library, no device: all mean that there is no GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        everything = ",".join(str(number) for number in range(pynvml.nvmlDeviceGetCount()))
        visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", everything).split(",")]
        return [
            pynvml.nvmlDeviceGetHandleByUUID(word) if word.startswith("GPU-") else pynvml.nvmlDeviceGetHandleByIndex(int(word))
            for word in visible
            if word not in ("", "-1")
        ]
    except Exception:
        return []


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


def foreign(count: int = 1) -> list[Process]:
    """Processes on the devices that are not ours, the largest first. A ghost that has ended already does not count."""
    seen = [process for reading in readings(count) for process in reading.processes]
    found = [p for p in seen if p.pid != os.getpid() and not is_ours(p.pid) and not _is_ghost(p.pid)]
    return sorted(found, key=lambda p: -p.memory)


def _is_ghost(pid: int) -> bool:
    """A zombie. (A pid we cannot see at all belongs to another container and counts.)"""
    return Path(f"/proc/{pid}").exists() and processes.born(pid) is None
