"""Memory exchanged with other libraries: buffers of Python, and DLPack, by way of NumPy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._arrays import from_numpy
from ._device import require_cpu
from ._tensor import Tensor
from .dtypes import dtype as Dtype

__all__ = ["from_dlpack", "frombuffer"]


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """The tensor over the memory of another library's array (`__dlpack__`), copied only if `copy` is True.

    >>> import numpy as np, tapegrad as torch
    >>> torch.from_dlpack(np.ones(2, dtype=np.float32))
    tensor([1., 1.])
    """
    require_cpu(device)
    if not hasattr(ext_tensor, "__dlpack__"):
        raise RuntimeError(f"from_dlpack takes an object with __dlpack__, not {type(ext_tensor).__name__}")
    array = np.from_dlpack(ext_tensor)
    return from_numpy(array.copy() if copy else array)


def frombuffer(
    buffer: Any, *, dtype: Dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """The tensor of one dimension over the memory of a buffer: `bytes`, `bytearray`, `array.array`.

    >>> import tapegrad as torch
    >>> torch.frombuffer(bytearray(b"abc"), dtype=torch.uint8)
    tensor([97, 98, 99], dtype=torch.uint8)
    """
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    size, length = dtype.itemsize, view.nbytes
    if length == 0 or count == 0:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    if not 0 <= offset < length:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({length} bytes) minus 1"
        )
    if count < 0:
        if (length - offset) % size:
            raise ValueError(
                f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a multiple of "
                f"element size ({size})"
            )
        count = (length - offset) // size
    elif offset + count * size > length:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than "
            f"actual buffer length ({length} bytes)"
        )
    array = np.frombuffer(buffer, dtype.numpy, count, offset)
    if view.readonly:
        warnings.warn(
            "The given buffer is not writable, and non-writable tensors are not supported. This means you can write to "
            "the underlying (supposedly non-writable) buffer using the tensor.",
            stacklevel=2,
        )
        array = np.asarray(_Writable(array))
    t = from_numpy(array)
    return t.requires_grad_(True) if requires_grad else t


class _Writable:
    """The memory of an array that is not writable, as that of one that is: its warning was given."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def to_dlpack(self: Tensor, *, stream: Any = None, max_version: Any = None, **options: Any) -> Any:
    """For the protocol `__dlpack__`: the memory as a capsule. BufferError for a tensor that requires gradients."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return self.numpy().__dlpack__(max_version=max_version, **options)


METHODS = {
    "__dlpack__": to_dlpack,
    "__dlpack_device__": lambda self: (1, 0),  # the CPU
}
