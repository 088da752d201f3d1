"""Functions that make tensors from data: numbers, sequences, NumPy arrays, other tensors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import _tensor
from ._arrays import fill_from, from_numpy
from ._default_dtype import check_dtype, get_default_dtype
from ._device import require_cpu
from ._numbers import from_numbers
from ._tensor import Tensor
from .dtypes import bool_, dtype, float64, from_numpy_dtype, int64, promote_types

__all__ = ["as_tensor", "asarray", "from_numpy", "scalar_tensor", "tensor"]


def _leaf_numbers(data: Any) -> Any:
    """Nested sequences as a NumPy array, with PyTorch's errors for ragged ones."""
    if isinstance(data, Tensor):
        return data._array()
    if isinstance(data, (list, tuple)):
        if any(isinstance(x, (Tensor, list, tuple)) for x in data):
            items = [_leaf_numbers(x) for x in data]
            sizes = [np.shape(x) for x in items]
            for i, s in enumerate(sizes):
                if s != sizes[0]:
                    if len(s) != len(sizes[0]):
                        raise (
                            TypeError("not a sequence")
                            if not s
                            else ValueError(f"expected sequence of length {len(items)} at dim 1 (got {len(s)})")
                        )
                    dim = next(k for k in range(len(s)) if s[k] != sizes[0][k])
                    raise ValueError(f"expected sequence of length {sizes[0][dim]} at dim {dim + 1} (got {s[dim]})")
                del i
            return np.stack([np.asarray(x) for x in items]) if items else np.empty((0,))
        for x in data:
            if not isinstance(x, (int, float, bool, np.generic)):
                if isinstance(x, np.ndarray):
                    return np.stack([np.asarray(y) for y in data])
                raise TypeError(f"new(): invalid data type '{type(x).__name__}'")
        if any(isinstance(x, np.generic) for x in data):
            return _with_numpy_numbers(data)
        if data and all(isinstance(x, (bool, np.bool_)) for x in data):
            return np.array(data, dtype=np.bool_)
        if any(isinstance(x, (float, np.floating)) for x in data) or not data:
            return np.array(data, dtype=np.float64).view(_PythonFloats)
        try:
            return np.array(data, dtype=np.int64)
        except OverflowError:
            raise ValueError("Overflow when unpacking long long") from None
    return data


def _with_numpy_numbers(data: Any) -> Any:
    """A flat list with NumPy's numbers among its own, in the common type of all, as PyTorch finds it."""
    python: dict[type, dtype] = {bool: bool_, int: int64, float: get_default_dtype()}
    kinds = {type(x) for x in data}
    try:
        found = [from_numpy_dtype(k) if issubclass(k, np.generic) else python[k] for k in kinds]
    except (TypeError, KeyError):  # a type that tensors do not have here: the next larger one
        return np.array(data, dtype=np.result_type(*data, np.int64))
    return np.array(data, dtype=functools.reduce(promote_types, found).numpy)


class _PythonFloats(np.ndarray):
    """Marks numbers that came from Python floats: they take the default floating type."""


def _has_python_floats(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(_has_python_floats(x) for x in data) if data else True
    return isinstance(data, float) and not isinstance(data, np.generic)


def _check_range(numbers: Any, d: dtype) -> None:
    """RuntimeError for Python numbers that an integral type does not hold; uint8 takes -255 too, as in PyTorch."""
    if d.category == 0 or numbers.size == 0 or numbers.dtype.kind not in "if":
        return
    if numbers.dtype.kind == "i" and d.itemsize == 8:
        return
    low, high = float(numbers.min()), float(numbers.max())
    limits: Any = np.iinfo(d.numpy)
    smallest = -float(limits.max) if limits.min == 0 else float(limits.min)
    fits = smallest <= low and (high <= limits.max if limits.max < 2**53 else high < 2.0**63)  # no NaN
    if limits.min == 0 and numbers.dtype.kind == "f" and fits:
        fits = not bool(((numbers < 0) & (numbers != np.trunc(numbers))).any())
    if not fits:
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")


def tensor(
    data: Any,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested sequences of numbers, an array, a tensor.

    Floats become the default floating type, integers int64, arrays keep their type. TypeError for
    data that are not numbers, ValueError for ragged sequences.

    >>> import tapegrad as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    require_cpu(device)
    kind = type(data)
    if kind is list or kind is tuple or kind is float or kind is int or kind is bool:
        made = from_numbers(data, -1 if dtype is None else check_dtype("tensor", dtype).index)
        if made is not None:
            return made.requires_grad_(True) if requires_grad else made
    if isinstance(data, Tensor):
        if dtype is None:
            dtype = data.dtype
        array = data._array()
    elif isinstance(data, np.ndarray):
        array = data
    elif isinstance(data, (bool, np.bool_)):
        array = np.array(data, dtype=np.bool_)
    elif isinstance(data, np.generic):
        array = np.asarray(data)
        if isinstance(data, float) and dtype is None:
            dtype = float64
    elif isinstance(data, float):
        array = np.array(data)
        dtype = dtype or get_default_dtype()
    elif isinstance(data, int):
        try:
            array = np.array(data, dtype=np.int64)
        except OverflowError:
            raise ValueError("Overflow when unpacking long long") from None
    elif isinstance(data, (list, tuple)):
        array = np.asarray(_leaf_numbers(data))
        if dtype is None and array.dtype == np.float64 and _has_python_floats(data):
            dtype = get_default_dtype()
    elif hasattr(data, "__array__"):
        array = np.asarray(data)
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, bytes, dict, set)):
        return tensor(list(data), dtype=dtype, requires_grad=requires_grad)
    elif dtype is not None:
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    else:
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
    d = check_dtype("tensor", dtype, from_numpy_dtype(array.dtype) if dtype is None else None)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"can't convert np.ndarray of type {array.dtype}.")
    if dtype is not None and not dtype.is_floating_point and isinstance(data, (int, float, list, tuple)):
        _check_range(array, dtype)
    t = _tensor.empty(array.shape, d.index)
    if t.numel():
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite there
            fill_from(t, array)
    return t.requires_grad_(True) if requires_grad else t


def scalar_tensor(s: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A number as a tensor without dimensions, in the default floating type unless told otherwise."""
    return tensor(s, dtype=dtype or get_default_dtype(), device=device, requires_grad=requires_grad)


def as_tensor(data: Any, dtype: dtype | None = None, device: Any = None) -> Tensor:
    """`data` as a tensor, without a copy where it is a tensor or an array of that dtype already.

    >>> import tapegrad as torch
    >>> t = torch.ones(2)
    >>> torch.as_tensor(t) is t
    True
    """
    require_cpu(device)
    if isinstance(data, Tensor):
        return data if dtype is None else _tensor.cast(data, check_dtype("as_tensor", dtype).index)
    if isinstance(data, np.ndarray) and all(s >= 0 for s in data.strides):
        t = from_numpy(data)
        return t if dtype is None else _tensor.cast(t, check_dtype("as_tensor", dtype).index)
    return tensor(data, dtype=dtype)


def asarray(
    obj: Any, *, dtype: dtype | None = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """`obj` as a tensor, sharing memory unless `copy` is True."""
    t = tensor(obj, dtype=dtype, device=device) if copy else as_tensor(obj, dtype, device)
    return t.requires_grad_(True) if requires_grad else t
