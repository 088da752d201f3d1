"""Arithmetic with options: scaled sums, rounded quotients, powers, bounds, and blends."""

from __future__ import annotations

import warnings
from typing import Any

from .. import _tensor
from .._tensor import Tensor, apply_pointwise, binary, binary_, unary
from ..dtypes import bool_, int64, promote_types, uint8
from ..ops.registry import BY_NAME
from .base import make_binary, named, records, tensor_argument
from .beside_numpy import plain
from .conversion import type_
from .selection import logical_not, where

_plain_add = make_binary(BY_NAME["add"])
_plain_sub = make_binary(BY_NAME["sub"])


def _scaled(a: Any, b: Any, alpha: Any, inplace: Tensor | None = None) -> Tensor:
    alpha = plain(alpha)
    op = BY_NAME["add_scaled"]
    floats = [t for t in (a, b) if isinstance(t, Tensor) and t.dtype.is_floating_point]
    if not floats:
        if isinstance(alpha, float):
            raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            b = b.to(promote_types(a.dtype, b.dtype))
        scaled = b * alpha
        add_op = BY_NAME["add"].id
        return binary(add_op, a, scaled) if inplace is None else binary_(add_op, inplace, scaled)
    return apply_pointwise(op.id, (a, b), inplace, (alpha,))


def _former_order(name: str, alpha: Any, other: Any, rest: tuple[Any, ...]) -> tuple[Any, Any]:
    """(other, alpha) of a call in the order of old, `x.add_(alpha, other)`; it warns, as PyTorch does."""
    if not rest:
        return other, alpha
    if len(rest) > 1 or isinstance(other, Tensor):
        raise TypeError(f"{name}() takes 1 positional argument but {1 + len(rest)} were given")
    warnings.warn(
        f"This overload of {name} is deprecated:\n\t{name}(Number alpha, Tensor other)\n"
        f"Consider using one of the following signatures instead:\n\t{name}(Tensor other, *, Number alpha = 1)",
        stacklevel=3,
    )
    return rest[0], other


def _holds_bools(*args: Any) -> bool:
    """Whether the plain subtraction refuses these."""
    return any(x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, bool) for x in args)


def add(input: Any, other: Any, *former: Any, alpha: Any = 1) -> Tensor:
    """`input + alpha * other`.

    >>> import tapegrad as torch
    >>> torch.add(torch.tensor([1.]), torch.tensor([2.]), alpha=10)
    tensor([21.])
    """
    if former:
        other, alpha = _former_order("add", alpha, other, former)
    if alpha == 1:
        return _plain_add(input, other)
    return _scaled(input, other, alpha)


def sub(input: Any, other: Any, *former: Any, alpha: Any = 1) -> Tensor:
    """`input - alpha * other`."""
    if former:
        other, alpha = _former_order("sub", alpha, other, former)
    if alpha == 1 or _holds_bools(input, other):
        return _plain_sub(input, other)
    return _scaled(input, other, -alpha)


def add_(self: Tensor, other: Any, *former: Any, alpha: Any = 1) -> Tensor:
    """In place: `self + alpha * other`."""
    if former:
        other, alpha = _former_order("add_", alpha, other, former)
    if alpha == 1:
        return binary_(BY_NAME["add"].id, self, other)
    return _scaled(self, other, alpha, self)


def sub_(self: Tensor, other: Any, *former: Any, alpha: Any = 1) -> Tensor:
    """In place: `self - alpha * other`."""
    if former:
        other, alpha = _former_order("sub_", alpha, other, former)
    if alpha == 1 or _holds_bools(self, other):
        return binary_(BY_NAME["sub"].id, self, other)
    return _scaled(self, other, -alpha, self)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """`input / other`; `rounding_mode` "floor" or "trunc" rounds the quotient.

    >>> import tapegrad as torch
    >>> torch.div(torch.tensor([7]), 2, rounding_mode="floor")
    tensor([3])
    """
    if rounding_mode is None:
        return binary(BY_NAME["div"].id, input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        if _floating(input, other):
            return unary(BY_NAME["trunc"].id, binary(BY_NAME["div"].id, input, other))
        q = floor_divide(input, other)
        if not q.dtype.is_signed:
            return q
        x, y = (t.to(q.dtype) if isinstance(t, Tensor) else t for t in (input, other))
        rest = x - q * y  # not 0 with a negative quotient: the floor went one too far
        return where((rest != 0) & ((x < 0) != (y < 0)), q + 1, q)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """In place: `self / other`."""
    if rounding_mode is None:
        return binary_(BY_NAME["div"].id, self, other)
    return _write(self, div(_apart(self), other, rounding_mode=rounding_mode))


def _apart(self: Tensor) -> Tensor:
    """A tensor that is about to be overwritten, or a copy where a derivative may read what it was."""
    return _tensor.clone(self) if self.requires_grad and _tensor.is_grad_enabled() else self


def _write(self: Tensor, result: Tensor) -> Tensor:
    """self[...] = result, where an in-place op may write it: RuntimeError for a wider type or another shape."""
    if result.dtype.category > self.dtype.category:
        kinds = [type_(t)[6:-6] for t in (result, self)]
        raise RuntimeError(f"result type {kinds[0]} can't be cast to the desired output type {kinds[1]}")
    if result.shape != self.shape:
        raise RuntimeError(
            f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(result.shape)}"
        )
    return _tensor.copy_(self, result)


def _floating(*args: Any) -> bool:
    return any(a.dtype.is_floating_point if isinstance(a, Tensor) else isinstance(a, float) for a in args)


def _no_zero_divisor(name: str, input: Any, other: Any) -> None:
    kinds = [x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, bool) for x in (input, other)]
    if all(kinds):
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")
    zero = bool((other == 0).any()) if isinstance(other, Tensor) else other == 0
    if zero and all(x.numel() for x in (input, other) if isinstance(x, Tensor)):
        raise RuntimeError("ZeroDivisionError")


def floor_divide(input: Any, other: Any) -> Tensor:
    """The quotient rounded down; RuntimeError for integers divided by 0.

    Not differentiable: `backward` through it raises RuntimeError, as in PyTorch.
    """
    input, other = plain(input), plain(other)
    if _floating(input, other):
        return binary(BY_NAME["floor_divide"].id, input, other)
    _no_zero_divisor("div_floor_cpu", input, other)
    return binary(BY_NAME["integer_floor_divide"].id, input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """The remainder with the divisor's sign; RuntimeError for integers divided by 0."""
    input, other = plain(input), plain(other)
    if _floating(input, other):
        return binary(BY_NAME["remainder"].id, input, other)
    _no_zero_divisor("remainder_cpu", input, other)
    return binary(BY_NAME["integer_remainder"].id, input, other)


def floor_divide_(self: Tensor, other: Any) -> Tensor:
    """In place: the quotient rounded down."""
    return _write(self, floor_divide(_apart(self), other))


def remainder_(self: Tensor, other: Any) -> Tensor:
    """In place: the remainder with the divisor's sign."""
    return _write(self, remainder(_apart(self), other))


def _of_whole_numbers(name: str, answer: Any) -> Any:
    """The function of an op of floats that means something simple for integers: `answer(x)`."""
    op = BY_NAME[name]

    def function(input: Tensor) -> Tensor:
        tensor_argument(name, input)
        if not input.dtype.is_floating_point and (input.dtype is not bool_ or op.result is bool_):
            result: Tensor = answer(input)
            return result
        return unary(op.id, input)

    return named(function, name, op.doc)


floor, ceil, round, trunc = (_of_whole_numbers(name, _tensor.clone) for name in ("floor", "ceil", "round", "trunc"))
isnan, isinf = (_of_whole_numbers(name, lambda x: _tensor.zeros(x.shape, bool_.index)) for name in ("isnan", "isinf"))
isfinite = _of_whole_numbers("isfinite", lambda x: logical_not(_tensor.zeros(x.shape, bool_.index)))


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1, the sign of each element, 0 of NaN; gradient 0."""
    tensor_argument("sign", input)
    if input.dtype is bool_ or input.dtype is uint8:
        return (input != 0).to(input.dtype)
    return unary(BY_NAME["sign"].id, input)


def square(input: Tensor) -> Tensor:
    """`input * input`; of bools as integers."""
    tensor_argument("square", input)
    return unary(BY_NAME["square"].id, input.to(int64) if input.dtype is bool_ else input)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; NaN if either is."""
    tensor_argument("maximum", input)
    tensor_argument("maximum", other, 2, "other")
    return binary(BY_NAME["maximum"].id, input, other)


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; NaN if either is."""
    tensor_argument("minimum", input)
    tensor_argument("minimum", other, 2, "other")
    return binary(BY_NAME["minimum"].id, input, other)


def pow(input: Any, exponent: Any) -> Tensor:
    """`input ** exponent`; small whole exponents are products.

    >>> import tapegrad as torch
    >>> torch.pow(torch.tensor([1., 2., 3.]), 2)
    tensor([1., 4., 9.])
    """
    input, exponent = plain(input), plain(exponent)
    if isinstance(exponent, int) and isinstance(input, Tensor) and input.dtype is bool_:
        input = input.to(int64)
    if isinstance(exponent, (int, float)) and isinstance(input, Tensor) and (
        isinstance(exponent, int) or input.dtype.is_floating_point
    ):
        if exponent == 2:
            return unary(BY_NAME["square"].id, input)
        if exponent == 1:
            return unary(BY_NAME["first_power"].id, input) if input.dtype.is_floating_point else _tensor.clone(input)
        if input.dtype.is_floating_point:
            if exponent == 3:
                return unary(BY_NAME["cube"].id, input)
            if exponent == 0.5:
                return unary(BY_NAME["sqrt"].id, input)
            if exponent == -1:
                return unary(BY_NAME["reciprocal"].id, input)
            if exponent == -0.5:
                return unary(BY_NAME["rsqrt"].id, input)
            if exponent == 0:
                return unary(BY_NAME["zeroth_power"].id, input)
    if _floating(input, exponent):
        return binary(BY_NAME["pow"].id, input, exponent)
    return _integer_pow(input, exponent)


def _ones_of(x: Tensor) -> Tensor:
    return _tensor.copy_(_tensor.empty(x.shape, x._dt), 1)


def _integer_pow(a: Any, b: Any) -> Tensor:
    """Powers of integers by repeated squaring."""
    if isinstance(b, int) and b < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if all(x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, bool) for x in (a, b)):
        raise NotImplementedError("\"pow\" not implemented for 'Bool'")
    if not isinstance(a, Tensor):
        a = _tensor.zeros((), b._dt) + a  # a number wraps around here
    if isinstance(b, int):
        _tensor.copy_(_tensor.empty((), a._dt), b)  # RuntimeError if it does not fit the type
        result = _ones_of(a) if b == 0 else None
        base = a
        while b:
            if b & 1:
                result = base if result is None else result * base
            b >>= 1
            if b:
                base = base * base
        return _tensor.clone(a) if result is None or result is a else result
    shape = (a + b).shape
    d = _tensor.cast(a + b, (a + b)._dt).dtype
    x, y = a.to(d).expand(*shape), b.to(d).expand(*shape)
    result = _tensor.copy_(_tensor.empty(shape, d.index), 1)
    base, rest = x, y
    while bool((rest > 0).any()):
        odd = remainder(rest, 2) == 1
        result = where(odd, result * base, result)
        rest = floor_divide(rest, 2)
        base = base * base
    if not d.is_signed:
        return result
    nothing = result * 0
    of_negative = where(x == 1, nothing + 1, where(x == -1, 1 - 2 * remainder(y, 2), nothing))
    return where(y < 0, of_negative, result)


def pow_(self: Tensor, exponent: Any) -> Tensor:
    """In place: `self ** exponent`."""
    return _write(self, pow(_apart(self), exponent))


def invert(x: Tensor) -> Tensor:
    """Bitwise complement of integers, negation of bools."""
    return unary(BY_NAME["logical_not" if x.dtype is bool_ else "bitwise_not"].id, x)


def bitwise_not(input: Tensor) -> Tensor:
    """Bitwise complement of integers, negation of bools.

    >>> import tapegrad as torch
    >>> torch.bitwise_not(torch.tensor([True, False]))
    tensor([False,  True])
    """
    tensor_argument("bitwise_not", input)
    return invert(input)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Values raised to at least `min` and lowered to at most `max` (numbers or tensors).

    RuntimeError if both are None.

    >>> import tapegrad as torch
    >>> torch.clamp(torch.tensor([-1., 0.5, 2.]), 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if not isinstance(input, Tensor):
        tensor_argument("clamp", input)
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if max is None:
        return binary(BY_NAME["clamp_min"].id, input, min)
    if min is None:
        return binary(BY_NAME["clamp_max"].id, input, max)
    return apply_pointwise(BY_NAME["clamp"].id, (input, min, max))


def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """In place: `clamp`."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if max is None:
        return binary_(BY_NAME["clamp_min"].id, self, min)
    if min is None:
        return binary_(BY_NAME["clamp_max"].id, self, max)
    return apply_pointwise(BY_NAME["clamp"].id, (self, min, max), self)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """`input + weight * (end - input)`, weight a number or a tensor."""
    return apply_pointwise(BY_NAME["lerp"].id, (input, end, weight))


def lerp_(self: Tensor, end: Tensor, weight: Any) -> Tensor:
    """In place: `lerp`."""
    return apply_pointwise(BY_NAME["lerp"].id, (self, end, weight), self)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """`input + value * tensor1 * tensor2`."""
    return apply_pointwise(BY_NAME["addcmul"].id, (input, tensor1, tensor2), None, (value,))


def addcmul_(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """In place: `self + value * tensor1 * tensor2`."""
    return apply_pointwise(BY_NAME["addcmul"].id, (self, tensor1, tensor2), self, (value,))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """`input + value * tensor1 / tensor2`."""
    return apply_pointwise(BY_NAME["addcdiv"].id, (input, tensor1, tensor2), None, (value,))


def addcdiv_(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """In place: `self + value * tensor1 / tensor2`."""
    return apply_pointwise(BY_NAME["addcdiv"].id, (self, tensor1, tensor2), self, (value,))


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`x` where positive, `negative_slope * x` elsewhere."""
    tensor_argument("leaky_relu", input)
    return apply_pointwise(BY_NAME["leaky_relu"].id, (input,), None, (negative_slope,))


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere."""
    tensor_argument("elu", input)
    return apply_pointwise(BY_NAME["elu"].id, (input,), None, (alpha,))


for _name in ("add", "sub", "div"):
    records(globals()[_name], BY_NAME[_name].id)
for _name in ("maximum", "minimum"):
    records(globals()[_name], BY_NAME[_name].id, tensors_only=True)
