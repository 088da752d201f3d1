"""Dimensions by number: wrapping, checking and splitting, with PyTorch's errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["broadcast_shapes", "normal_dim", "normal_dims", "numel", "split_at"]


def normal_dim(dim: int, ndim: int) -> int:
    """dim in 0..ndim-1; a tensor without dimensions answers to 0 and -1. IndexError outside."""
    rank = max(1, ndim)
    if not -rank <= dim < rank:
        valid = f"[{-rank}, {rank - 1}]"
        raise IndexError(f"Dimension out of range (expected to be in range of {valid}, but got {dim})")
    return dim + rank if dim < 0 else dim


def normal_dims(dims: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce, sorted; None and () mean all. RuntimeError for a repeated one."""
    if dims is None:
        return tuple(range(ndim))
    listed: Sequence[Any] = dims if isinstance(dims, tuple | list) else (dims,)
    seen: set[int] = set()
    for dim in listed:
        normal = normal_dim(dim, ndim)
        if normal in seen:
            raise RuntimeError(f"dim {normal} appears multiple times in the list of dims")
        seen.add(normal)
    if not seen:
        return tuple(range(ndim))
    return tuple(sorted(d for d in seen if d < ndim))


def numel(shape: Sequence[int]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


def split_at(shape: Sequence[int], dim: int) -> tuple[int, int, int]:
    """(elements before, size, elements after) of one dimension; (1, 1, 1) for no dimensions."""
    if not shape:
        return 1, 1, 1
    return numel(shape[:dim]), shape[dim], numel(shape[dim + 1 :])


def broadcast_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape both broadcast to; RuntimeError with PyTorch's text if there is none."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    shape = []
    for i, (m, n) in enumerate(zip(left, right, strict=True)):
        if m != n and m != 1 and n != 1:
            sizes = f"The size of tensor a ({m}) must match the size of tensor b ({n})"
            raise RuntimeError(f"{sizes} at non-singleton dimension {i}")
        shape.append(n if m == 1 else m)
    return tuple(shape)
