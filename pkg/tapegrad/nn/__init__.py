"""Modules, losses, initialisers and their functions, under the names of torch.nn.

>>> import tapegrad as torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
>>> sum(p.numel() for p in model.parameters())
58
"""

from typing import TYPE_CHECKING

from .._missing import names_missing
from . import functional, init, modules, utils
from .modules import *  # noqa: F403
from .modules import __all__ as _modules_all
from .parameter import Parameter

__all__ = ["Parameter", "functional", "init", "modules", "utils", *_modules_all]

if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
