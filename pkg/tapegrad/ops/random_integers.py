"""Random integers: how `random_`, `randint` and `randperm` turn their bounds into a draw."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import bool_, dtype, float32, float64, int32, int64, uint8
from .random_draw import C_NAMES, CLASS_NAMES, DIGITS, INTEGER_LIMITS, Draw, checked_int64, checked_shape

__all__ = ["plan_randint", "plan_random_", "plan_randperm"]


def _cast(value: int, dtype: dtype) -> int:
    """An int64 through a floating type and back, as the C cast does on x86 (2**63 overflows)."""
    result = int(np.int64(value).astype(dtype.numpy))
    return -(2**63) if result >= 2**63 else result


def _representable(low: int, high: int, dtype: dtype) -> tuple[int, int]:
    """[low, high) shrunk to bounds that survive the cast to a floating type."""
    digits = DIGITS[dtype]
    following = min(low + 1, 2**63 - 1)
    if _cast(following, dtype) < low:
        low = _cast(following, dtype) + (1 << max(abs(following).bit_length() - digits, 0))
    if _cast(high - 1, dtype) >= high:
        high = _cast(high - 1, dtype) - (1 << max(abs(high - 1).bit_length() - digits, 0))
    return low, high


def _check_range(low: int, last: int, dtype: dtype) -> None:
    for name, value in (("from", low), ("to - 1", last)):
        if dtype in DIGITS:
            bound = 1 << DIGITS[dtype]
            if not -bound <= value <= bound:
                warnings.warn(
                    f"{name} is out of bounds [-(2^{DIGITS[dtype]}), 2^{DIGITS[dtype]}]. "
                    f"Due to precision limitations {C_NAMES[dtype]} can support discrete uniform "
                    "distribution only within this range.",
                    UserWarning,
                    stacklevel=4,
                )
        elif not INTEGER_LIMITS[dtype][0] <= value <= INTEGER_LIMITS[dtype][1]:
            raise RuntimeError(f"{name} is out of bounds for {C_NAMES[dtype]}")


def _integers(shape: tuple[int, ...], dtype: dtype, low: int, count: int) -> Draw:
    """`count` values from `low` on; from 2**28 on PyTorch's wheels draw 64 bits, whatever the type."""
    return Draw("randint_64" if count >= 2**28 else "randint_32", shape, dtype, (count % 2**64, low))


def plan_random_(shape: Sequence[int], dtype: dtype, *bounds: int | None) -> Draw:
    """`tensor.random_()`, `random_(to)`, `random_(from, to)` and `random_(from, None)`.

    Without bounds: all values of an integer type that are not negative, and of a floating type the
    integers it holds exactly. RuntimeError for an empty range or one that the type does not hold.

    >>> from tapegrad.dtypes import int64
    >>> from tapegrad.ops.random import plan_random_
    >>> plan_random_((3,), int64, 5, 5)
    Traceback (most recent call last):
        ...
    RuntimeError: random_ expects 'from' to be less than 'to', but got from=5 >= to=5
    """
    shape = tuple(shape)
    if not bounds:
        count = (1 << DIGITS[dtype]) + 1 if dtype in DIGITS else INTEGER_LIMITS[dtype][1] + 1
        # the width of the draw goes by the type here, not by the range
        return Draw("randint_64" if dtype.itemsize == 8 else "randint_32", shape, dtype, (count, 0))
    low = 0 if len(bounds) == 1 else checked_int64("random_", "from", 1, bounds[0])
    if bounds[-1] is not None:
        high = checked_int64("random_", "to", len(bounds), bounds[-1])
        if low >= high:
            raise RuntimeError(
                f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
            )
        if dtype in DIGITS:
            low, high = _representable(low, high, dtype)
            if low >= high:
                raise RuntimeError(
                    "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, "
                    f"but got from={low} >= to={high}"
                )
        _check_range(low, high - 1, dtype)
        return _integers(shape, dtype, low, high - low)
    if low == -(2**63):
        if dtype is bool_:
            raise NotImplementedError("\"random_full_64_bits_range_kernel_cpu\" not implemented for 'Bool'")
        if dtype not in (int64, float32, float64):
            raise RuntimeError(
                "random_full_64_bits_range_kernel_cpu handles only int64, double, float and bfloat16"
            )
        return Draw("randint_64", shape, dtype, (0, 0))
    if dtype in DIGITS:
        last = 1 << DIGITS[dtype]
        low = _representable(low, last, dtype)[0]
        if low >= last:
            raise RuntimeError(
                "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted to "
                f"dtype, but got from={low} > to_inc={last}"
            )
    else:
        last = INTEGER_LIMITS[dtype][1]
    _check_range(low, last, dtype)
    return _integers(shape, dtype, low, last - low + 1)


def plan_randint(*args: Any, dtype: dtype = int64, **named: Any) -> Draw:
    """`randint(high, size)` and `randint(low, high, size)`: integers in [low, high).

    RuntimeError for an empty range or one that the type does not hold, TypeError for other arguments.

    >>> from tapegrad.ops.random import plan_randint
    >>> plan_randint(0, 10, (2, 2)).params
    (10, 0)
    """
    names = ("low", "high", "size") if len(args) + len(named) == 3 else ("high", "size")
    given = dict(zip([n for n in names if n not in named], args, strict=False)) | named
    complete = len(args) + len(named) == len(names) and set(given) == set(names)
    if not complete or not isinstance(given["size"], Sequence):
        kinds = [type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in named.items()]
        got = ", ".join(kinds)
        raise TypeError(
            f"randint() received an invalid combination of arguments - got ({got}), but expected one of: "
            "(int high, tuple of ints size), (int low, int high, tuple of ints size)"
        )
    low = checked_int64("randint", "low", 1, given.get("low", 0))
    high = checked_int64("randint", "high", len(names) - 1, given["high"])
    return plan_random_(checked_shape("randint", (given["size"],)), dtype, low, high)


def plan_randperm(n: int, dtype: dtype = int64) -> Draw:
    """`randperm(n)`: the numbers 0 to n - 1 in random order.

    RuntimeError for a negative n or one that the type cannot count to.

    >>> from tapegrad.ops.random import plan_randperm
    >>> plan_randperm(5).shape
    (5,)
    """
    shape = checked_shape("randperm", (checked_int64("randperm", "n", 1, n),))
    if dtype in DIGITS:
        if shape[0] > (1 << DIGITS[dtype]) + 1:
            raise RuntimeError(f"n cannot be greater than 2^{DIGITS[dtype]}+1 for {CLASS_NAMES[dtype]} type.")
    elif dtype is bool_:
        raise NotImplementedError("\"randperm\" not implemented for 'Bool'")
    elif shape[0] - 1 > INTEGER_LIMITS[dtype][1]:
        c_name = {uint8: "uint8_t", int32: "int", int64: "int64_t"}[dtype]
        raise RuntimeError(f"value cannot be converted to type {c_name} without overflow")
    return Draw("randperm", shape, dtype)
