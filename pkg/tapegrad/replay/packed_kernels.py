"""Kernels for weights that lie transposed: a transposition, and `linear` that reads its result.

An element of `x w^T` is the same chain of multiply-adds whether our kernel for products transposes w panel by
panel or finds it transposed, so the bits are those of `linear` (see `native/panels.py`).
"""

from __future__ import annotations

from .._layout import FRAME_EXT, FRAME_IN, FRAME_OUT, FRAME_SCRATCH
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.symbols import pointer, transpose_tile, vector_lanes
from ..ops.fold import plan_items
from ..ops.product_kernels import by_panels

__all__ = ["packed_linear_kernel", "transpose_kernel"]


def transpose_kernel(f, lo, hi):
    """Rows of the transposed matrix, in bands of one vector. Words: rows, columns, row stride of the result, size.

    The result has room for whole vectors both ways.
    """
    w = pointer(f[FRAME_EXT], int64)
    rows, columns, stride, size = w[0], w[1], w[2], w[3]
    lanes = vector_lanes(T)
    if lo == -1:
        return plan_items(f, (columns + lanes - 1) // lanes, max(1, 65536 // max(1, rows * lanes)), 0, 1)
    for p in range(lo * lanes, min(columns, hi * lanes), lanes):
        for j in range(0, rows, lanes):
            target = f[FRAME_OUT] + (p * stride + j) * size
            source = f[FRAME_IN] + (j * columns + p) * size
            transpose_tile(T, target, stride, source, columns, rows - j, columns - p)
    return 0


def packed_linear_kernel(f, lo, hi):
    """`linear` with w transposed. Words: m, n, k, size, has a bias, row stride of the transposed w."""
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    bias = f[FRAME_IN + 2] if w[4] != 0 else 0
    scratch = f[FRAME_SCRATCH]
    return by_panels(
        f, lo, hi, w[3], f[FRAME_OUT], f[FRAME_IN], k, 0, f[FRAME_IN + 1], w[5], 2, m, n, k, 0, bias, scratch
    )
