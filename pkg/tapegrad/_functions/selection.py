"""Choices by a condition, logic, and comparisons of whole tensors."""

from __future__ import annotations

from typing import Any

from .. import _tensor
from .._tensor import Tensor, apply_pointwise, unary
from ..dtypes import bool_, float64, uint8
from ..ops import indexing
from ..ops.registry import BY_NAME
from .base import FUNCTIONS, tensor_argument
from .conversion import type_


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, `other` elsewhere; both tensors or numbers.

    With the condition alone: the indices where it holds, one tensor per dimension.

    >>> import tapegrad as torch
    >>> x = torch.tensor([-1., 2.])
    >>> torch.where(x > 0, x, 0.)
    tensor([0., 2.])
    """
    if not isinstance(condition, Tensor):
        tensor_argument("where", condition, 1, "condition")
    if input is None and other is None:
        return tuple(indexing.nonzero(condition).unbind(1))
    if condition.dtype is not bool_ and condition.dtype is not uint8:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    return apply_pointwise(BY_NAME["where"].id, (condition, input, other))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds, the input elsewhere."""
    tensor_argument("masked_fill", input)
    tensor_argument("masked_fill", mask, 2, "mask")
    if not isinstance(value, Tensor):
        _tensor.copy_(_tensor.empty((), input._dt), value)  # RuntimeError if it does not fit the type
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    result = apply_pointwise(BY_NAME["where"].id, (mask, value, input))
    return result if result.dtype is input.dtype else result.to(input.dtype)


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """In place: `masked_fill`."""
    return _tensor.copy_(self, masked_fill(self, mask, value))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """True where both are nonzero."""
    tensor_argument("logical_and", input)
    tensor_argument("logical_and", other, 2, "other")
    return input.to(bool_) & other.to(bool_)


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """True where at least one is nonzero."""
    tensor_argument("logical_or", input)
    tensor_argument("logical_or", other, 2, "other")
    return input.to(bool_) | other.to(bool_)


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """True where exactly one is nonzero."""
    tensor_argument("logical_xor", input)
    tensor_argument("logical_xor", other, 2, "other")
    return input.to(bool_) ^ other.to(bool_)


def logical_not(input: Tensor) -> Tensor:
    """True where zero."""
    tensor_argument("logical_not", input)
    return unary(BY_NAME["logical_not"].id, input.to(bool_))


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """True where `|input - other| <= atol + rtol * |other|`."""
    tensor_argument("isclose", input)
    tensor_argument("isclose", other, 2, "other")
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{type_(input)[6:-6]} did not match {type_(other)[6:-6]}")
    a, b = (x if x.dtype.is_floating_point else x.to(float64) for x in (input, other))
    close = (a == b) | (((a - b).abs() <= atol + rtol * b.abs()) & FUNCTIONS["isfinite"](b))
    if equal_nan:
        close = close | (FUNCTIONS["isnan"](a) & FUNCTIONS["isnan"](b))
    return close


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """True if `isclose` holds everywhere.

    >>> import tapegrad as torch
    >>> torch.allclose(torch.ones(2), torch.ones(2) + 1e-9)
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """True if both have the same shape and the same elements."""
    tensor_argument("equal", input)
    tensor_argument("equal", other, 2, "other")
    if tuple(input.shape) != tuple(other.shape):
        return False
    return bool((input == other).all()) if input.numel() else True
