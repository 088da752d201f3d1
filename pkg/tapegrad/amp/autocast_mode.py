"""`autocast`: a context and a decorator that changes nothing, or refuses."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from .._device import device
from ..dtypes import dtype as Dtype

__all__ = ["autocast", "is_autocast_available", "is_autocast_enabled"]


class autocast:
    """Half precision for what runs inside: there is none here.

    For a GPU it warns and is off, as in PyTorch without one. On the CPU PyTorch would compute in bfloat16:
    RuntimeError, unless `enabled=False`.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device(device_type).type
        if enabled and self.device == "cuda":
            warnings.warn("CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=2)
        elif enabled and isinstance(dtype, Dtype):
            warnings.warn(
                f"In {self.device.upper()} autocast, but the target dtype is not supported. Disabling autocast.",
                stacklevel=2,
            )
        elif enabled:
            raise RuntimeError(
                f"autocast for {self.device} computes in half precision, which tapegrad does not have; "
                "use autocast(..., enabled=False)"
            )
        self.fast_dtype = dtype

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` could be on for this type of device: for none."""
    device(device_type)
    return False


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether `autocast` is on: never."""
    return False
