"""What lies below a folder: plain files, sorted; nothing hidden, and nothing that a link leads to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from studio.errors import StudioError

Refuse = Callable[[Path, str, str], None]
"""Gets a path that is not read, the reason in a word or two, and the sentence."""

LINK = ("a link", "it is a link, which is not followed below a folder; name the file itself")


def silent(path: Path, reason: str, sentence: str) -> None:
    """Nobody wants to know."""


def readable(path: Path) -> str:
    """A path as it can be said and stored: names on disk need not be Unicode."""
    return str(path).encode("utf-8", "replace").decode()


def below(folder: Path, refuse: Refuse = silent) -> Iterator[Path]:
    """Every file below a folder. Links and folders that cannot be read are refused; what is hidden is left out."""

    def closed(error: OSError) -> None:
        refuse(Path(str(error.filename)), "cannot be opened", f"the folder cannot be read ({error.strerror}); check its permissions")

    for place, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders]:
            if (link := Path(place) / name).is_symlink():
                folders.remove(name)
                refuse(link, *LINK)
        for name in sorted(names):
            path = Path(place) / name
            if name.startswith("."):
                continue
            if path.is_symlink():
                refuse(path, *LINK)
            elif path.is_file():
                yield path
            else:
                refuse(path, "no file", "it is no plain file")


def plain_files(paths: list[Path], refuse: Refuse = silent) -> list[Path]:
    """The files named, and all files below the folders named. StudioError if one does not exist."""
    found: list[Path] = []
    for path in paths:
        path = path.expanduser()
        if path.is_dir():
            found += sorted(below(path, refuse))
        elif path.is_file():
            found.append(path)
        else:
            raise StudioError(f"{path} does not exist; nothing was added.")
    return found
