"""Indexing with brackets: basic keys are views, integer and bool tensors gather and scatter."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _tensor, _views
from ._factories import tensor
from ._tensor import Tensor
from .dtypes import bool_, int32, int64, uint8
from .ops import indexing

__all__ = ["get", "set_"]


def _as_index(key: Any) -> Any:
    """A part of a key: sequences and arrays become index tensors."""
    if isinstance(key, Tensor):
        return key
    if isinstance(key, (bool, np.bool_)):
        return tensor(bool(key))
    if isinstance(key, np.ndarray):
        return tensor(key)
    if isinstance(key, np.integer):
        return int(key)
    if isinstance(key, (list, range)):
        return tensor(list(key)) if len(key) else tensor([], dtype=int64)
    if isinstance(key, (int, slice)) or key is None or key is Ellipsis:
        return key
    if hasattr(key, "__index__"):
        return key.__index__()
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
        f"(got {type(key).__name__})"
    )


def _plan(x: Tensor, key: Any) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """x after the basic parts of the key, and the (dimension, index tensor) pairs that remain."""
    parts = list(key) if isinstance(key, tuple) else [key]
    parts = [_as_index(p) for p in parts]
    parts = [
        p if not (isinstance(p, Tensor) and p.ndim == 0 and p.dtype in (int64, int32)) else int(p.item())
        for p in parts
    ]
    used = sum(
        p.ndim if isinstance(p, Tensor) and p.dtype in (bool_, uint8) else 0 if p is None or p is Ellipsis else 1
        for p in parts
    )
    if used > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    if sum(p is Ellipsis for p in parts) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    dim = 0
    gaps = x.ndim - used
    indices: list[tuple[int, Tensor]] = []
    for p in parts:
        if p is None:
            x = _views.unsqueeze(x, dim)
            dim += 1
        elif p is Ellipsis:
            dim += gaps
        elif isinstance(p, int):
            x = _views.select(x, dim, p)
        elif isinstance(p, slice):
            x = _views.slice_(x, dim, *(_bound(b) for b in (p.start, p.stop, p.step)))
            dim += 1
        elif p.dtype in (bool_, uint8):
            for d in range(p.ndim):
                if p.shape[d] != x.shape[dim + d]:
                    raise IndexError(
                        f"The shape of the mask {list(p.shape)} at index {d} does not match the shape of the indexed "
                        f"tensor {list(x.shape)} at index {dim + d}"
                    )
            if p.ndim == 0:
                x = _views.unsqueeze(x, dim)
                indices.append((dim, tensor([0] if p.item() else [], dtype=int64)))
                dim += 1
                continue
            for column in indexing.nonzero(p).unbind(1):
                indices.append((dim, column))
                dim += 1
        elif p.dtype in (int64, int32):
            indices.append((dim, p.to(int64)))
            dim += 1
        else:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return x, indices


def _bound(b: Any) -> Any:
    return b if b is None or isinstance(b, int) else b.__index__()


def _rows(x: Tensor, indices: list[tuple[int, Tensor]]) -> tuple[Tensor, Tensor, tuple[int, ...], int]:
    """x with its indexed dimensions first, merged into rows; the row numbers; their shape; where they go back.

    Raises IndexError for indices out of range or that do not broadcast together.
    """
    dims = [d for d, _ in indices]
    shape = _broadcast([i for _, i in indices])
    linear: Tensor | None = None
    for d, index in indices:
        n = x.shape[d]
        indexing.check_bounds(index, n, d)
        index = _tensor.apply_pointwise(_where(), (index < 0, index + n, index)) if index.numel() else index
        linear = index if linear is None else linear * n + index
    assert linear is not None
    linear = linear.expand(*shape).contiguous()
    adjacent = dims == list(range(dims[0], dims[0] + len(dims)))
    place = dims[0] if adjacent else 0
    rest = [d for d in range(x.ndim) if d not in dims]
    moved = x if dims == list(range(len(dims))) else _views.permute(x, *dims, *rest)
    count = 1
    for d in dims:
        count *= x.shape[d]
    return moved, linear, shape, place if adjacent else 0


def _where() -> int:
    from .ops.registry import BY_NAME

    return BY_NAME["where"].id


def _broadcast(tensors: list[Tensor]) -> tuple[int, ...]:
    shapes = [tuple(t.shape) for t in tensors]
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        listed = ", ".join(str(list(s)) for s in shapes)
        raise IndexError(f"shape mismatch: indexing tensors could not be broadcast together with shapes {listed}") from None


def get(x: Tensor, key: Any) -> Tensor:
    """`x[key]`."""
    found: Tensor | None = _views.get_basic(x, key)
    if found is not None:
        return found
    x, indices = _plan(x, key)
    if not indices:
        return x
    moved, linear, shape, place = _rows(x, indices)
    k = len(indices)
    rest = tuple(moved.shape[k:])
    count = 1
    for s in moved.shape[:k]:
        count *= s
    rows = indexing.take_rows(_views.reshape(moved, count, *rest), linear.reshape(-1))
    result: Tensor = _views.view(rows, *shape, *rest)
    if place:
        order = [*range(len(shape), len(shape) + place), *range(len(shape)), *range(len(shape) + place, result.ndim)]
        result = _views.permute(result, *order)
    return result


def set_(x: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`."""
    if not isinstance(value, Tensor) and not isinstance(value, (int, float, bool, np.generic)):
        value = tensor(value) if isinstance(value, np.ndarray) else value
        if not isinstance(value, Tensor):
            raise TypeError(f"can't assign a {type(value).__name__} to a torch.{x.type()[6:]}")
    found: Tensor | None = _views.get_basic(x, key)
    if found is not None:
        _assign(found, value)
        return
    target, indices = _plan(x, key)
    if not indices:
        _assign(target, value)
        return
    if len(indices) == 1 and isinstance(key, Tensor) and key.dtype is bool_ and not isinstance(value, Tensor):
        _tensor.copy_(x, _tensor.apply_pointwise(_where(), (_expanded_mask(key, x), value, x)).to(x.dtype))
        return
    moved, linear, shape, place = _rows(target, indices)
    k = len(indices)
    rest = tuple(moved.shape[k:])
    full = (*rest[:place], *shape, *rest[place:]) if place else (*shape, *rest)
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=x.dtype)
    elif value.dtype is not x.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {x.type()[6:-6]} for the destination and "
            f"{value.type()[6:-6]} for the source."
        )
    try:
        value = _views.expand(value, *full)
    except RuntimeError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing result of "
            f"shape {list(full)}"
        ) from None
    if place:
        n = len(shape)
        value = _views.permute(value, *range(place, place + n), *range(place), *range(place + n, value.ndim))
    count = 1
    for s in moved.shape[:k]:
        count *= s
    rows = _views.reshape(moved, count, *rest)
    changed = indexing.put_rows(rows, linear.reshape(-1), _views.reshape(value, linear.numel(), *rest))
    _tensor.copy_(moved, _views.view(changed, *moved.shape))


def _expanded_mask(mask: Tensor, x: Tensor) -> Tensor:
    return _views.view(mask, *mask.shape, *((1,) * (x.ndim - mask.ndim))) if mask.ndim < x.ndim else mask


def _assign(target: Tensor, value: Any) -> None:
    """Copies into a view; leading dimensions of size 1 of the value may go."""
    if isinstance(value, Tensor):
        while value.ndim > target.ndim and value.shape[0] == 1:
            value = _views.select(value, 0, 0)
        try:
            _tensor.copy_(target, value)
        except RuntimeError as error:
            if "doesn't match the broadcast shape" not in str(error):
                raise
            raise RuntimeError(
                f"The expanded size of the tensor ({target.shape[-1] if target.ndim else 1}) must match the existing "
                f"size ({value.shape[-1] if value.ndim else 1}) at non-singleton dimension {max(target.ndim - 1, 0)}.  "
                f"Target sizes: {list(target.shape)}.  Tensor sizes: {list(value.shape)}"
            ) from None
        return
    _tensor.copy_(target, value)
