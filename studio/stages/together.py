"""Several processes that are one training: each of N cards has one, all run the same stage, the first of them speaks for all.

What one process decides by itself (to stop, because it heard SIGTERM; to save) all must decide in the same step, or the others wait for it
for ever. Such words go by a group of their own over the loopback, so that no card is made to wait for them.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

FOREVER = timedelta(days=30)
"""How long one process waits for another: while the first waits for room on the disk the rest have nothing to do. A process that died is
noticed by its launcher, which ends the others."""

_group: Any = None


def rank() -> int:
    """Which of the processes this one is; 0 speaks."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many processes this training has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def speaks() -> bool:
    return rank() == 0


def _ready() -> Any:
    import torch.distributed as dist

    global _group
    if _group is None:
        _group = dist.new_group(backend="gloo", timeout=FOREVER)
    return _group


def wait() -> None:
    """Return when every process has come here."""
    if processes() > 1:
        import torch.distributed as dist

        dist.barrier(group=_ready())


def any_of(flag: bool) -> bool:
    """Whether it is so in any of the processes."""
    return flag if processes() == 1 else bool(summed([float(flag)])[0])


def summed(values: list[float]) -> list[float]:
    """The sums over all processes."""
    if processes() == 1:
        return values
    import torch
    import torch.distributed as dist

    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor, group=_ready())
    return [float(value) for value in tensor.tolist()]


def leave() -> None:
    """The end of the last process: groups are closed in order, so that none takes the others for dead."""
    if processes() > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()
