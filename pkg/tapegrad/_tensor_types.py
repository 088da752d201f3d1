"""`torch.FloatTensor` and its kin: one type per dtype, to check with `isinstance` and to make tensors of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._default_dtype import set_default_dtype
from ._factories import empty
from ._from_data import tensor
from ._size import Size
from ._tensor import Tensor
from .dtypes import bool_, dtype, float32, float64, int32, int64, uint8


class TensorType(type):
    """The type of these types. No tensor is an instance by its class: the dtype decides."""

    dtype: dtype
    is_cuda = False
    is_sparse = False

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"

    def __call__(cls, *args: Any) -> Tensor:
        """Sizes or data to a tensor of this type; a tensor must have it already and shares its memory."""
        if len(args) != 1:
            return empty(*args, dtype=cls.dtype) if args else empty(0, dtype=cls.dtype)
        source = args[0]
        if isinstance(source, Tensor):
            if source.dtype is not cls.dtype:
                raise TypeError(f"expected a tensor of {cls.dtype} (got {source.dtype}); use .to({cls.dtype})")
            return source.view(source.shape)
        if isinstance(source, (list, tuple, np.ndarray)) and not isinstance(source, Size):
            return tensor(source, dtype=cls.dtype)
        return empty(source, dtype=cls.dtype)


def _type_of(t: dtype, name: str) -> Any:
    doc = f"Tensors of {t.name}. `torch.tensor(..., dtype=)` makes them in plainer words."
    return TensorType(name, (), {"dtype": t, "__doc__": doc, "__module__": "tapegrad"})


FloatTensor = _type_of(float32, "FloatTensor")
DoubleTensor = _type_of(float64, "DoubleTensor")
LongTensor = _type_of(int64, "LongTensor")
IntTensor = _type_of(int32, "IntTensor")
ByteTensor = _type_of(uint8, "ByteTensor")
BoolTensor = _type_of(bool_, "BoolTensor")


def set_default_tensor_type(t: Any) -> None:
    """Sets the default dtype by one of these types or its name; `set_default_dtype` says the same.

    >>> import tapegrad as torch
    >>> torch.set_default_tensor_type(torch.FloatTensor)
    """
    if isinstance(t, str):
        names = {f"torch.{kind.__name__}": kind for kind in (FloatTensor, DoubleTensor, LongTensor, IntTensor)}
        if t not in names:
            raise TypeError(f"invalid type object: {t!r} is no name of a tensor type")
        t = names[t]
    if not isinstance(t, TensorType):
        raise TypeError("invalid type object")
    set_default_dtype(t.dtype)
