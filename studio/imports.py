"""How a process of ours comes to the model libraries soon."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def importing() -> Iterator[None]:
    """Import the model libraries without the garbage collector, which would go through all they define again and again: 7 seconds instead of 8.

    What is there at the end stays: later collections pass it by.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def without_bitsandbytes() -> None:
    """Keep PEFT (0.21) and transformers from importing bitsandbytes (0.50.2), which brings torch's compiler along: 2 seconds and 50 MB.

    Only for a process that never has weights or an optimizer of 4 or 8 bits.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("bitsandbytes", None)
