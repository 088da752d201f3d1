"""tapegrad: PyTorch's training loop on a flat tape of native kernels.

    import tapegrad as torch

Names, semantics and random numbers are PyTorch's; see README for what is there.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import api as _api
from . import autograd
from .api import *  # noqa: F403

__version__ = "0.1.0"

for _name in dir(_api):
    if not _name.startswith("_"):
        globals()[_name] = getattr(_api, _name)

_LAZY = ("nn", "optim", "utils", "native", "cuda", "examples", "io", "testing")
_FROM_IO = ("save", "load")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _FROM_IO:
        return getattr(importlib.import_module(f"{__name__}.io"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_FROM_IO})


__all__ = [*(n for n in dir(_api) if not n.startswith("_")), "autograd"]
