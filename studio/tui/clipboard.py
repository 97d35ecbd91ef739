"""Text to the clipboard of a terminal that may be far away: by tmux, by OSC 52, and always to a file whose path is said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from studio.files import write_atomic


def to_file_and_tmux(text: str, file: Path) -> bool:
    """Write ``file`` and hand the text to tmux's buffer (and by it to the outer terminal); whether tmux took it. Blocks up to 2 s."""
    write_atomic(file, text)
    if not os.environ.get("TMUX"):
        return False
    try:
        done = subprocess.run(["tmux", "load-buffer", "-w", "-"], input=text.encode("utf-8", "replace"), capture_output=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def copied(what: str, tmux: bool, file: Path) -> str:
    """The sentence about it."""
    return f"{what}: copied {'by tmux' if tmux else 'to the terminal'}, and written to {file}."
