"""tapegrad: PyTorch's training loop on a flat tape of native kernels.

    import tapegrad as torch

Names, semantics and random numbers are PyTorch's; see README for what is there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._interrupts import held_back

with held_back():  # the registry cannot be filled twice, nor half
    from . import api as _api
    from . import autograd, return_types
    from .api import *  # noqa: F403

__version__ = "0.1.0"

_LAZY = ("cuda", "examples", "io", "native", "nn", "optim", "replay", "testing", "utils")
_FROM = {"load": "io", "save": "io", "compile": "replay"}

__all__ = [*_api.__all__, "__version__", "autograd", "compile", "load", "nn", "optim", "return_types", "save", "utils"]

if TYPE_CHECKING:
    from . import cuda as cuda
    from . import nn as nn
    from . import optim as optim
    from . import utils as utils
    from .io import load, save
    from .replay import compile
else:

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            with held_back():
                return importlib.import_module(f"{__name__}.{name}")
        if name in _FROM:
            return getattr(__getattr__(_FROM[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    own = (name for name in globals() if not name.startswith("_") or name.startswith("__"))
    hidden = {"importlib", "held_back", "TYPE_CHECKING", "Any", "annotations", "api"}
    return sorted({*own, *_LAZY, *_FROM} - hidden)
