"""Functions that rearrange a tensor, split it, or tell about it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _tensor, _views
from .._arrays import fill_from
from .._tensor import Tensor, binary
from ..dtypes import dtype, int64, promote_types
from ..ops import indexing, joining
from ..ops.registry import BY_NAME
from .base import tensor_argument


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
    tensor_argument("reshape", input)
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
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
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
    chunks = operator.index(chunks)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if input.ndim == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    n = input.shape[_tensor.wrap_dim(dim, input.ndim)]
    if n == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-n // chunks), dim)


def repeat(self: Tensor, *sizes: Any) -> Tensor:
    """The tensor repeated this many times along each dimension, copied."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    elif not sizes:
        raise TypeError('repeat() missing 1 required positional arguments: "repeats"')
    if len(sizes) < self.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
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


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """One dimension, or several, moved to other places, as a view; the rest keeps its order.

    >>> import tapegrad as torch
    >>> torch.movedim(torch.zeros(2, 3, 4), (0, 1), (1, 2)).shape
    torch.Size([4, 2, 3])
    """
    tensor_argument("movedim", input)
    if type(source) is int and type(destination) is int and input.ndim > 0:
        order = list(range(input.ndim))
        moved_dim = order.pop(_tensor.wrap_dim(source, input.ndim))
        order.insert(_tensor.wrap_dim(destination, input.ndim), moved_dim)
        return _views.permute(input, order)
    several = [isinstance(dims, (tuple, list)) for dims in (source, destination)]
    if several[0] != several[1]:
        kinds = ", ".join(type(x).__name__ for x in (source, destination))
        raise TypeError(f"movedim() received an invalid combination of arguments - got (Tensor, {kinds})")
    sources, destinations = (list(dims) if several[0] else [dims] for dims in (source, destination))
    if len(sources) != len(destinations):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({sources} dims) should contain the same number "
            f"of dims as destination ({destinations} dims)"
        )
    places = [[_tensor.wrap_dim(d, input.ndim) for d in dims] for dims in (sources, destinations)]
    for name, given, found in zip(("source", "destination"), (sources, destinations), places, strict=True):
        if len(set(found)) != len(found):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({given})")
    rest = iter(d for d in range(input.ndim) if d not in places[0])
    moved = dict(zip(places[1], places[0], strict=True))
    return _views.permute(input, [moved[d] if d in moved else next(rest) for d in range(input.ndim)])


def numel(input: Tensor) -> int:
    """The number of elements."""
    tensor_argument("numel", input)
    return input.numel()


def is_tensor(obj: Any) -> bool:
    """True for a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """True if the elements are floating point numbers."""
    return bool(input.dtype.is_floating_point)


def result_type(a: Any, b: Any) -> dtype:
    """The dtype of arithmetic between the two."""
    if isinstance(a, Tensor) and isinstance(b, Tensor) and (a.ndim > 0) == (b.ndim > 0):
        return promote_types(a.dtype, b.dtype)
    probes = [_tensor.zeros((0,) if x.ndim else (), x._dt) if isinstance(x, Tensor) else x for x in (a, b)]
    found: dtype = binary(BY_NAME["add"].id, *probes).dtype
    return found


def t(input: Tensor) -> Tensor:
    """A matrix transposed, as a view."""
    return _views.t(input)


def reverse(self: Tensor) -> Tensor:
    """The elements along the first dimension in reverse order, copied, for `reversed`."""
    if self.ndim == 0:
        return self
    index = _tensor.empty((self.shape[0],), int64.index)
    fill_from(index, np.arange(self.shape[0] - 1, -1, -1))
    return indexing.take_rows(self, index)


def matrix_transpose(self: Tensor) -> Tensor:
    """The last two dimensions exchanged, as a view."""
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return _views.transpose(self, -2, -1)


def reverse_transpose(self: Tensor) -> Tensor:
    """All dimensions in reverse order, as a view."""
    return _views.permute(self, *range(self.ndim - 1, -1, -1))
