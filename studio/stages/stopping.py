"""SIGTERM as a wish: before training it ends the process at once, in training it is heard at the next step."""

from __future__ import annotations

import signal
from typing import Any

STOPPED = 143
"""Exit code of a stage that was asked to stop: 128 + SIGTERM, as a shell would say it."""


LOST_PEER = 75
"""Exit code of one of several processes that ended because another one had."""


class Stopped(BaseException):
    """The stage was asked to stop and has nothing to save, or has saved it."""


class StopWish:
    """Whether SIGTERM has come. ``patient`` while a training loop looks at ``wanted`` itself; else the signal raises ``Stopped``."""

    def __init__(self) -> None:
        self.wanted = False
        self.patient = False

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._heard)

    def _heard(self, *_: Any) -> None:
        self.wanted = True
        if not self.patient:
            raise Stopped
