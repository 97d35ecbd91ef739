"""When the studio itself fails: one sentence on screen, the whole story in a file, and no values of variables in either."""

from __future__ import annotations

import os
import time
import traceback

from studio.home import home
from studio.text import one_line


def record(error: BaseException) -> str:
    """Write the traceback (without locals, which may hold keys) to the crash log. Returns the sentence for people."""
    path = home() / "crash.log"
    what = f"Something went wrong inside the studio ({type(error).__name__}: {one_line(str(error))[:200]})"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"\n{time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")
            traceback.print_exception(error, file=file)
    except OSError as failed:
        return f"{what}; its story could not be written to {path} ({failed.strerror})."
    return f"{what}; the whole story is in {path}."
