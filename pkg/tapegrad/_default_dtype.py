"""The type of new floating point tensors, and what dtype arguments mean."""

from __future__ import annotations

from typing import Any

from . import _tensor
from .dtypes import DTYPES, bool_, dtype, float32, float64, int64

__all__ = ["check_dtype", "get_default_dtype", "set_default_dtype"]


def get_default_dtype() -> dtype:
    """The type that floating point numbers get: float32 unless `set_default_dtype` changed it."""
    return DTYPES[_tensor.get_default_dt()]


def set_default_dtype(d: dtype) -> None:
    """Sets the type of new floating point tensors; TypeError unless it is float32 or float64."""
    if d is not float32 and d is not float64:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _tensor.set_hook("default_dt", d.index)


def check_dtype(name: str, d: Any, default: dtype | None = None) -> dtype:
    """A dtype argument, or the default; TypeError for anything else."""
    if d is None:
        return default if default is not None else get_default_dtype()
    if not isinstance(d, dtype):
        if d is float:
            return get_default_dtype()
        if d is int:
            return int64
        if d is bool:
            return bool_
        raise TypeError(f"{name}(): argument 'dtype' must be torch.dtype, not {type(d).__name__}")
    return d
