"""Tensor functions: those that follow from the registry, and the composites over them.

A pointwise op gets its function, method and in-place method here from its declaration alone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import _tensor, _views
from ._tensor import Tensor, apply_pointwise, binary, binary_, unary, unary_
from .dtypes import DTYPES, bool_, dtype, float32, float64, int32, int64, promote_types, uint8
from .native import symbols
from .ops import indexing, joining, loss, product, reduction
from .ops import softmax as softmax_ops
from .ops.registry import BY_NAME, Op

FUNCTIONS: dict[str, Callable[..., Any]] = {}
METHODS: dict[str, Callable[..., Any]] = {}


def _tensor_argument(name: str, x: Any, position: int = 1, argument: str = "input") -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}")


# ---------------------------------------------------------------- from the registry


def _make_unary(op: Op) -> Callable[..., Any]:
    i, name = op.id, op.name

    def function(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            _tensor_argument(name, input)
        return unary(i, input)

    return function


def _make_binary(op: Op) -> Callable[..., Any]:
    i, name = op.id, op.name

    def function(input: Tensor, other: Any) -> Tensor:
        if not isinstance(input, Tensor) and not isinstance(other, Tensor):
            _tensor_argument(name, input)
        return binary(i, input, other)

    return function


def _make_ternary(op: Op) -> Callable[..., Any]:
    i, name = op.id, op.name

    def function(input: Tensor, a: Any, b: Any) -> Tensor:
        _tensor_argument(name, input)
        return apply_pointwise(i, (input, a, b))

    return function


def _make_inplace(op: Op) -> Callable[..., Any]:
    i, n = op.id, len(op.inputs)
    if n == 1:

        def one(self: Tensor) -> Tensor:
            return unary_(i, self)

        return one
    if n == 2:

        def two(self: Tensor, other: Any) -> Tensor:
            return binary_(i, self, other)

        return two

    def three(self: Tensor, a: Any, b: Any) -> Tensor:
        return apply_pointwise(i, (self, a, b), self)

    return three


def _name(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__module__ = "tapegrad"
    function.__doc__ = doc
    return function


def make_functions(ops: Sequence[Op]) -> None:
    """Functions, methods and in-place methods of pointwise ops, under their own names."""
    makers = (_make_unary, _make_binary, _make_ternary)
    for op in ops:
        if op.params or op.name.startswith("to_"):
            continue
        function = _name(makers[len(op.inputs) - 1](op), op.name, op.doc)
        FUNCTIONS[op.name] = function
        if op.method:
            METHODS[op.name] = function
            if op.inplace:
                METHODS[op.name + "_"] = _name(_make_inplace(op), op.name + "_", f"In place: {op.doc}")


# ---------------------------------------------------------------- conversions and copies

_CAST_BY_NAME = {t.name: t for t in DTYPES}


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype (`to(dtype)`, `to(other)`); the device can only be the CPU.

    Returns the tensor itself if nothing changes, unless `copy=True`.

    >>> import tapegrad as torch
    >>> torch.tensor([1.7]).to(torch.int64)
    tensor([1])
    """
    from ._device import device, require_cpu

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


def _caster(t: dtype, name: str) -> Callable[..., Any]:
    index = t.index

    def convert(self: Tensor) -> Tensor:
        return _tensor.cast(self, index)

    return _name(convert, name, f"Converted to {t.name}; the tensor itself if it has that type.")


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with memory of its own; gradients flow through to the original.

    >>> import tapegrad as torch
    >>> x = torch.ones(2)
    >>> y = x.clone(); y[0] = 5; x
    tensor([1., 1.])
    """
    _tensor_argument("clone", input)
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
    return to(self, dtype)


def fill_(self: Tensor, value: Any) -> Tensor:
    """Sets every element to one number."""
    if isinstance(value, Tensor) and value.ndim > 0:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
    return _tensor.copy_(self, value)


def zero_(self: Tensor) -> Tensor:
    """Sets every element to 0."""
    return _tensor.copy_(self, 0)


# ---------------------------------------------------------------- arithmetic with options


def _scaled(a: Any, b: Any, alpha: Any, inplace: Tensor | None = None) -> Tensor:
    op = BY_NAME["add_scaled"]
    floats = [t for t in (a, b) if isinstance(t, Tensor) and t.dtype.is_floating_point]
    if not floats:
        if isinstance(alpha, float):
            raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
        scaled = b * alpha
        add_op = BY_NAME["add"].id
        return binary(add_op, a, scaled) if inplace is None else binary_(add_op, inplace, scaled)
    return apply_pointwise(op.id, (a, b), inplace, (alpha,))


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`input + alpha * other`.

    >>> import tapegrad as torch
    >>> torch.add(torch.tensor([1.]), torch.tensor([2.]), alpha=10)
    tensor([21.])
    """
    if alpha == 1:
        return FUNCTIONS["_add"](input, other)
    return _scaled(input, other, alpha)


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`input - alpha * other`."""
    if alpha == 1:
        return FUNCTIONS["_sub"](input, other)
    return _scaled(input, other, -alpha)


def add_(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """In place: `self + alpha * other`."""
    if alpha == 1:
        return binary_(BY_NAME["add"].id, self, other)
    return _scaled(self, other, alpha, self)


def sub_(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """In place: `self - alpha * other`."""
    if alpha == 1:
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
        q = binary(BY_NAME["div"].id, input, other)
        q = unary(BY_NAME["trunc"].id, q)
        both_integers = all(
            not x.dtype.is_floating_point if isinstance(x, Tensor) else isinstance(x, int) for x in (input, other)
        )
        return q.to(int64) if both_integers else q
    raise RuntimeError(
        f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
    )


def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """In place: `self / other`."""
    if rounding_mode is None:
        return binary_(BY_NAME["div"].id, self, other)
    return _tensor.copy_(self, div(self, other, rounding_mode=rounding_mode))


def _floating(*args: Any) -> bool:
    return any(a.dtype.is_floating_point if isinstance(a, Tensor) else isinstance(a, float) for a in args)


def _no_zero_divisor(other: Any) -> None:
    zero = bool((other == 0).any()) if isinstance(other, Tensor) else other == 0
    if zero:
        raise RuntimeError("ZeroDivisionError")


def floor_divide(input: Any, other: Any) -> Tensor:
    """The quotient rounded down; RuntimeError for integers divided by 0.

    Not differentiable: `backward` through it raises RuntimeError, as in PyTorch.
    """
    if _floating(input, other):
        return binary(BY_NAME["floor_divide"].id, input, other)
    _no_zero_divisor(other)
    return binary(BY_NAME["integer_floor_divide"].id, input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """The remainder with the divisor's sign; RuntimeError for integers divided by 0."""
    if _floating(input, other):
        return binary(BY_NAME["remainder"].id, input, other)
    _no_zero_divisor(other)
    return binary(BY_NAME["integer_remainder"].id, input, other)


def pow(input: Any, exponent: Any) -> Tensor:  # noqa: A001
    """`input ** exponent`; small whole exponents are products.

    >>> import tapegrad as torch
    >>> torch.pow(torch.tensor([1., 2., 3.]), 2)
    tensor([1., 4., 9.])
    """
    if isinstance(exponent, (int, float)) and isinstance(input, Tensor):
        if exponent == 2:
            return unary(BY_NAME["square"].id, input)
        if exponent == 1:
            return _tensor.clone(input)
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
                return input * 0.0 + 1.0 if input.requires_grad else _ones_of(input)
    if _floating(input, exponent):
        return binary(BY_NAME["pow"].id, input, exponent)
    return _integer_pow(input, exponent)


def _ones_of(x: Tensor) -> Tensor:
    return _tensor.copy_(_tensor.empty(x.shape, x._dt), 1)


def _integer_pow(a: Any, b: Any) -> Tensor:
    """Powers of integers by repeated squaring."""
    if isinstance(b, int) and b < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if not isinstance(a, Tensor):
        a = _tensor.copy_(_tensor.empty((), b._dt), a)
    if isinstance(b, int):
        result = _ones_of(a) if b == 0 else None
        base = a
        while b:
            if b & 1:
                result = base if result is None else result * base
            b >>= 1
            if b:
                base = base * base
        return _tensor.clone(result) if result is a else result  # type: ignore[arg-type]
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
    return where(y < 0, where(x == 1, 1, 0) if not y.dtype.is_signed else where(x == 1, result * 0 + 1, result * 0), result)


def pow_(self: Tensor, exponent: Any) -> Tensor:
    """In place: `self ** exponent`."""
    return _tensor.copy_(self, pow(self, exponent))


def invert(x: Tensor) -> Tensor:
    """Bitwise complement of integers, negation of bools."""
    return unary(BY_NAME["logical_not" if x.dtype is bool_ else "bitwise_not"].id, x)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002
    """Values raised to at least `min` and lowered to at most `max` (numbers or tensors).

    RuntimeError if both are None.

    >>> import tapegrad as torch
    >>> torch.clamp(torch.tensor([-1., 0.5, 2.]), 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    _tensor_argument("clamp", input)
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    y = input
    if min is not None:
        y = binary(BY_NAME["clamp_min"].id, y, min)
    if max is not None:
        y = binary(BY_NAME["clamp_max"].id, y, max)
    return y


def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002
    """In place: `clamp`."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if min is not None:
        binary_(BY_NAME["clamp_min"].id, self, min)
    if max is not None:
        binary_(BY_NAME["clamp_max"].id, self, max)
    return self


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
    _tensor_argument("leaky_relu", input)
    return apply_pointwise(BY_NAME["leaky_relu"].id, (input,), None, (negative_slope,))


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere."""
    _tensor_argument("elu", input)
    return apply_pointwise(BY_NAME["elu"].id, (input,), None, (alpha,))


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, `other` elsewhere; both tensors or numbers.

    With the condition alone: the indices where it holds, one tensor per dimension.

    >>> import tapegrad as torch
    >>> x = torch.tensor([-1., 2.])
    >>> torch.where(x > 0, x, 0.)
    tensor([0., 2.])
    """
    _tensor_argument("where", condition, 1, "condition")
    if input is None and other is None:
        return tuple(_tensor_nonzero(condition).unbind(1))
    if condition.dtype is not bool_ and condition.dtype is not uint8:
        raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}")
    return apply_pointwise(BY_NAME["where"].id, (condition, input, other))


def _tensor_nonzero(x: Tensor) -> Tensor:
    nonzero: Callable[[Tensor], Tensor] = FUNCTIONS["nonzero"]
    return nonzero(x)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds, the input elsewhere."""
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    result = apply_pointwise(BY_NAME["where"].id, (mask, value, input))
    return result if result.dtype is input.dtype else result.to(input.dtype)


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """In place: `masked_fill`."""
    return _tensor.copy_(self, masked_fill(self, mask, value))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """True where both are nonzero."""
    return input.to(bool_) & (other.to(bool_) if isinstance(other, Tensor) else bool(other))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """True where at least one is nonzero."""
    return input.to(bool_) | (other.to(bool_) if isinstance(other, Tensor) else bool(other))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """True where exactly one is nonzero."""
    return input.to(bool_) ^ (other.to(bool_) if isinstance(other, Tensor) else bool(other))


def logical_not(input: Tensor) -> Tensor:
    """True where zero."""
    return unary(BY_NAME["logical_not"].id, input.to(bool_))


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """True where `|input - other| <= atol + rtol * |other|`."""
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
    _tensor_argument("equal", input)
    _tensor_argument("equal", other, 2, "other")
    if tuple(input.shape) != tuple(other.shape):
        return False
    return bool((input == other).all()) if input.numel() else True


# ---------------------------------------------------------------- shapes


def view_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor viewed in another's shape."""
    return _views.view(self, *other.shape)


def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor expanded to another's shape."""
    return _views.expand(self, *other.shape)


def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor reshaped to another's shape."""
    return _views.reshape(self, *other.shape)


def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape: a view where the strides allow it, else a copy."""
    _tensor_argument("reshape", input)
    return _views.reshape(input, *shape) if not isinstance(shape, int) else _views.reshape(input, shape)


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """The dimensions in another order, as a view."""
    return _views.permute(input, *dims)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """The tensor expanded to this shape."""
    return _views.expand(input, *size)


def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension; a view where it can be."""
    return _views.reshape(input, -1)


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension split into several, as a view."""
    d = _tensor.wrap_dim(dim, input.ndim)
    return _views.view(input, *input.shape[:d], *sizes, *input.shape[d + 1 :])


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension, which disappears, as views."""
    d = _tensor.wrap_dim(dim, input.ndim)
    if input.ndim == 0:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    return tuple(_tensor.mark_multi_view(_views.select(input, d, i)) for i in range(input.shape[d]))


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of this size (the last may be smaller), or of these sizes, along a dimension, as views."""
    d = _tensor.wrap_dim(dim, tensor.ndim)
    if tensor.ndim == 0:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    n = tensor.shape[d]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        if size == 0 and n > 0:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        starts = range(0, n, size) if n else (0,)
        sections = [size if s + size <= n else n - s for s in starts]
    else:
        sections = list(split_size_or_sections)
        if sum(sections) != n or any(s < 0 for s in sections):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), "
                f"but got split_sizes={sections}"
            )
    pieces, start = [], 0
    for s in sections:
        pieces.append(_tensor.mark_multi_view(_views.narrow(tensor, d, start, s)))
        start += s
    return tuple(pieces)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About `chunks` equal pieces along a dimension, as views."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[_tensor.wrap_dim(dim, input.ndim)]
    return split(input, -(-n // chunks), dim)


def repeat(self: Tensor, *sizes: Any) -> Tensor:
    """The tensor repeated this many times along each dimension, copied."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    if len(sizes) < self.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
    x = _views.reshape(self, *((1,) * (len(sizes) - self.ndim)), *self.shape)
    parts: list[int] = []
    target: list[int] = []
    final: list[int] = []
    for n, s in zip(sizes, x.shape, strict=True):
        parts += [1, s]
        target += [n, s]
        final.append(n * s)
    for d in range(len(sizes) - 1, -1, -1):
        if sizes[d] != 1:
            x = joining.cat([x] * sizes[d], d) if sizes[d] > 0 else _views.narrow(x, d, 0, 0)
    return _tensor.clone(x) if all(n == 1 for n in sizes) else x


def movedim(input: Tensor, source: int, destination: int) -> Tensor:
    """One dimension moved to another place, as a view."""
    order = list(range(input.ndim))
    d = order.pop(_tensor.wrap_dim(source, input.ndim))
    order.insert(_tensor.wrap_dim(destination, input.ndim), d)
    return _views.permute(input, *order)


def numel(input: Tensor) -> int:
    """The number of elements."""
    _tensor_argument("numel", input)
    return input.numel()


def is_tensor(obj: Any) -> bool:
    """True for a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """True if the elements are floating point numbers."""
    return bool(input.dtype.is_floating_point)


def result_type(a: Any, b: Any) -> dtype:
    """The dtype of arithmetic between the two."""
    x = a if isinstance(a, Tensor) else None
    probe = binary(BY_NAME["add"].id, a if x is None else a.detach(), b.detach() if isinstance(b, Tensor) else b)
    found: dtype = probe.dtype
    return found


def t(input: Tensor) -> Tensor:
    """A matrix transposed, as a view."""
    return _views.t(input)


def matrix_transpose(self: Tensor) -> Tensor:
    """The last two dimensions exchanged, as a view."""
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return _views.transpose(self, -2, -1)


def reverse_transpose(self: Tensor) -> Tensor:
    """All dimensions in reverse order, as a view."""
    return _views.permute(self, *range(self.ndim - 1, -1, -1))


# ---------------------------------------------------------------- everything in one table


def build(ops: Sequence[Op]) -> None:
    """Fills FUNCTIONS (torch.*) and METHODS (Tensor.*)."""
    make_functions(ops)
    FUNCTIONS["_add"], FUNCTIONS["_sub"] = FUNCTIONS["add"], FUNCTIONS["sub"]
    here = sys.modules[__name__]
    both = (
        "add sub div floor_divide remainder pow clamp lerp addcmul addcdiv where masked_fill logical_and logical_or "
        "logical_xor logical_not isclose allclose equal unbind split chunk movedim is_floating_point clone "
        "ravel unflatten"
    ).split()
    functions_only = (
        "leaky_relu elu reshape permute broadcast_to is_tensor result_type t numel"
    ).split()
    methods_only = (
        "to contiguous fill_ zero_ add_ sub_ div_ pow_ clamp_ lerp_ addcmul_ addcdiv_ masked_fill_ view_as expand_as "
        "reshape_as repeat"
    ).split()
    for name in both:
        FUNCTIONS[name] = METHODS[name] = getattr(here, name)
    for name in functions_only:
        FUNCTIONS[name] = getattr(here, name)
    for name in methods_only:
        METHODS[name] = getattr(here, name)
    METHODS["where"] = _name(
        lambda self, condition, other: where(condition, self, other), "where", "`self` where the condition holds."
    )
    METHODS["type"] = type_
    METHODS["copy_"] = _tensor.copy_
    METHODS["type_as"] = _name(lambda self, other: to(self, other.dtype), "type_as", "Converted to another's dtype.")
    for t_, name in ((float32, "float"), (float64, "double"), (int64, "long"), (int32, "int"), (bool_, "bool"), (uint8, "byte")):
        METHODS[name] = _caster(t_, name)
    METHODS["cpu"] = _name(lambda self, memory_format=None: self, "cpu", "The tensor itself: it is on the CPU.")
    METHODS["cuda"] = _name(_no_cuda, "cuda", "Raises: this build has no GPU.")
    for name in ("view", "reshape", "permute", "transpose", "t", "unsqueeze", "squeeze", "expand", "flatten", "narrow", "select"):
        METHODS[name] = getattr(_views, name)
    for name in ("transpose", "unsqueeze", "squeeze", "flatten", "narrow", "select"):
        FUNCTIONS[name] = getattr(_views, name)
    METHODS["_arrangement"] = _views.arrangement
    METHODS["swapaxes"] = FUNCTIONS["swapaxes"] = _views.transpose
    METHODS["nelement"] = _name(lambda self: self.numel(), "nelement", "The number of elements.")
    METHODS["element_size"] = _name(lambda self: self.dtype.itemsize, "element_size", "Bytes of one element.")
    METHODS["is_floating_point"] = is_floating_point
    METHODS["ndimension"] = _name(lambda self: self.ndim, "ndimension", "The number of dimensions.")
    METHODS["__deepcopy__"] = _deepcopy
    METHODS["__reduce_ex__"] = _reduce
    for name, source in (("clip", "clamp"), ("absolute", "abs"), ("negative", "neg"), ("multiply", "mul"), ("subtract", "sub"),
                         ("divide", "div"), ("true_divide", "div"), ("not_equal", "ne"), ("greater", "gt"), ("greater_equal", "ge"),
                         ("less", "lt"), ("less_equal", "le"), ("fix", "trunc")):
        FUNCTIONS[name] = METHODS[name] = FUNCTIONS[source]
    METHODS["clip_"] = clamp_
    METHODS["swapdims"] = FUNCTIONS["swapdims"] = _views.transpose
    _from_families()


_REDUCTIONS = "sum mean prod amax amin argmax argmin any all logsumexp var std".split()
_PRODUCTS = "matmul mm bmm mv dot".split()
_INDEXING = "index_select gather scatter_add nonzero tril triu".split()


class MaxResult(NamedTuple):
    """What `max(dim)` returns."""

    values: Tensor
    indices: Tensor


class MinResult(NamedTuple):
    """What `min(dim)` returns."""

    values: Tensor
    indices: Tensor


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:  # noqa: A001
    """The largest element; along `dim` values and indices; with a second tensor the larger of the two.

    >>> import tapegrad as torch
    >>> torch.max(torch.tensor([[1., 3.], [4., 2.]]), dim=1).indices
    tensor([1, 0])
    """
    _tensor_argument("max", input)
    if isinstance(dim, Tensor) or other is not None:
        return FUNCTIONS["maximum"](input, dim if other is None else other)
    return reduction.max_all(input) if dim is None else MaxResult(*reduction.max_dim(input, dim, keepdim))


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:  # noqa: A001
    """The smallest element; along `dim` values and indices; with a second tensor the smaller of the two."""
    _tensor_argument("min", input)
    if isinstance(dim, Tensor) or other is not None:
        return FUNCTIONS["minimum"](input, dim if other is None else other)
    return reduction.min_all(input) if dim is None else MinResult(*reduction.min_dim(input, dim, keepdim))


def var(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    """The variance over `dim`; `correction` (1, or 0 with unbiased=False) is taken from the count."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return reduction.var(input, dim, (0 if unbiased is False else 1) if correction is None else correction, keepdim)


def std(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    """The square root of the variance over `dim`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return reduction.std(input, dim, (0 if unbiased is False else 1) if correction is None else correction, keepdim)


def norm(input: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The p-norm over `dim` (all dimensions if None): p a number, inf, -inf or "fro"."""
    _tensor_argument("norm", input)
    if p in ("fro", None):
        p = 2
    if not isinstance(p, (int, float)):
        raise RuntimeError(f"norm: p must be a number, inf or 'fro', got {p!r}")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {type_(input)[6:-6]}")
    size = FUNCTIONS["abs"](input)
    if p == 2:
        return FUNCTIONS["sqrt"](reduction.sum(input * input, dim, keepdim))
    if p == 1:
        return reduction.sum(size, dim, keepdim)
    if p == 0:
        return reduction.sum((input != 0).to(input.dtype), dim, keepdim)
    if p == math.inf:
        return reduction.amax(size, () if dim is None else dim, keepdim)
    if p == -math.inf:
        return reduction.amin(size, () if dim is None else dim, keepdim)
    return pow(reduction.sum(pow(size, p), dim, keepdim), 1.0 / p)


def _same_dtype(join: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`cat` and `stack` of tensors of several dtypes: promoted first."""

    def function(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        if isinstance(tensors, (tuple, list)) and len({t._dt for t in tensors if isinstance(t, Tensor)}) > 1:
            common = tensors[0].dtype
            for t in tensors[1:]:
                if isinstance(t, Tensor):
                    common = promote_types(common, t.dtype)
            tensors = [t.to(common) if isinstance(t, Tensor) else t for t in tensors]
        return join(tensors, dim)

    return _name(function, name, join.__doc__ or "")


def _from_families() -> None:
    """The public functions that the families of structured ops define."""
    for module, names in ((reduction, _REDUCTIONS), (product, _PRODUCTS), (indexing, _INDEXING)):
        for name in names:
            FUNCTIONS[name] = METHODS[name] = getattr(module, name)
    for f in (max, min, var, std, norm):
        FUNCTIONS[f.__name__] = METHODS[f.__name__] = f
    for name in ("gather", "scatter_add"):
        FUNCTIONS[name] = METHODS[name] = _dim_second(getattr(indexing, name), name)
    for name in ("tril", "triu"):
        FUNCTIONS[name] = METHODS[name] = _diagonal(getattr(indexing, name), name)
    for name in ("softmax", "log_softmax"):
        FUNCTIONS[name] = METHODS[name] = _softmax(getattr(softmax_ops, name), name)
    for name in ("cat", "stack"):
        FUNCTIONS[name] = _same_dtype(getattr(joining, name), name)
    FUNCTIONS["concat"] = FUNCTIONS["concatenate"] = FUNCTIONS["cat"]
    FUNCTIONS["linear"] = product.linear
    for name in ("cross_entropy", "nll_loss", "mse_loss", "l1_loss"):
        FUNCTIONS[name] = getattr(loss, name)


def _dim_second(op: Op, name: str) -> Callable[..., Any]:
    if name == "gather":

        def function(input: Tensor, dim: int, index: Tensor) -> Tensor:
            return op(input, index, dim)

        return _name(function, name, op.doc)

    def with_source(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
        return op(input, index, src, dim)

    return _name(with_source, name, op.doc)


def _diagonal(op: Op, name: str) -> Callable[..., Any]:
    def function(input: Tensor, diagonal: int = 0) -> Tensor:
        return op(input, diagonal)

    return _name(function, name, op.doc)


def _softmax(op: Op, name: str) -> Callable[..., Any]:
    def function(input: Tensor, dim: int, dtype: dtype | None = None) -> Tensor:
        _tensor_argument(name, input)
        if dtype is not None:
            input = to(input, dtype)
        return op(input, dim)

    return _name(function, name, op.doc)


def _no_cuda(self: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    raise RuntimeError("tapegrad has no cuda device in this build; leave the tensor on the CPU")


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(self) in memo:
        found: Tensor = memo[id(self)]
        return found
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
            "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, "
            "see https://github.com/pytorch/pytorch/pull/103001"
        )
    copy = _tensor.clone(self.detach()).requires_grad_(self.requires_grad)
    if self.grad is not None:
        copy.grad = _tensor.clone(self.grad.detach())
    memo[id(self)] = copy
    return copy


def _rebuild(array: Any, requires_grad: bool) -> Tensor:
    return _tensor.clone(_tensor.from_numpy(array)).requires_grad_(requires_grad)


def _reduce(self: Tensor, protocol: Any) -> tuple[Any, ...]:
    if not self.is_leaf:
        raise RuntimeError("only leaf tensors can be pickled; call .detach() first")
    return _rebuild, (self.detach().numpy().copy(), self.requires_grad)


def attach_symbols() -> None:
    """Gives the names of formulas their meaning on tensors, for derivatives of derivatives."""
    for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "tanh", "sigmoid", "sin", "cos", "tan", "erf", "sqrt",
                 "floor", "ceil", "trunc", "maximum", "minimum", "isnan"):
        getattr(symbols, name).tensor_function = FUNCTIONS[name]
    symbols.rint.tensor_function = FUNCTIONS["round"]
    symbols.fabs.tensor_function = FUNCTIONS["abs"]
    symbols.pow.tensor_function = pow
    symbols.where.tensor_function = lambda c, a, b: apply_pointwise(BY_NAME["where"].id, (c, a, b))
    symbols.fma.tensor_function = lambda a, b, c: a * b + c


def inf_and_nan() -> dict[str, float]:
    """The constants of the public namespace."""
    return {"inf": math.inf, "nan": math.nan, "pi": math.pi, "e": math.e}


