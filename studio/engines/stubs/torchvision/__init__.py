"""A stand-in for torchvision in a serving environment without CUDA: importable, able to do nothing.

PyPI has torchvision as a CUDA build only, which a CPU torch cannot load. vLLM 0.32 imports the vision classes of transformers
for Qwen3.5 *text* models too; they name what is here and never call it.
"""

from typing import Any, NoReturn

__version__ = "0.28.0+stub"


def absent(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("torchvision is a stand-in in this environment: images cannot be processed here, text can.")
