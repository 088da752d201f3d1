"""Reading and writing where index tensors say: `take_rows`, `put_rows`, `gather`, `scatter_add`, `nonzero`.

`x[key]` is planned by `index_plan`; its advanced part is `advanced_index` and `advanced_put`
below: the indexed dimensions are brought to the front, their indices become one row number, and
rows are taken or put.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import DTYPES, float32, float64, int32, int64, uint8
from . import indexing_kernels as kernels
from .index_plan import plan_index
from .indexing_samples import CONSTANTS, SAMPLES
from .joining import cat
from .registry import Given, Plan, structured
from .shapes import broadcast_shapes, normal_dim, numel
from .triangle import tril, triu

__all__ = [
    "advanced_index",
    "advanced_put",
    "gather",
    "index_select",
    "nonzero",
    "plan_index",
    "put_rows",
    "scatter_add",
    "take_rows",
    "tril",
    "triu",
]

_FLOATS = (float32, float64)
_NUMBERS = (float32, float64, int64, int32, uint8)


def _out_of_bounds(index: int, packed: int) -> Exception:
    size, dim = packed & ((1 << 48) - 1), packed >> 48
    return IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")


def _gather_out_of_bounds(index: int, packed: int) -> Exception:
    return RuntimeError(str(_out_of_bounds(index, packed)))


_ERRORS = {kernels.OUT_OF_BOUNDS: _out_of_bounds}


def _check_index(index: Any) -> None:
    if index.dtype is not int64:
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")


def take_rows_rule(x: Any, index: Any, dim: int = 0) -> Plan:
    _check_index(index)
    inner = numel(x.shape[1:])
    shape = (*index.shape, *x.shape[1:])
    return Plan(shape, x.dtype, words=(x.shape[0], inner, numel(index.shape), dim, *x.shape))


def _take_rows_dx(c: Any, g: Any) -> Any:
    n, inner, k = c.words[:3]
    zeros = g.new_zeros((n, inner))
    index = c.index.reshape(k)
    index = index + (index < 0) * n
    full = index.unsqueeze(1).expand(k, inner)
    return zeros.scatter_add(0, full, g.reshape(k, inner)).reshape(c.words[4:])


take_rows = structured(
    "take_rows",
    inputs=("x", "index"),
    rule=take_rows_rule,
    forward=kernels.take_rows_kernel,
    backward={"x": (kernels.take_rows_dx_kernel, ("index",))},
    derivative={"x": _take_rows_dx},
    dtypes=DTYPES,
    contiguous=True,
    errors=_ERRORS,
    doc="Rows x[index] for an int64 index of any shape; negative ones count from the end.",
    samples=SAMPLES["take_rows"],
    constants=CONSTANTS["take_rows"],
)


def put_rows_rule(x: Any, index: Any, v: Any, accumulate: bool = False) -> Plan:
    _check_index(index)
    words = (x.shape[0], numel(x.shape[1:]), numel(index.shape), int(accumulate))
    return Plan(x.shape, x.dtype, words=words)


def _put_rows_dx(c: Any, g: Any) -> Any:
    n, _, k, add = c.words[:4]
    if add:
        return g
    index = c.index.reshape(k)
    index = index + (index < 0) * n
    hits = g.new_zeros((n,)).scatter_add(0, index, g.new_ones((k,)))
    return g * (hits == 0).reshape(n, *[1] * (g.ndim - 1))


def _put_rows_dv(c: Any, g: Any) -> Any:
    return g[c.index]


put_rows = structured(
    "put_rows",
    inputs=("x", "index", "v"),  # v has the shape (*index.shape, *x.shape[1:])
    rule=put_rows_rule,
    forward=kernels.put_rows_kernel,
    backward={"x": (kernels.put_rows_dx_kernel, ("index",)), "v": (kernels.put_rows_dv_kernel, ("index",))},
    derivative={"x": _put_rows_dx, "v": _put_rows_dv},
    dtypes=_NUMBERS + DTYPES[5:],
    contiguous=True,
    errors=_ERRORS,
    doc="x with rows at the index replaced (or increased) by those of v; the result may be x's own memory.",
    samples=SAMPLES["put_rows"],
    constants=CONSTANTS["put_rows"],
)


def flat_index_rule(indices: Sequence[Any], sizes: Sequence[int], dims: Sequence[int]) -> Plan:
    for k, index in enumerate(indices):
        if index is None:
            raise TypeError(f"expected Tensor as element {k} of the indices, but got NoneType")
        _check_index(index)
        if tuple(index.shape) != tuple(indices[0].shape):
            raise RuntimeError("the indices differ in shape")
    pairs = [word for pair in zip(sizes, dims, strict=True) for word in pair]
    shape = indices[0].shape
    return Plan(shape, int64, words=(len(indices), numel(shape), *pairs))


flat_index = structured(
    "flat_index",
    inputs=("indices",),
    variadic=True,
    rule=flat_index_rule,
    forward=kernels.flat_index_kernel,
    backward={},
    derivative={},
    dtypes=(int64,),
    contiguous=True,
    errors=_ERRORS,
    doc="Row-major numbers of positions given by one int64 tensor per dimension, all of one shape.",
    samples=SAMPLES["flat_index"],
    constants=CONSTANTS["flat_index"],
)


# ---- slices along a dimension -------------------------------------------------------------------


def select_rule(x: Any, index: Any, dim: int) -> Plan:
    dim = normal_dim(dim, x.ndim)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.dtype is not int64:
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    outer, inner, k = numel(x.shape[:dim]), numel(x.shape[dim + 1 :]), numel(index.shape)
    shape = (*x.shape[:dim], k, *x.shape[dim + 1 :])
    return Plan(shape, x.dtype, words=(outer, x.shape[dim], inner, k, dim))


def _select_dx(c: Any, g: Any) -> Any:
    outer, n, inner, k, _ = c.words
    full = c.index.reshape(1, k, 1).expand(outer, k, inner)
    return g.new_zeros((outer, n, inner)).scatter_add(1, full, g.reshape(outer, k, inner)).reshape(c.input_shape)


_select = structured(
    "index_select",
    inputs=("x", "index"),
    rule=select_rule,
    forward=kernels.select_kernel,
    backward={"x": (kernels.select_dx_kernel, ("index",))},
    derivative={"x": _select_dx},
    dtypes=DTYPES,
    contiguous=True,
    errors={kernels.OUT_OF_BOUNDS: lambda *_: IndexError("index out of range in self")},
    doc="The slices of x along `dim` that a 1-D int64 index names.",
    samples=SAMPLES["index_select"],
    constants=CONSTANTS["index_select"],
)


# ---- gather and scatter_add ---------------------------------------------------------------------


def _contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _along_words(x: Any, dim: int, index: Any, source_shape: Sequence[int]) -> tuple[int, ...]:
    n = x.shape[dim] if x.ndim else 1
    strides = _contiguous_strides(x.shape), _contiguous_strides(source_shape)
    sizes = numel(x.shape), numel(index.shape), numel(source_shape)
    return (x.ndim, dim, *strides[0], *index.shape, *strides[1], n, *sizes)


def gather_rule(x: Any, index: Any, dim: int) -> Plan:
    dim = normal_dim(dim, x.ndim)
    if index.dtype is not int64:
        raise RuntimeError("gather(): Expected dtype int32/int64 for index")
    if max(1, index.ndim) != max(1, x.ndim):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    for d in range(x.ndim):
        if d != dim and index.shape[d] > x.shape[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no larger "
                f"than self {list(x.shape)} apart from dimension {dim}"
            )
    return Plan(index.shape, x.dtype, words=_along_words(x, dim, index, index.shape))


def _gather_dx(c: Any, g: Any) -> Any:
    return g.new_zeros(c.input_shape).scatter_add(c.words[1], c.index, g)


gather = structured(
    "gather",
    inputs=("x", "index"),
    rule=gather_rule,
    forward=kernels.gather_kernel,
    backward={"x": (kernels.gather_dx_kernel, ("index",))},
    derivative={"x": _gather_dx},
    dtypes=DTYPES,
    contiguous=True,
    errors={kernels.OUT_OF_BOUNDS: _gather_out_of_bounds},
    doc="y[i][j] = x[index[i][j]][j] for dim 0, and so on for other dimensions.",
    samples=SAMPLES["gather"],
    constants=CONSTANTS["gather"],
)


def scatter_add_rule(x: Any, index: Any, src: Any, dim: int) -> Plan:
    dim = normal_dim(dim, x.ndim)
    if index.dtype is not int64:
        raise RuntimeError("scatter(): Expected dtype int32/int64 for index")
    for name, other in (("self", x), ("src", src)):
        if max(1, index.ndim) != max(1, other.ndim):
            raise RuntimeError(f"Index tensor must have the same number of dimensions as {name} tensor")
    if x.ndim != index.ndim or x.ndim != src.ndim:
        raise RuntimeError("scatter_add of tensors without dimensions and of one dimension cannot be mixed")
    if src.dtype is not x.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    for d in range(x.ndim):
        if index.shape[d] > src.shape[d] or (d != dim and index.shape[d] > x.shape[d]):
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart from "
                f"dimension {dim} and to be no larger size than src {list(src.shape)}"
            )
    return Plan(x.shape, x.dtype, words=_along_words(x, dim, index, src.shape))


def _scatter_add_dsrc(c: Any, g: Any) -> Any:
    part = g.gather(c.words[1], c.index)
    shape = tuple(c.input_shape)
    if tuple(part.shape) == shape:
        return part
    for d, size in enumerate(shape):  # src may be larger than the index: its rest has no gradient
        extra = list(part.shape)
        extra[d] = size - part.shape[d]
        if extra[d]:
            part = cat([part, part.new_zeros(extra)], d)
    return part


scatter_add = structured(
    "scatter_add",
    inputs=("x", "index", "src"),
    rule=scatter_add_rule,
    forward=kernels.scatter_add_kernel,
    backward={
        "x": (kernels.copy_dx_kernel, ()),
        "src": (kernels.scatter_add_dsrc_kernel, ("index",)),
    },
    derivative={"x": lambda c, g: g, "src": _scatter_add_dsrc},
    dtypes=_NUMBERS,
    contiguous=True,
    errors={kernels.OUT_OF_BOUNDS: _gather_out_of_bounds},
    doc="x with src[i][j] added at x[index[i][j]][j] for dim 0, in the order of the index.",
    samples=SAMPLES["scatter_add"],
    constants=CONSTANTS["scatter_add"],
)


# ---- nonzero ------------------------------------------------------------------------------------

_count_nonzero = structured(
    "count_nonzero",
    inputs=("x",),
    rule=lambda x: Plan((), int64, words=(numel(x.shape),)),
    forward=kernels.count_nonzero_kernel,
    backward={},
    derivative={},
    dtypes=DTYPES,
    contiguous=True,
    doc="How many elements are not 0, as an int64.",
    samples=[((3,),), ((2, 3),), ((0, 2),), ((),), (Given([[1, 0, 1]] * 15000),)],
    constants=CONSTANTS["count_nonzero"],
)
_nonzero = structured(
    "nonzero",
    inputs=("x",),
    rule=lambda x, count: Plan((count, x.ndim), int64, words=(numel(x.shape), count, x.ndim, *x.shape)),
    forward=kernels.nonzero_kernel,
    backward={},
    derivative={},
    dtypes=DTYPES,
    contiguous=True,
    doc="Positions of the first `count` elements that are not 0, one row each.",
    samples=SAMPLES["nonzero"],
    constants=CONSTANTS["nonzero"],
)


def nonzero(x: Any) -> Any:
    """Positions of the elements that are not 0, `(count, ndim)`, in row-major order.

    >>> import tapegrad as torch
    >>> torch.nonzero(torch.tensor([0, 3, 0, 5]))
    tensor([[1],
            [3]])
    """
    return _nonzero(x, count=int(_count_nonzero(x)))


# ---- triangles ----------------------------------------------------------------------------------


# ---- composites ---------------------------------------------------------------------------------


def index_select(x: Any, dim: int, index: Any) -> Any:
    """The slices of x along `dim` that a 1-D index names; IndexError for one that is not there.

    >>> import tapegrad as torch
    >>> torch.index_select(torch.tensor([[1., 2., 3.]]), 1, torch.tensor([2, 0]))
    tensor([[3., 1.]])
    """
    for position, (name, value) in enumerate((("input", x), ("index", index))):
        if not hasattr(value, "numel"):
            where = f"argument '{name}' (position {1 + 2 * position})"
            raise TypeError(f"index_select(): {where} must be Tensor, not {type(value).__name__}")
    if index.dtype is int32:
        index = index.to(int64)
    if x.ndim == 0:
        return _select(x.reshape(1), index.reshape(1), normal_dim(dim, 0)).reshape(())
    return _select(x, index, dim)


def _front(ndim: int, dims: Sequence[int]) -> tuple[int, ...]:
    return (*dims, *(d for d in range(ndim) if d not in dims))


def _row_numbers(x: Any, entries: Sequence[tuple[int, Any]]) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """(flat index, indexed dimensions, shape of the index)"""
    dims = tuple(d for d, _ in entries)
    indices = [index if index.dtype is int64 else index.to(int64) for _, index in entries]
    shape = tuple(indices[0].shape)
    for index in indices[1:]:
        try:
            shape = broadcast_shapes(shape, tuple(index.shape))
        except RuntimeError:
            shapes = ", ".join(str(list(i.shape)) for i in indices)
            raise IndexError(
                f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
            ) from None
    if len(indices) == 1:
        return indices[0], dims, shape
    full = [index if tuple(index.shape) == shape else index.expand(*shape) for index in indices]
    return flat_index(full, sizes=tuple(x.shape[d] for d in dims), dims=dims), dims, shape


def _as_rows(x: Any, dims: tuple[int, ...]) -> Any:
    order = _front(x.ndim, dims)
    moved = x if order == tuple(range(x.ndim)) else x.permute(*order)
    if len(dims) == 1:
        return moved
    return moved.reshape(numel([x.shape[d] for d in dims]), *moved.shape[len(dims) :])


def _result_order(dims: tuple[int, ...], index_ndim: int, ndim: int) -> tuple[int, ...]:
    """How to permute (index dimensions, other dimensions): neighbours stay in place, others go first."""
    rest = ndim - len(dims)
    before = dims[0] if dims == tuple(range(dims[0], dims[0] + len(dims))) else 0
    index_part = range(index_ndim)
    others = range(index_ndim, index_ndim + rest)
    return (*others[:before], *index_part, *others[before:])


def advanced_index(x: Any, entries: Sequence[tuple[int, Any]]) -> Any:
    """x[...] for int64 index tensors at some dimensions, given as (dimension, index) in rising order.

    The indices broadcast; their dimensions replace the indexed ones where those are neighbours, and come
    first where they are not.
    """
    index, dims, shape = _row_numbers(x, entries)
    y = take_rows(_as_rows(x, dims), index, dim=dims[0])
    order = _result_order(dims, len(shape), x.ndim)
    return y if order == tuple(range(len(order))) else y.permute(*order)


def advanced_put(x: Any, entries: Sequence[tuple[int, Any]], value: Any, accumulate: bool = False) -> Any:
    """x with value (which broadcasts) written or added where `advanced_index` reads. Not in place."""
    index, dims, shape = _row_numbers(x, entries)
    front = _front(x.ndim, dims)
    rest = tuple(x.shape[d] for d in front[len(dims) :])
    order = _result_order(dims, len(shape), x.ndim)
    joined = (*shape, *rest)
    value = value.expand(*(joined[d] for d in order))
    back = tuple(order.index(d) for d in range(len(order)))
    if back != tuple(range(len(back))):
        value = value.permute(*back)
    rows = put_rows(_as_rows(x, dims), index, value, accumulate=accumulate)
    moved = rows.reshape(*(x.shape[d] for d in front))
    undo = tuple(front.index(d) for d in range(x.ndim))
    return moved if undo == tuple(range(x.ndim)) else moved.permute(*undo)
