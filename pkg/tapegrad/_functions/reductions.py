"""Extremes with their places, variances and norms: choices of arguments over the families of reductions."""

from __future__ import annotations

import math
from typing import Any

from .. import return_types
from .._structured import Shortcut
from .._tensor import Tensor
from ..ops import reduction
from ..ops.registry import BY_NAME
from .arithmetic import pow
from .base import FUNCTIONS, tensor_argument
from .beside_numpy import plain
from .conversion import type_

_max_all = Shortcut(reduction.max_all, BY_NAME["amax"])
_min_all = Shortcut(reduction.min_all, BY_NAME["amin"])
_max_dim = Shortcut(reduction.max_dim, BY_NAME["max_dim"])
_min_dim = Shortcut(reduction.min_dim, BY_NAME["min_dim"])
_var = Shortcut(reduction.var, BY_NAME["var"])
_std = Shortcut(reduction.std, BY_NAME["std"])
_norm2 = Shortcut(reduction.norm2, BY_NAME["linalg_vector_norm"])


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element; along `dim` values and indices; with a second tensor the larger of the two.

    >>> import tapegrad as torch
    >>> torch.max(torch.tensor([[1., 3.], [4., 2.]]), dim=1).indices
    tensor([1, 0])
    """
    if not isinstance(input, Tensor):
        tensor_argument("max", input)
    if isinstance(dim, Tensor) or other is not None:
        return FUNCTIONS["maximum"](input, dim if other is None else other)
    return _max_all(input) if dim is None else return_types.max(_max_dim(input, dim, keepdim))


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element; along `dim` values and indices; with a second tensor the smaller of the two."""
    if not isinstance(input, Tensor):
        tensor_argument("min", input)
    if isinstance(dim, Tensor) or other is not None:
        return FUNCTIONS["minimum"](input, dim if other is None else other)
    return _min_all(input) if dim is None else return_types.min(_min_dim(input, dim, keepdim))


def var(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The variance over `dim`; `correction` (1, or 0 with unbiased=False) is taken from the count."""
    tensor_argument("var", input)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return _var(input, dim, (0 if unbiased is False else 1) if correction is None else correction, keepdim)


def std(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The square root of the variance over `dim`."""
    tensor_argument("std", input)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return _std(input, dim, (0 if unbiased is False else 1) if correction is None else correction, keepdim)


def norm(input: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The p-norm over `dim` (all dimensions if None): p a number, inf, -inf or "fro"."""
    tensor_argument("norm", input)
    p = 2 if p in ("fro", None) else plain(p)
    if not isinstance(p, (int, float)):
        raise RuntimeError(f"norm: p must be a number, inf or 'fro', got {p!r}")
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {type_(input)[6:-6]}"
        )
    if p == 2:
        return _norm2(input, dim, keepdim)
    size = FUNCTIONS["abs"](input)
    if p == 1:
        return reduction.sum(size, dim, keepdim)
    if p == 0:
        return reduction.sum((input != 0).to(input.dtype), dim, keepdim)
    if p == math.inf:
        return reduction.amax(size, () if dim is None else dim, keepdim)
    if p == -math.inf:
        return reduction.amin(size, () if dim is None else dim, keepdim)
    return pow(reduction.sum(pow(size, p), dim, keepdim), 1.0 / p)
