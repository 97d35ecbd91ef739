"""Every function there is, none of which works."""

from typing import Any

from torchvision import absent
from torchvision.transforms import InterpolationMode  # noqa: F401


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return absent
