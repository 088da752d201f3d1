"""Kernels for weights that lie transposed: a transposition, and `x w^T + bias` that reads its result.

An element of the product is the same chain of multiply-adds whether our kernel for products transposes w panel by
panel or finds it transposed, so the bits are the same (see `native/panels.py`).
"""

from __future__ import annotations

from .._layout import FRAME_EXT, FRAME_IN, FRAME_OUT, FRAME_SCRATCH
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.symbols import pointer, transpose_tile, vector_lanes
from ..ops.fold import plan_items
from ..ops.product_kernels import by_panels

__all__ = ["packed_product_kernel", "transpose_kernel"]


def transpose_kernel(f, lo, hi):
    """Rows of the transposed matrix, in bands of one vector.

    Words: rows, columns and row stride of the source, row stride of the result, size of an element. The result
    has room for whole vectors both ways.
    """
    w = pointer(f[FRAME_EXT], int64)
    rows, columns, lds, stride, size = w[0], w[1], w[2], w[3], w[4]
    lanes = vector_lanes(T)
    if lo == -1:
        return plan_items(f, (columns + lanes - 1) // lanes, max(1, 65536 // max(1, rows * lanes)), 0, 1)
    for p in range(lo * lanes, min(columns, hi * lanes), lanes):
        for j in range(0, rows, lanes):
            target = f[FRAME_OUT] + (p * stride + j) * size
            source = f[FRAME_IN] + (j * lds + p) * size
            transpose_tile(T, target, stride, source, lds, rows - j, columns - p)
    return 0


def packed_product_kernel(f, lo, hi):
    """x w^T + bias. Words: m, n, k, size of an element, has a bias, row stride of x, that of the transposed w."""
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    bias = f[FRAME_IN + 2] if w[4] != 0 else 0
    scratch = f[FRAME_SCRATCH]
    return by_panels(
        f, lo, hi, w[3], f[FRAME_OUT], f[FRAME_IN], w[5], 0, f[FRAME_IN + 1], w[6], 2, m, n, k, 0, bias, scratch
    )
