"""What `x[key]` means, as a list of steps: pure Python over shapes.

`plan_index(shape, key)` gives
    steps:    ("select", dim, i), ("slice", dim, start, stop, step) or ("unsqueeze", dim), to be applied in
              order; numbers are final: never negative, within the size
    entries:  (dim, index) for the advanced part, where dim counts in the tensor after the steps. An index is
              what the key held (a tensor, or a NumPy array made from a list); a mask covers as many
              dimensions as it has and is checked against them.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["is_mask", "plan_index"]

Step = tuple[Any, ...]


def is_mask(index: Any) -> bool:
    """Whether an index of an entry is a mask (bool or uint8) and not a tensor of positions."""
    return _kind(index) in ("bool", "uint8")


def _kind(index: Any) -> str:
    return getattr(index.dtype, "name", str(index.dtype))


def _is_array(part: Any) -> bool:
    return hasattr(part, "dtype") and hasattr(part, "ndim")


def _as_array(part: Sequence[Any]) -> Any:
    array = np.asarray(part)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return array if array.dtype.kind == "b" else array.astype(np.int64)


def _covered(part: Any) -> int:
    """How many dimensions of the tensor a part of the key uses up."""
    if part is None or part is Ellipsis or isinstance(part, bool | np.bool_):
        return 0
    if _is_array(part) and is_mask(part):
        return int(part.ndim)
    return 1


def _integer(part: Any) -> int:
    if isinstance(part, str):
        raise TypeError("new(): invalid data type 'str'")
    try:
        return operator.index(part)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
            f"indices (got {type(part).__name__})"
        ) from None


def _bound(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError("slice indices must be integers or None or have an __index__ method") from None


def _slice(part: slice, size: int) -> tuple[int, int, int]:
    step = _bound(part.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step is not None and step < 0:
        raise ValueError("step must be greater than zero")
    start, stop, step = slice(_bound(part.start), _bound(part.stop), step).indices(size)
    return start, max(start, stop), step


def plan_index(shape: Sequence[int], key: Any) -> tuple[list[Step], list[tuple[int, Any]]]:
    """The steps and entries of `x[key]` for a tensor of that shape, with PyTorch's errors.

    >>> plan_index((3, 4), (slice(1, None), -1))
    ([('slice', 0, 1, 3, 1), ('select', 1, 3)], [])
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    parts = [_as_array(p) if isinstance(p, list | tuple | range) else p for p in parts]
    parts = [int(p) if isinstance(p, np.integer) else p for p in parts]  # np.uint8(1) is a position, no mask
    ndim = len(shape)
    used = sum(_covered(p) for p in parts)
    if ndim == 0 and used and not _is_array(parts[0]):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
            "convert a 0-dim tensor to a number"
        )
    if used > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    steps: list[Step] = []
    entries: list[tuple[int, Any]] = []
    current = list(shape)  # of the tensor after the steps so far
    dim = 0
    seen_ellipsis = False
    for position, part in enumerate(parts):
        if part is Ellipsis:
            skipped = 0 if seen_ellipsis else ndim - used
            seen_ellipsis = True
            dim += skipped
        elif part is None:
            steps.append(("unsqueeze", dim))
            current.insert(dim, 1)
            dim += 1
        elif isinstance(part, bool | np.bool_):
            steps.append(("unsqueeze", dim))
            current.insert(dim, 1)
            entries.append((dim, np.zeros(1 if part else 0, dtype=np.int64)))
            dim += 1
        elif isinstance(part, slice):
            size = current[dim]
            start, stop, step = _slice(part, size)
            if (start, stop, step) != (0, size, 1):
                steps.append(("slice", dim, start, stop, step))
                current[dim] = -(-(stop - start) // step)
            dim += 1
        elif _is_array(part) and (part.ndim > 0 or is_mask(part)):
            if is_mask(part):
                if part.ndim == 0:
                    steps.append(("unsqueeze", dim))
                    current.insert(dim, 1)
                    entries.append((dim, part.reshape(1)))
                    dim += 1
                    continue
            elif _kind(part) not in ("int64", "int32"):
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            entries.append((dim, part))
            dim += _covered(part)
        else:
            i = _integer(part)
            size = current[dim]
            if not -size <= i < size:
                # PyTorch names the place in the key, which is not always the dimension.
                raise IndexError(f"index {i} is out of bounds for dimension {position} with size {size}")
            steps.append(("select", dim, i + size if i < 0 else i))
            del current[dim]
    for dim, index in entries:
        if is_mask(index):
            for j in range(index.ndim):
                if index.shape[j] != current[dim + j]:
                    raise IndexError(
                        f"The shape of the mask {list(index.shape)} at index {j} does not match the shape of "
                        f"the indexed tensor {current} at index {dim + j}"
                    )
    return steps, entries
