"""Sums, means, products, extremes and truths over dimensions.

    sum:  dx = g     mean: dx = g / n     prod: dx = g (product of the others)
    amax, amin: g shared evenly by equal elements     max_dim, min_dim: all of g to one place

An op reduces dimensions that lie next to each other in memory, seen as (outer, n, inner). The functions
permute first where they do not. Sums and products of whole numbers are int64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from .._layout import MAX_DIMS
from ..dtypes import DTYPES, bool_, float32, float64, int32, int64, uint8
from . import reduction_kernels as kernels
from . import reduction_logsumexp as exponentials
from . import reduction_norms as norms
from . import reduction_places as places
from . import reduction_variances as variances
from .registry import Given, Plan, structured
from .shapes import normal_dim, normal_dims, numel

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "logsumexp",
    "max_all",
    "max_dim",
    "mean",
    "min_all",
    "min_dim",
    "norm2",
    "prod",
    "std",
    "sum",
    "var",
]

_FLOATS = (float32, float64)
_NUMBERS = (float32, float64, int64, int32, uint8)
_WHOLE = (int64, int32, uint8, bool_)
Dims = int | Sequence[int] | None


def _span(shape: Sequence[int], dims: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(outer, n, inner) if no dimension of more than one element is kept between reduced ones."""
    if not dims:
        return numel(shape), 1, 1
    first, last = dims[0], dims[-1]
    n = 1
    for d in range(first, last + 1):
        if d in dims:
            n *= shape[d]
        elif shape[d] != 1:
            return None
    return numel(shape[:first]), n, numel(shape[last + 1 :])


def _kept_shape(shape: Sequence[int], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    if keepdim:
        return tuple(1 if d in dims else s for d, s in enumerate(shape))
    return tuple(s for d, s in enumerate(shape) if d not in dims)


def _plan(x: Any, dims: tuple[int, ...], keepdim: bool, dtype: Any, places_too: bool = False) -> Plan:
    span = _span(x.shape, dims)
    assert span is not None, "the dimensions must be neighbours; the public functions see to it"
    shape = _kept_shape(x.shape, dims, keepdim)
    aux = (shape, int64) if places_too else None
    return Plan(shape, dtype, words=(*span, x.dtype.itemsize, len(dims), *dims, *x.shape), aux=aux)


def _to_same(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Plan:
    return _plan(x, dims, keepdim, x.dtype)


def _to_int64(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Plan:
    return _plan(x, dims, keepdim, int64)


def _to_bool(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Plan:
    return _plan(x, dims, keepdim, bool_)


def _with_places(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Plan:
    return _plan(x, dims, keepdim, x.dtype, places_too=True)


def _spread(x: Any, dims: tuple[int, ...], keepdim: bool = False, correction: float = 1.0) -> Plan:
    plan = _plan(x, dims, keepdim, x.dtype)
    divisor = max(0.0, numel([x.shape[d] for d in dims]) - correction)
    plan.params, plan.aux = struct.pack("<d", divisor), (plan.shape, float64)
    return plan


def _dims_and_shape(c: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The reduced dimensions and the input's shape: from the words, since not every op saves its input."""
    last = 5 + c.words[4]
    return tuple(c.words[5:last]), tuple(c.words[last:])


def _restored(c: Any, t: Any) -> Any:
    """A tensor of the result's shape with the reduced dimensions back as 1."""
    dims, shape = _dims_and_shape(c)
    return t.reshape(_kept_shape(shape, dims, True))


def _sum_dx(c: Any, g: Any) -> Any:
    return _restored(c, g).expand(_dims_and_shape(c)[1])


def _prod_dx(c: Any, g: Any) -> Any:
    dims = _dims_and_shape(c)[0]
    if not dims:
        return _restored(c, g)
    if bool((c.x == 0).any()):
        return _restored(c, g) * _product_of_others(c.x, dims)
    whole = c.x
    for d in dims:
        whole = whole.prod(d, True)
    return _restored(c, g) * (whole / c.x)


def _product_of_others(x: Any, dims: tuple[int, ...]) -> Any:
    """For each element the product of the others along `dims`, without division: n * n of them."""
    outer, inner = numel(x.shape[: dims[0]]), numel(x.shape[dims[-1] + 1 :])
    n = numel([x.shape[d] for d in dims])
    rows = x.reshape(outer, n, inner).permute(0, 2, 1).unsqueeze(2).expand(outer, inner, n, n)
    own = x.new_ones((n, n)).tril().triu() != 0
    others = rows.masked_fill(own, 1.0).prod(3)
    return others.permute(0, 2, 1).reshape(x.shape)


def _extreme_dx(c: Any, g: Any) -> Any:
    y = _restored(c, c.y)
    equal = ((c.x == y) | ((c.x != c.x) & (y != y))).to(g.dtype)
    dims = _dims_and_shape(c)[0]
    count = equal.sum(dims, True) if dims else equal
    return _restored(c, g) / count * equal


def _norm2_dx(c: Any, g: Any) -> Any:
    y = _restored(c, c.y)
    return c.x * (_restored(c, g) / y).masked_fill(y == 0, 0.0)


def _differences(c: Any) -> tuple[Any, float]:
    """The differences of x from its mean, with a history, and the divisor of their squares' sum."""
    return c.x - c.x.mean(_dims_and_shape(c)[0] or None, True), struct.unpack("<d", c.params)[0]


def _var_dx(c: Any, g: Any) -> Any:
    d, divisor = _differences(c)
    return _restored(c, g) * d * (2.0 / divisor if divisor else math.inf)


def _std_dx(c: Any, g: Any) -> Any:
    d, divisor = _differences(c)
    y = _restored(c, c.y)
    return (_restored(c, g) / (y * divisor)).masked_fill(y == 0, 0.0) * d


def _place_dx(c: Any, g: Any) -> Any:
    dims, full = _dims_and_shape(c)
    if not dims:
        return g.reshape(full)
    outer, n, inner = c.words[:3]
    zeros = g.new_zeros((outer, n, inner))
    shape = (outer, 1, inner)
    return zeros.scatter_add(1, c.aux.reshape(shape), g.reshape(shape)).reshape(full)


_CONSTANTS = {
    **dict.fromkeys(
        ("SEGMENT", "BAND", "LANES", "SHORT_RUN", "WIDE_RUN"), lambda n: ((3 if n < 9999 else 1, n), {"dims": (1,)})
    ),
    "WIDTH": lambda n: ((2, 3, n), {"dims": (1,)}),
    "ROWS": lambda n: ((2, n, 3), {"dims": (1,)}),
    "BLOCK": lambda n: ((n // 4, 4), {"dims": (0,)}),
    "ROOM": None,  # bytes, which follow from WIDTH
}


def _declare(
    name: str,
    rule: Any,
    forward: Any,
    dtypes: Any,
    doc: str,
    dx: Any = None,
    needs: Any = (),
    derivative: Any = None,
    returns_aux: bool = False,
    samples: Any = (),
) -> Any:
    return structured(
        name,
        inputs=("x",),
        rule=rule,
        forward=forward,
        backward={"x": (dx, needs)} if dx else {},
        derivative={"x": derivative} if derivative else {},
        dtypes=dtypes,
        contiguous=True,
        returns_aux=returns_aux,
        doc=doc,
        samples=[
            ((2, 3), {"dims": (1,)}),
            ((2, 3, 4), {"dims": (0, 1)}),
            ((3,), {"dims": (0,), "keepdim": True}),
            ((), {"dims": ()}),
            ((2, 3, 4), {"dims": (1,), "keepdim": True}),
            (Given([[0, 1, 2], [3, 0, 1], [2, 4, 0]]), {"dims": (1,)}),
            *samples,
            ((300, 150), {"dims": (1,)}),
            ((150, 300), {"dims": (0,)}),
            ((300, 150), {"dims": (0, 1)}),
        ],
        constants=_CONSTANTS,
    )


_sum = _declare(
    "sum",
    _to_same,
    kernels.sum_kernel,
    _FLOATS,
    "Sum over neighbouring dimensions.",
    kernels.sum_dx_kernel,
    (),
    _sum_dx,
)
_mean = _declare(
    "mean",
    _to_same,
    kernels.mean_kernel,
    _FLOATS,
    "Mean over neighbouring dimensions; NaN of nothing.",
    kernels.mean_dx_kernel,
    (),
    lambda c, g: _sum_dx(c, g) / c.words[1],
)
_prod = _declare(
    "prod",
    _to_same,
    kernels.prod_kernel,
    _FLOATS,
    "Product over neighbouring dimensions; 1 of nothing.",
    kernels.prod_dx_kernel,
    ("x",),
    _prod_dx,
    samples=[(Given([[0, 2, 0], [0, 0, 0], [3, 0, 4]]), {"dims": (1,)})],  # more zeros than one
)
_integer_sum = _declare("integer_sum", _to_int64, kernels.integer_sum_kernel, _WHOLE, "Sum in int64.")
_integer_prod = _declare(
    "integer_prod", _to_int64, kernels.integer_prod_kernel, _WHOLE, "Product in int64."
)
_any = _declare("any", _to_bool, kernels.any_kernel, DTYPES, "Whether an element is not 0.")
_all = _declare("all", _to_bool, kernels.all_kernel, DTYPES, "Whether no element is 0.")
_amax = _declare(
    "amax",
    _to_same,
    kernels.amax_kernel,
    DTYPES,
    "Largest element; NaN if there is one.",
    kernels.extreme_dx_kernel,
    ("x", "y"),
    _extreme_dx,
)
_amin = _declare(
    "amin",
    _to_same,
    kernels.amin_kernel,
    DTYPES,
    "Smallest element; NaN if there is one.",
    kernels.extreme_dx_kernel,
    ("x", "y"),
    _extreme_dx,
)
_norm2 = _declare(
    "linalg_vector_norm",
    _to_same,
    norms.norm2_kernel,
    _FLOATS,
    "Euclidean norm over neighbouring dimensions; its gradient is 0 where it is 0.",
    norms.norm2_dx_kernel,
    ("x", "y"),
    _norm2_dx,
)
_logsumexp = _declare(
    "logsumexp",
    _to_same,
    exponentials.logsumexp_kernel,
    _FLOATS,
    "Logarithm of the sum of exponentials over neighbouring dimensions.",
    exponentials.logsumexp_dx_kernel,
    ("x", "y"),
    lambda c, g: _restored(c, g) * (c.x - _restored(c, c.y)).exp(),
)
_SPREAD_SAMPLES = [((5, 4), {"dims": (0,), "correction": 0.0}), ((70000,), {"dims": (0,), "correction": 1.0})]
_var = _declare(
    "var",
    _spread,
    variances.var_kernel,
    _FLOATS,
    "Variance over neighbouring dimensions: squares of differences over n - correction.",
    variances.var_dx_kernel,
    ("x", "aux"),
    _var_dx,
    samples=_SPREAD_SAMPLES,
)
_std = _declare(
    "std",
    _spread,
    variances.std_kernel,
    _FLOATS,
    "Square root of the variance over neighbouring dimensions; its gradient is 0 where it is 0.",
    variances.std_dx_kernel,
    ("x", "y", "aux"),
    _std_dx,
    samples=_SPREAD_SAMPLES,
)
_max_dim = _declare(
    "max_dim",
    _with_places,
    places.max_dim_kernel,
    DTYPES,
    "Largest element along a dimension, and its first place as the second result.",
    places.place_dx_kernel,
    ("aux",),
    _place_dx,
    True,
)
_min_dim = _declare(
    "min_dim",
    _with_places,
    places.min_dim_kernel,
    DTYPES,
    "Smallest element along a dimension, and its first place as the second result.",
    places.place_dx_kernel,
    ("aux",),
    _place_dx,
    True,
)
_argmax = _declare(
    "argmax", _to_int64, places.argmax_kernel, _NUMBERS, "First place of the largest element."
)
_argmin = _declare(
    "argmin", _to_int64, places.argmin_kernel, _NUMBERS, "First place of the smallest element."
)


# ---- public functions ---------------------------------------------------------------------------


_ALL_DIMS = tuple(tuple(range(ndim)) for ndim in range(MAX_DIMS + 1))


def _reduce(op: Any, x: Any, dims: tuple[int, ...], keepdim: bool, *more: Any) -> Any:
    if len(dims) == x.ndim or _span(x.shape, dims) is not None:
        return op(x, dims, keepdim, *more)
    kept = tuple(d for d in range(x.ndim) if d not in dims)
    y = op(x.permute(*kept, *dims), tuple(range(len(kept), x.ndim)), False, *more)
    return y.reshape(_kept_shape(x.shape, dims, True)) if keepdim else y


def _needs_elements(name: str, x: Any, dims: tuple[int, ...], given: bool) -> None:
    if x.numel() == 0 and not given:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
        )
    for d in dims:
        if given and x.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _float_only(x: Any) -> None:
    if not x.dtype.is_floating_point:
        name = {"int64": "Long", "int32": "Int", "uint8": "Byte", "bool": "Bool"}[x.dtype.name]
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex "
            f"dtype. Got: {name}"
        )


def sum(x: Any, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Sum over `dim` (a number, several, or None for all); whole numbers and bools give int64.

    >>> import tapegrad as torch
    >>> torch.sum(torch.tensor([[1., 2.], [3., 4.]]), dim=0)
    tensor([4., 6.])
    """
    if dim is None and dtype is None:  # the way most losses end: no detour
        return (_sum if x.dtype.is_floating_point else _integer_sum)(x, _ALL_DIMS[x.ndim], keepdim)
    if dtype is not None and dtype is not x.dtype:
        x = x.to(dtype)
    op = _sum if x.dtype.is_floating_point else _integer_sum
    y = _reduce(op, x, normal_dims(dim, x.ndim), keepdim)
    return y if dtype is None or y.dtype is dtype else y.to(dtype)


def mean(x: Any, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Mean over `dim` (a number, several, or None for all) of floating-point numbers.

    >>> import tapegrad as torch
    >>> torch.mean(torch.tensor([[1., 2.], [3., 4.]]), dim=1)
    tensor([1.5000, 3.5000])
    """
    if dtype is not None and dtype is not x.dtype:
        x = x.to(dtype)
    _float_only(x)
    return _reduce(_mean, x, normal_dims(dim, x.ndim), keepdim)


def prod(x: Any, dim: int | None = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Product over one dimension or all; whole numbers and bools give int64.

    >>> import tapegrad as torch
    >>> torch.prod(torch.tensor([2., 3.]))
    tensor(6.)
    """
    if dtype is not None and dtype is not x.dtype:
        x = x.to(dtype)
    op = _prod if x.dtype.is_floating_point else _integer_prod
    y = _reduce(op, x, normal_dims(dim, x.ndim), keepdim)
    return y if dtype is None or y.dtype is dtype else y.to(dtype)


def any(x: Any, dim: Dims = None, keepdim: bool = False) -> Any:
    """Whether any element along `dim` is not 0, as bool (uint8 for uint8).

    >>> import tapegrad as torch
    >>> torch.any(torch.tensor([[True, False], [False, False]]), dim=1)
    tensor([ True, False])
    """
    y = _reduce(_any, x, normal_dims(dim, x.ndim), keepdim)
    return y.to(uint8) if x.dtype is uint8 else y


def all(x: Any, dim: Dims = None, keepdim: bool = False) -> Any:
    """Whether no element along `dim` is 0, as bool (uint8 for uint8).

    >>> import tapegrad as torch
    >>> torch.all(torch.tensor([[True, False], [True, True]]), dim=1)
    tensor([False,  True])
    """
    y = _reduce(_all, x, normal_dims(dim, x.ndim), keepdim)
    return y.to(uint8) if x.dtype is uint8 else y


def amax(x: Any, dim: Dims = (), keepdim: bool = False) -> Any:
    """Largest element over `dim`; equal elements share the gradient evenly.

    >>> import tapegrad as torch
    >>> torch.amax(torch.tensor([[1., 2.], [4., 3.]]), dim=1)
    tensor([2., 4.])
    """
    dims = normal_dims(dim, x.ndim)
    _needs_elements("amax", x, dims, dim not in (None, (), []))
    return _reduce(_amax, x, dims, keepdim)


def amin(x: Any, dim: Dims = (), keepdim: bool = False) -> Any:
    """Smallest element over `dim`; equal elements share the gradient evenly.

    >>> import tapegrad as torch
    >>> torch.amin(torch.tensor([[1., 2.], [4., 3.]]), dim=1)
    tensor([1., 3.])
    """
    dims = normal_dims(dim, x.ndim)
    _needs_elements("amin", x, dims, dim not in (None, (), []))
    return _reduce(_amin, x, dims, keepdim)


def max_all(x: Any) -> Any:
    """`x.max()`: the largest element; equal elements share the gradient evenly."""
    _needs_elements("max", x, (), False)
    return _reduce(_amax, x, normal_dims(None, x.ndim), False)


def min_all(x: Any) -> Any:
    """`x.min()`: the smallest element; equal elements share the gradient evenly."""
    _needs_elements("min", x, (), False)
    return _reduce(_amin, x, normal_dims(None, x.ndim), False)


def _along(op: Any, name: str, x: Any, dim: int, keepdim: bool) -> Any:
    dim = normal_dim(dim, x.ndim)
    dims = (dim,) if x.ndim else ()
    _needs_elements(name, x, dims, True)
    return op(x, dims=dims, keepdim=keepdim)


def max_dim(x: Any, dim: int, keepdim: bool = False) -> Any:
    """`x.max(dim)`: the values, with the first place of each as the op's second result (int64)."""
    return _along(_max_dim, "max", x, dim, keepdim)


def min_dim(x: Any, dim: int, keepdim: bool = False) -> Any:
    """`x.min(dim)`: the values, with the first place of each as the op's second result (int64)."""
    return _along(_min_dim, "min", x, dim, keepdim)


def _place(op: Any, name: str, x: Any, dim: int | None, keepdim: bool) -> Any:
    if x.dtype is bool_:
        raise RuntimeError(f"{name}(): does not support bool input")
    if dim is None:
        if x.numel() == 0:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        return op(x, dims=tuple(range(x.ndim)), keepdim=keepdim)
    return _along(op, name, x, dim, keepdim)


def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """First place of the largest element along `dim`, or in the flattened tensor; NaN counts as largest.

    >>> import tapegrad as torch
    >>> torch.argmax(torch.tensor([[1., 3., 2.], [4., 0., 4.]]), dim=1)
    tensor([1, 0])
    """
    return _place(_argmax, "argmax", x, dim, keepdim)


def argmin(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """First place of the smallest element along `dim`, or in the flattened tensor; NaN counts as smallest.

    >>> import tapegrad as torch
    >>> torch.argmin(torch.tensor([3., 1., 2.]))
    tensor(1)
    """
    return _place(_argmin, "argmin", x, dim, keepdim)


def norm2(x: Any, dim: Dims = None, keepdim: bool = False) -> Any:
    """Square root of the sum of squares over `dim` (a number, several, or None for all)."""
    return _reduce(_norm2, x, normal_dims(dim, x.ndim), keepdim)


def logsumexp(x: Any, dim: Dims, keepdim: bool = False) -> Any:
    """log of the sum of exp(x) over `dim`, safe for large x.

    >>> import tapegrad as torch
    >>> torch.logsumexp(torch.tensor([1000., 1000.]), dim=0)
    tensor(1000.6932)
    """
    if not x.dtype.is_floating_point:
        x = x.to(float32)
    return _reduce(_logsumexp, x, normal_dims(dim, x.ndim), keepdim)


def var(x: Any, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Any:
    """Variance over `dim`, the sum of squares divided by n - correction (NaN where that is 0 / 0).

    >>> import tapegrad as torch
    >>> torch.var(torch.tensor([1., 2., 3.]))
    tensor(1.)
    """
    return _reduce(_var, _of_floats(x), normal_dims(dim, x.ndim), keepdim, float(correction))


def _of_floats(x: Any) -> Any:
    if not x.dtype.is_floating_point:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    return x


def std(x: Any, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Any:
    """Square root of the variance over `dim`.

    >>> import tapegrad as torch
    >>> torch.std(torch.tensor([1., 2., 3.]))
    tensor(1.)
    """
    return _reduce(_std, _of_floats(x), normal_dims(dim, x.ndim), keepdim, float(correction))
