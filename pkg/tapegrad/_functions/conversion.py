"""Conversions, copies and fillings of whole tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _tensor
from .._device import device, require_cpu
from .._from_data import tensor
from .._tensor import Tensor
from .._tensor_types import TensorType
from ..dtypes import bool_, dtype, float32, float64, int32, int64, uint8
from .base import named, tensor_argument


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype (`to(dtype)`, `to(other)`); the device can only be the CPU.

    Returns the tensor itself if nothing changes, unless `copy=True`.

    >>> import tapegrad as torch
    >>> torch.tensor([1.7]).to(torch.int64)
    tensor([1])
    """
    target: dtype | None = kwargs.pop("dtype", None)
    where_to = kwargs.pop("device", None)
    copy = kwargs.pop("copy", False)
    kwargs.pop("non_blocking", None)
    kwargs.pop("memory_format", None)
    if kwargs:
        raise TypeError(f"to() received an invalid keyword argument '{next(iter(kwargs))}'")
    for a in args:
        if isinstance(a, dtype):
            target = a
        elif isinstance(a, Tensor):
            target = a.dtype
        elif isinstance(a, (str, device)):
            where_to = a
        elif isinstance(a, bool):
            continue
        elif a is not None:
            raise TypeError(f"to() received an invalid argument: {type(a).__name__}")
    require_cpu(where_to)
    result = self if target is None else _tensor.cast(self, target.index)
    return clone(result) if copy and result is self else result


def caster(t: dtype, name: str) -> Callable[..., Any]:
    index = t.index

    def convert(self: Tensor) -> Tensor:
        return _tensor.cast(self, index)

    return named(convert, name, f"Converted to {t.name}; the tensor itself if it has that type.")


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with memory of its own; gradients flow through to the original.

    >>> import tapegrad as torch
    >>> x = torch.ones(2)
    >>> y = x.clone(); y[0] = 5; x
    tensor([1., 1.])
    """
    tensor_argument("clone", input)
    return _tensor.clone(input)


def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its elements lie in row-major order, else a copy in that order."""
    return self if self.is_contiguous() else _tensor.clone(self)


def type_(self: Tensor, dtype: Any = None) -> Any:
    """The name of the tensor's class without an argument, a conversion with one."""
    if dtype is None:
        kind = {0: "Float", 1: "Double", 2: "Long", 3: "Int", 4: "Byte", 5: "Bool"}[self._dt]
        return f"torch.{kind}Tensor"
    if isinstance(dtype, str):
        names = {"Float": float32, "Double": float64, "Long": int64, "Int": int32, "Byte": uint8, "Bool": bool_}
        key = dtype.rpartition(".")[2].removesuffix("Tensor")
        if key not in names:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = names[key]
    if isinstance(dtype, TensorType):
        dtype = dtype.dtype
    return to(self, dtype)


def fill_(self: Tensor, value: Any) -> Tensor:
    """Sets every element to one number."""
    if isinstance(value, Tensor) and value.ndim > 0:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
    return _tensor.copy_(self, value)


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """In place: the elements of another tensor (or one number), converted and broadcast."""
    if not isinstance(src, Tensor):
        if not isinstance(src, (bool, int, float)):
            raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
        src = tensor(src)
    copied: Tensor = _tensor.copy_(self, src)
    return copied


def zero_(self: Tensor) -> Tensor:
    """Sets every element to 0."""
    return _tensor.copy_(self, 0)


def no_cuda(self: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    raise RuntimeError("tapegrad has no cuda device in this build; leave the tensor on the CPU")
