"""Rounding to a number of decimals."""

from __future__ import annotations

from .. import _tensor
from .._tensor import Tensor, unary_
from ..ops.registry import BY_NAME
from . import arithmetic
from .base import tensor_argument


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest whole number, the even one of two; with `decimals` that many digits behind the point are kept.

    >>> import tapegrad as torch
    >>> torch.round(torch.tensor([1.234, 5.0]), decimals=1)
    tensor([1.2000, 5.0000])
    """
    if decimals == 0:
        whole: Tensor = arithmetic.round(input)
        return whole
    tensor_argument("round", input)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"round_cpu\" not implemented for '{input.type()[6:-6]}'")
    power = 10.0 ** abs(decimals)
    if decimals > 0:
        return arithmetic.round(input * power) / power
    return arithmetic.round(input / power) * power


def round_(self: Tensor, *, decimals: int = 0) -> Tensor:
    """In place: `round`."""
    if decimals == 0:
        return unary_(BY_NAME["round"].id, self)
    return _tensor.copy_(self, round(self, decimals=decimals))
