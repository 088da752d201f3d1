"""The limits of element types: `finfo` and `iinfo`."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes
from ._default_dtype import get_default_dtype
from .dtypes import dtype, float32, float64

__all__ = ["finfo", "iinfo"]


class _Limits:
    __slots__ = ("bits", "dtype", "max", "min")

    bits: int
    dtype: str
    max: Any
    min: Any

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((type(self), self.dtype))


class finfo(_Limits):
    """What floating point numbers of a dtype hold: `bits`, `eps`, `max`, `min`, `smallest_normal`, `resolution`.

    >>> import tapegrad as torch
    >>> torch.finfo(torch.float32).eps
    1.1920928955078125e-07
    """

    __slots__ = ("eps", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: dtype | None = None) -> None:
        if type is None:
            type = get_default_dtype()
        if not isinstance(type, dtype):
            kind = type.__class__.__name__
            raise TypeError(f"finfo(): argument 'type' (position 1) must be torch.dtype, not {kind}")
        if type not in (float32, float64):
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
            )
        limits: Any = np.finfo(type.numpy)
        self.bits, self.dtype = 8 * type.itemsize, type.name
        self.max, self.min, self.eps = float(limits.max), float(limits.min), float(limits.eps)
        self.smallest_normal = self.tiny = float(limits.tiny)
        self.resolution = 10.0 ** -int(limits.precision)

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{name}={getattr(self, name):g}' for name in names)}, dtype={self.dtype})"


class iinfo(_Limits):
    """What integers of a dtype hold: `bits`, `max`, `min`.

    >>> import tapegrad as torch
    >>> torch.iinfo(torch.uint8).max
    255
    """

    __slots__ = ()

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype):
            kind = type.__class__.__name__
            raise TypeError(f"iinfo(): argument 'type' (position 1) must be torch.dtype, not {kind}")
        if type is dtypes.bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if type.is_floating_point:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        limits: Any = np.iinfo(type.numpy)
        self.bits, self.dtype = 8 * type.itemsize, type.name
        self.max, self.min = int(limits.max), int(limits.min)

    def __repr__(self) -> str:
        return f"iinfo(min={float(self.min):g}, max={float(self.max):g}, dtype={self.dtype})"
