"""What a process of ours need not import."""

from __future__ import annotations

import sys
from typing import Any


def without_bitsandbytes() -> None:
    """Keep PEFT (0.21) and transformers from importing bitsandbytes (0.50.2), which brings torch's compiler along: 2 seconds and 50 MB.

    Only for a process that never has weights or an optimizer of 4 or 8 bits.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("bitsandbytes", None)
