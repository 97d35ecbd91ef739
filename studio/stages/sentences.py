"""What went wrong, in one sentence for people. The traceback belongs into the log."""

from __future__ import annotations

import errno

from studio.errors import StudioError
from studio.text import one_line

NO_ROOM = ("inline_container", "no space left on device", "os error 28", "disk quota exceeded")
"""How torch's zip writer, safetensors and the system say that the disk is full (torch's says nothing of space at all)."""


def sentence(error: BaseException) -> str:
    """One sentence: what happened and what to do."""
    if isinstance(error, StudioError):
        return str(error)
    if is_no_room(error):
        return "The disk is full, so the run could not save its work; free some space and retry, it goes on from its last saved state."
    if is_out_of_memory(error):
        return "The memory ran out; lower micro_batch or length, switch gradient_checkpointing on, or take a smaller base."
    first = one_line((str(error).strip() or "no message").splitlines()[0])[:300]
    return f"The run stopped unexpectedly ({type(error).__name__}: {first}); the whole story is in log.txt."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the card's or the machine's memory ran out, as torch, CUDA and Python say it."""
    text = str(error).lower()
    return (
        type(error).__name__ in ("OutOfMemoryError", "MemoryError")
        or any(sign in text for sign in ("out of memory", "can't allocate memory", "cublas_status_alloc_failed"))
    ) and not isinstance(error, StudioError)


LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "connection refused", "remote process exited")
"""How torch's process groups say that another process of the training is gone."""


def is_lost_peer(error: BaseException) -> bool:
    """Whether one of several processes fails only because another one has ended."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"DistError", "DistNetworkError", "DistBackendError", "DistStoreError"}) or (
        isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in LOST)
    )


def is_no_room(error: BaseException) -> bool:
    """Whether something could not be written because the disk is full."""
    if isinstance(error, StudioError):
        return error.__cause__ is not None and is_no_room(error.__cause__)
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or any(sign in str(error).lower() for sign in NO_ROOM)
