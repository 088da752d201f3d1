"""`torch.cuda.amp`: the old names of `torch.amp` for GPUs, all of them off."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from .. import amp
from .._missing import names_missing

__all__ = ["GradScaler", "autocast"]

_OLD = "`torch.cuda.amp.{0}(args...)` is deprecated. Please use `torch.amp.{0}('cuda', args...)` instead."


class autocast(amp.autocast):
    """`torch.amp.autocast("cuda")`, which warns and is off."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        warnings.warn(_OLD.format("autocast"), FutureWarning, stacklevel=2)
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """`torch.amp.GradScaler("cuda")`, which warns and is off."""

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        warnings.warn(_OLD.format("GradScaler"), FutureWarning, stacklevel=2)
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
