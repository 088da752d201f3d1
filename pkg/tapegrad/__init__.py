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

_LAZY = (
    *("accelerator", "amp", "backends", "compiler", "cuda", "distributed", "examples", "io", "mps", "native", "nn"),
    *("optim", "random", "replay", "testing", "utils", "version", "xpu"),
)
_FROM = {"load": "io", "save": "io", "compile": "replay", "autocast": "amp", "is_autocast_enabled": "amp.autocast_mode"}

__all__ = [*_api.__all__, "__version__", "autograd", "compile", "load", "nn", "optim", "return_types", "save", "utils"]

if TYPE_CHECKING:
    from . import cuda as cuda
    from . import nn as nn
    from . import optim as optim
    from . import utils as utils
    from .io import load, save
    from .replay import compile
else:
    from ._missing import names_missing

    _not_there = names_missing(__name__)

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            with held_back():
                return importlib.import_module(f"{__name__}.{name}")
        if name in _FROM:
            with held_back():
                return getattr(importlib.import_module(f"{__name__}.{_FROM[name]}"), name)
        return _not_there(name)


def __dir__() -> list[str]:
    own = (name for name in globals() if not name.startswith("_") or name.startswith("__"))
    hidden = {"importlib", "held_back", "TYPE_CHECKING", "Any", "annotations", "api"}
    return sorted({*own, *_LAZY, *_FROM} - hidden)
