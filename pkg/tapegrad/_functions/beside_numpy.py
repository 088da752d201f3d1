"""What NumPy and tensors do together: comparisons with arrays, results of NumPy's functions, NumPy's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from .._from_data import tensor
from .._tensor import Tensor, binary
from ..ops.registry import BY_NAME

_EQ, _NE = 2, 3  # Py_EQ and Py_NE


def compare_foreign(self: Tensor, other: Any, which: int) -> Any:
    """`self == array` and `self != array`, element by element; NotImplemented for what has no order with a tensor.

    Differs from PyTorch for `!=`, which answers a single True there.
    """
    if which not in (_EQ, _NE) or not isinstance(other, np.ndarray) or other.dtype.kind not in "biuf":
        return NotImplemented
    if other.dtype.kind in "iu" and other.dtype.itemsize < 8:
        other = other.astype(np.int64)
    elif other.dtype == np.float16:
        other = other.astype(np.float32)
    return binary(BY_NAME["eq" if which == _EQ else "ne"].id, self, tensor(other))


def array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
    """What NumPy's functions return when a tensor is among their arguments; bools become uint8, as in PyTorch."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    wrapped: Tensor = _arrays.from_numpy(np.asarray(array))
    return wrapped


def plain(x: Any) -> Any:
    """A NumPy scalar as the Python number that it counts as; anything else as it is."""
    if not isinstance(x, np.generic):
        return x
    return float(x) if isinstance(x, np.bool_) else x.item()
