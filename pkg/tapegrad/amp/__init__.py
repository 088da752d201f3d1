"""Mixed precision as PyTorch's programs switch it on: off where there is no GPU, refused where it would compute.

>>> import tapegrad as torch
>>> with torch.autocast("cpu", enabled=False):
...     torch.ones(2) + 1
tensor([2., 2.])
"""

from typing import TYPE_CHECKING

from .._missing import names_missing
from .autocast_mode import autocast, is_autocast_available
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "is_autocast_available"]

if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
