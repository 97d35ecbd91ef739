"""Files and texts in the person's own editor, the app standing back meanwhile."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from studio.errors import StudioError


def edit_file(app: App[Any], path: Path | str) -> None:
    """Open a file in ``$VISUAL``, ``$EDITOR`` or vi and wait until it is left. StudioError where that cannot be done."""
    argv = _editor()
    failed = ""
    try:
        with app.suspend():
            # Nothing may be raised in here: the app would not take the terminal back.
            try:
                subprocess.run([*argv, str(path)], check=False)
            except OSError as error:
                failed = error.strerror or type(error).__name__
    except SuspendNotSupported:
        failed = "this is not a terminal"
    if failed:
        raise StudioError(f"The editor could not be opened here ({failed}); edit {path} outside.")


def edit_text(app: App[Any], text: str) -> str:
    """The text as it is after editing."""
    return _through_file(text, lambda path: edit_file(app, path))


def edited_text(text: str) -> str:
    """The same from the command line. StudioError without a terminal or an editor, or if the editor failed."""
    if not sys.stdin.isatty():
        raise StudioError("There is no terminal to open an editor in; give the text with --text.")

    def edit(path: Path) -> None:
        argv = _editor()
        if subprocess.run([*argv, str(path)], check=False).returncode:
            raise StudioError(f"{argv[0]} ended with an error; nothing was changed.")

    return _through_file(text, edit)


def _editor() -> list[str]:
    argv = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    if shutil.which(argv[0]) is None:
        raise StudioError(f"The editor {argv[0]} is not installed; set EDITOR to one that is.")
    return argv


def _through_file(text: str, edit: Callable[[Path], None]) -> str:
    """``text`` after ``edit`` had it in a file that only its owner can read; the file is removed after."""
    handle, name = tempfile.mkstemp(prefix="studio-", suffix=".txt")
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        edit(path)
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
    finally:
        path.unlink(missing_ok=True)
