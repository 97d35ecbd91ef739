"""What belongs to the machine and not to one persona: the pocket base, the serving environment, locks, known personas."""

from __future__ import annotations

import os
from pathlib import Path

from studio.files import append_line, read_lines


def home() -> Path:
    """The studio's own folder: ``$STUDIO_HOME``, else ``$XDG_DATA_HOME/persona-studio``, else ``~/.local/share/persona-studio``."""
    if chosen := os.environ.get("STUDIO_HOME"):
        return Path(chosen).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "persona-studio"


def remember_persona(root: Path) -> None:
    """Note that a persona lives at ``root``, for ``studio personas``."""
    if root not in known_personas():
        append_line(home() / "personas.jsonl", {"path": str(root)})


def known_personas() -> list[Path]:
    """Folders of all personas opened on this machine that still exist, the newest last."""
    paths = dict.fromkeys(Path(row["path"]) for _, row in read_lines(home() / "personas.jsonl"))
    return [path for path in paths if (path / "persona.toml").is_file()]


def samples() -> Path:
    """The folder of the personas that come with the studio."""
    packaged = Path(__file__).parent / "_personas"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "personas"


def _processor() -> str:
    """What the kernel says of the processor; empty where it says nothing."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def available_memory() -> int:
    """Bytes of main memory that a new process could have; 0 where the kernel does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)


def bf16_instructions() -> bool:
    """Whether the processor multiplies bf16 by itself. Where it does not, float32 is several times faster."""
    said = _processor()
    return "avx512_bf16" in said or "amx_bf16" in said


def avx512() -> bool:
    """Whether the processor has AVX-512, without which vLLM for CPU has no way to compute with 4-bit weights (0.32)."""
    return "avx512f" in _processor()
