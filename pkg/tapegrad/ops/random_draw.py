"""A draw of random numbers as a value, and the argument checks that all such calls share."""

from __future__ import annotations

import functools
import math
import operator
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..dtypes import bool_, float32, float64, int32, int64, uint8
from ..dtypes import dtype as Dtype

# How PyTorch's messages call the types.
CLASS_NAMES = {
    float32: "Float",
    float64: "Double",
    int64: "Long",
    int32: "Int",
    uint8: "Byte",
    bool_: "Bool",
}
C_NAMES = {
    float32: "float",
    float64: "double",
    int64: "long",
    int32: "int",
    uint8: "unsigned char",
    bool_: "bool",
}
INTEGER_LIMITS = {
    int64: (-(2**63), 2**63 - 1),
    int32: (-(2**31), 2**31 - 1),
    uint8: (0, 255),
    bool_: (0, 1),
}
DIGITS = {float32: 24, float64: 53}  # of the significand, the hidden one included


@functools.lru_cache(maxsize=256, typed=True)
def _packed(*params: float) -> bytes:
    wrapped = [p if isinstance(p, float) else p % 2**64 for p in params]
    return struct.pack("<" + "".join("d" if isinstance(p, float) else "Q" for p in wrapped), *wrapped)


class Draw(NamedTuple):
    """One call of a random kernel: `ops/random.py` says how to make it."""

    kernel: str  # a key of random.RANDOM_KERNELS
    shape: tuple[int, ...]
    dtype: Dtype  # of the result
    params: tuple[float | int, ...] = ()

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def kernel_dtype(self) -> Dtype:
        """What to bind T to: the result's type, bytes for bool (they hold the same 0 and 1)."""
        return uint8 if self.dtype is bool_ else self.dtype

    @property
    def packed(self) -> bytes:
        """The parameters as the bytes of 64-bit words: floats by their bits, unsigned numbers wrapped."""
        for p in self.params:
            if p == 0 and str(p) == "-0.0":  # equal to 0.0, with other bits
                return _packed.__wrapped__(*self.params)
        return _packed(*self.params)

    @property
    def words(self) -> tuple[int, ...]:
        """The same as integers."""
        return struct.unpack(f"<{len(self.params)}q", self.packed)


def checked_shape(name: str, size: Sequence[Any]) -> tuple[int, ...]:
    """The shape in f(2, 3), f((2, 3)) or f([2, 3]); TypeError and RuntimeError as PyTorch's."""
    if len(size) == 1 and type(size[0]) is not int and isinstance(size[0], Sequence):
        size = size[0]
    shape = []
    for i, n in enumerate(size):
        if type(n) is int:
            shape.append(n)
            continue
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(
                f"{name}(): argument 'size' (position {i + 1}) must be tuple of ints, not {type(n).__name__}"
            )
        shape.append(operator.index(n))
    for n in shape:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {shape}")
    return tuple(shape)


def checked_int64(name: str, argument: str, position: int, value: Any) -> int:
    """An argument as an int64; TypeError if it is no integer, ValueError if it does not fit."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be int, not {type(value).__name__}"
        )
    value = operator.index(value)
    if not -(2**63) <= value < 2**63:
        raise ValueError("Overflow when unpacking long long")
    return value
