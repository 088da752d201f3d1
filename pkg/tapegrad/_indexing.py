"""Indexing with brackets: basic keys are views, integer and bool tensors gather and scatter."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _tensor, _views
from ._from_data import tensor
from ._tensor import Tensor
from .dtypes import bool_, int64
from .ops import indexing
from .ops.index_plan import is_mask, plan_index
from .ops.registry import BY_NAME

__all__ = ["get", "set_"]


def _basic(x: Tensor, steps: list[tuple[Any, ...]]) -> Tensor:
    """x after selects, slices and new dimensions; always a new view."""
    if not steps:
        whole: Any = _views.get_basic(x, Ellipsis)
        return whole
    for kind, dim, *rest in steps:
        if kind == "select":
            x = _views.select(x, dim, *rest)
        elif kind == "slice":
            x = _views.slice_(x, dim, *rest)
        else:
            x = _views.unsqueeze(x, dim)
    return x


def _entries(found: list[tuple[int, Any]]) -> list[tuple[int, Tensor]]:
    """Index tensors of positions: masks become the positions where they hold."""
    entries: list[tuple[int, Tensor]] = []
    for dim, index in found:
        index = index if isinstance(index, Tensor) else tensor(index)
        if is_mask(index):
            entries += [(dim + k, column) for k, column in enumerate(indexing.nonzero(index).unbind(1))]
        else:
            entries.append((dim, index.to(int64)))
    return entries


def _plan(x: Tensor, key: Any) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    steps, found = plan_index(tuple(x.shape), key)
    return _basic(x, steps), _entries(found)


_WHOLE = slice(None)


def _usual(x: Tensor, key: Any) -> Tensor | None:
    """`x[key]` for the keys met most: positions or a mask, one position tensor per dimension, positions along one
    dimension. None for the others, and for those that do not fit, which the plan of a key refuses."""
    shape = x.shape
    if isinstance(key, Tensor):
        n = key.ndim
        if n == 0 or not shape:
            return None
        if key.dtype is int64:
            rows: Tensor = indexing.take_rows(x, key)
            return rows
        if key.dtype is bool_ and tuple(key.shape) == shape[:n]:
            places = indexing.nonzero(key if n == 1 else key.flatten())
            held: Tensor = indexing.take_rows(x if n == 1 else x.flatten(0, n - 1), places.flatten())
            return held
        return None
    if type(key) is not tuple or not 1 < len(key) <= len(shape):
        return None
    given = [k for k, part in enumerate(key) if isinstance(part, Tensor)]
    if not given or any(key[k].dtype is not int64 or key[k].ndim == 0 for k in given):
        return None
    index: Tensor = key[given[0]]
    if len(given) == len(key):
        if any(part.shape != index.shape for part in key):
            return None
        index = indexing.flat_index(key, tuple(shape[: len(key)]), tuple(given))
        picked: Tensor = indexing.take_rows(x.flatten(0, len(key) - 1), index)
        return picked
    if len(given) > 1:
        return None
    if key[0] is Ellipsis and len(key) == 2:
        given[0] = len(shape) - 1
    elif any(type(part) is not slice or part != _WHOLE for part in key if part is not index):
        return None
    taken: Tensor = indexing.advanced_index(x, ((given[0], index),))
    return taken


def get(x: Tensor, key: Any) -> Tensor:
    """`x[key]`."""
    view: Tensor | None = _views.get_basic(x, key)
    if view is not None:
        return view
    usual = _usual(x, key)
    if usual is not None:
        return usual
    x, entries = _plan(x, key)
    return indexing.advanced_index(x, entries) if entries else x


def set_(x: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`."""
    if not isinstance(value, (Tensor, int, float, bool, np.generic)):
        if not isinstance(value, np.ndarray):
            raise TypeError(f"can't assign a {type(value).__name__} to a {x.type()}")
        value = tensor(value)
    view: Tensor | None = _views.get_basic(x, key)
    if view is not None:
        _assign(view, value)
        return
    if isinstance(key, Tensor) and key.dtype is bool_ and not isinstance(value, Tensor) and key.ndim > 0:
        plan_index(tuple(x.shape), key)
        mask = _views.view(key, *key.shape, *((1,) * (x.ndim - key.ndim)))
        filled = _tensor.apply_pointwise(BY_NAME["where"].id, (mask, tensor(value, dtype=x.dtype), x))
        _tensor.copy_(x, filled)
        return
    target, entries = _plan(x, key)
    if not entries:
        _assign(target, value)
        return
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=x.dtype)
    elif value.dtype is not x.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {x.type()[6:-6]} for the destination and "
            f"{value.type()[6:-6]} for the source."
        )
    _tensor.check_writable(target)
    _tensor.copy_(target, indexing.advanced_put(target, entries, value))


def _assign(target: Tensor, value: Any) -> None:
    """Copies into a view; leading dimensions of size 1 of the value may go."""
    if not isinstance(value, Tensor):
        _tensor.copy_(target, value)
        return
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
