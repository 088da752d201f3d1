"""Which function stands under which public name, as a function and as a method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import _tensor, _views
from .._tensor import Tensor, apply_pointwise
from ..dtypes import bool_, dtype, float32, float64, int32, int64, promote_types, uint8
from ..native import symbols
from ..ops import indexing, joining, loss, product, reduction
from ..ops import softmax as softmax_ops
from ..ops.registry import BY_NAME, Op
from . import about, arithmetic, beside_numpy, conversion, duplicates, reductions, rounding, selection, shapes
from .base import FUNCTIONS, METHODS, make_functions, named, tensor_argument
from .spellings import spell

# Functions and methods alike; only functions; only methods.
_BOTH = {
    about: ("is_complex", "is_nonzero", "is_same_size"),
    arithmetic: (*("add", "sub", "div", "floor_divide", "remainder", "pow", "clamp", "lerp", "addcmul", "addcdiv"),
        *("floor", "ceil", "trunc", "isnan", "isinf", "isfinite", "sign", "square", "maximum", "minimum"),
        "bitwise_not",
    ),
    conversion: ("clone",),
    rounding: ("round",),
    reductions: ("max", "min", "var", "std", "norm"),
    selection: (
        *("where", "masked_fill", "logical_and", "logical_or", "logical_xor", "logical_not"),
        *("isclose", "allclose", "equal"),
    ),
    shapes: ("unbind", "split", "chunk", "movedim", "is_floating_point", "ravel", "unflatten"),
    _views: ("transpose", "unsqueeze", "squeeze", "flatten", "narrow", "select"),
    reduction: ("sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "any", "all", "logsumexp"),
    product: ("matmul", "mm", "bmm", "mv", "dot"),
    indexing: ("index_select", "nonzero"),
}
_FUNCTIONS_ONLY = {
    about: ("can_cast", "is_inference", "typename"),
    arithmetic: ("leaky_relu", "elu"),
    shapes: ("reshape", "permute", "broadcast_to", "is_tensor", "result_type", "t", "numel"),
    product: ("linear",),
    loss: ("cross_entropy", "nll_loss", "mse_loss", "l1_loss"),
}
_METHODS_ONLY = {
    about: ("get_device", "is_pinned"),
    arithmetic: (
        *("add_", "sub_", "div_", "floor_divide_", "remainder_", "pow_", "clamp_"),
        *("lerp_", "addcmul_", "addcdiv_"),
    ),
    rounding: ("round_",),
    conversion: ("to", "contiguous", "fill_", "zero_"),
    selection: ("masked_fill_",),
    shapes: ("view_as", "expand_as", "reshape_as", "repeat"),
    _views: ("view", "reshape", "permute", "t", "expand"),
}
# PyTorch's second names.
_ALIASES = {
    "clip": "clamp",
    "absolute": "abs",
    "negative": "neg",
    "multiply": "mul",
    "subtract": "sub",
    "divide": "div",
    "true_divide": "div",
    "not_equal": "ne",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "fix": "trunc",
    "moveaxis": "movedim",
    "swapaxes": "transpose",
    "swapdims": "transpose",
}
_CASTS = {"float": float32, "double": float64, "long": int64, "int": int32, "bool": bool_, "byte": uint8}
# Names of formulas that mean the function of the same name.
_FORMULA_NAMES = (
    *("exp", "expm1", "log", "log1p", "log2", "log10", "tanh", "sigmoid", "sin", "cos", "tan", "erf", "sqrt"),
    *("floor", "ceil", "trunc", "isnan"),
)


def build(ops: Sequence[Op]) -> None:
    """Fills FUNCTIONS (torch.*) and METHODS (Tensor.*); `ops` are the pointwise ones."""
    make_functions(ops)
    for module, names in _BOTH.items():
        for name in names:
            FUNCTIONS[name] = METHODS[name] = getattr(module, name)
    for module, names in _FUNCTIONS_ONLY.items():
        FUNCTIONS.update((name, getattr(module, name)) for name in names)
    for module, names in _METHODS_ONLY.items():
        METHODS.update((name, getattr(module, name)) for name in names)
    for name in ("gather", "scatter_add"):
        FUNCTIONS[name] = METHODS[name] = _dim_second(getattr(indexing, name), name)
    for name in ("tril", "triu"):
        FUNCTIONS[name] = METHODS[name] = _diagonal(getattr(indexing, name), name)
    for name in ("softmax", "log_softmax"):
        FUNCTIONS[name] = METHODS[name] = _softmax(getattr(softmax_ops, name), name)
    for name in ("cat", "stack"):
        FUNCTIONS[name] = _same_dtype(getattr(joining, name), name)
    FUNCTIONS["concat"] = FUNCTIONS["concatenate"] = FUNCTIONS["cat"]
    for name, source in _ALIASES.items():
        FUNCTIONS[name] = METHODS[name] = FUNCTIONS[source]
    METHODS["clip_"] = arithmetic.clamp_
    _small_methods()
    spell()


def _small_methods() -> None:
    METHODS["where"] = named(
        lambda self, condition, other: selection.where(condition, self, other),
        "where",
        "`self` where the condition holds.",
    )
    for name, t in _CASTS.items():
        METHODS[name] = conversion.caster(t, name)
    METHODS["type"] = conversion.type_
    METHODS["copy_"] = conversion.copy_
    METHODS["type_as"] = named(
        lambda self, other: conversion.to(self, other.dtype), "type_as", "Converted to another's dtype."
    )
    METHODS["cpu"] = named(lambda self, memory_format=None: self, "cpu", "The tensor itself: it is on the CPU.")
    METHODS["cuda"] = named(conversion.no_cuda, "cuda", "Raises: this build has no GPU.")
    METHODS["nelement"] = named(lambda self: self.numel(), "nelement", "The number of elements.")
    METHODS["element_size"] = named(lambda self: self.dtype.itemsize, "element_size", "Bytes of one element.")
    METHODS["ndimension"] = named(lambda self: self.ndim, "ndimension", "The number of dimensions.")
    METHODS["_arrangement"] = _views.arrangement
    METHODS["__reversed__"] = shapes.reverse
    METHODS["__array_wrap__"] = beside_numpy.array_wrap
    METHODS["__copy__"] = duplicates.shallow_copy
    METHODS["__deepcopy__"] = duplicates.deepcopy
    METHODS["__reduce_ex__"] = duplicates.reduce_ex


def _same_dtype(join: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`cat` and `stack` of tensors of several dtypes: promoted first."""

    def function(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        if isinstance(tensors, (tuple, list)) and len({t._dt for t in tensors if isinstance(t, Tensor)}) > 1:
            common = functools.reduce(promote_types, (t.dtype for t in tensors if isinstance(t, Tensor)))
            tensors = [t.to(common) if isinstance(t, Tensor) else t for t in tensors]
        return join(tensors, dim)

    return named(function, name, join.__doc__ or "")


def _dim_second(op: Op, name: str) -> Callable[..., Any]:
    if name == "gather":

        def function(input: Tensor, dim: int, index: Tensor) -> Tensor:
            tensor_argument(name, input)
            tensor_argument(name, index, 3, "index")
            if index.dtype is int32:
                index = index.to(int64)
            if input.ndim + index.ndim == 1:  # a tensor without dimensions counts as one of one element
                return op(input.reshape(-1), index.reshape(-1), dim).reshape(index.shape)
            return op(input, index, dim)

        return named(function, name, op.doc)

    def with_source(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
        tensor_argument(name, input)
        tensor_argument(name, index, 3, "index")
        tensor_argument(name, src, 4, "src")
        if index.dtype is int32:
            index = index.to(int64)
        if input.ndim <= 1 and index.ndim <= 1 and src.ndim <= 1:
            return op(input.reshape(-1), index.reshape(-1), src.reshape(-1), dim).reshape(input.shape)
        return op(input, index, src, dim)

    return named(with_source, name, op.doc)


def _diagonal(op: Op, name: str) -> Callable[..., Any]:
    def function(input: Tensor, diagonal: int = 0) -> Tensor:
        return op(input, diagonal)

    return named(function, name, op.doc)


def _softmax(op: Op, name: str) -> Callable[..., Any]:
    def function(input: Tensor, dim: int, dtype: dtype | None = None) -> Tensor:
        tensor_argument(name, input)
        if dtype is not None:
            input = conversion.to(input, dtype)
        return op(input, dim)

    return named(function, name, op.doc)


def attach_symbols() -> None:
    """Gives the names of formulas their meaning on tensors, for derivatives of derivatives."""
    for name in _FORMULA_NAMES:
        getattr(symbols, name).tensor_function = FUNCTIONS[name]
    symbols.rint.tensor_function = FUNCTIONS["round"]
    symbols.fabs.tensor_function = FUNCTIONS["abs"]
    for name in ("maximum", "minimum"):  # which take numbers too in formulas
        getattr(symbols, name).tensor_function = functools.partial(_tensor.binary, BY_NAME[name].id)
    symbols.pow.tensor_function = arithmetic.pow
    symbols.normal_cdf.tensor_function = lambda x: 0.5 * (1.0 + FUNCTIONS["erf"](x * 0.7071067811865476))
    symbols.where.tensor_function = lambda c, a, b: apply_pointwise(BY_NAME["where"].id, (c, a, b))
    symbols.fma.tensor_function = lambda a, b, c: a * b + c
