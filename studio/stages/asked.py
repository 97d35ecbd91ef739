"""A process that is asked one thing of a model, answers with a line of JSON, and is gone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn


def once(job: Callable[[], dict[str, Any]]) -> NoReturn:
    """Print what the job returns, or ``{"error": sentence}`` for whatever it raises; then leave without the libraries' clean-up."""
    from studio.stages.__main__ import prepare_process
    from studio.stages.sentences import sentence

    prepare_process()
    try:
        found = job()
    except Exception as error:  # the loaders raise whatever they stumble over
        found = {"error": sentence(error)}
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)
