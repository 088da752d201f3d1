"""Kernels of the Euclidean norm over (outer, n, inner), in one pass.

    y = sqrt(sum of x^2)     dx = g x / y, and 0 where y is 0

Squares are taken and added in float64, so a float32 norm neither overflows nor underflows before its own range
ends.
"""

from __future__ import annotations

from .._layout import FRAME_ACC, FRAME_EXT, FRAME_GX, FRAME_IN, FRAME_OUT, FRAME_Y
from ..dtypes import float32 as T
from ..dtypes import float64, int64
from ..native.symbols import pointer, sqrt, where
from .fold import add, plan_items, put
from .reduction_kernels import SEGMENT, fill_empty, reduce_body


def squared(v, shift):
    return float64(v) * float64(v)


def root(a, n, r):
    return r(sqrt(a))


def norm2_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, 0.0, T)
    return reduce_body(f, lo, hi, add, squared, root, T(0), float64, float64, T)


def norm2_dx_kernel(f, lo, hi):
    """An item is one of the (outer, n) rows of `inner` elements."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, outer * n if inner > 0 else 0, max(1, SEGMENT // max(1, inner)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_Y], T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    if inner == 1:
        for row in range(lo // n, (hi + n - 1) // n):
            norm = y[row]
            v = g[row] / norm
            nothing = norm == T(0)
            for i in range(max(lo, row * n), min(hi, row * n + n)):
                put(gx, i, where(nothing, T(0), x[i] * v), acc)
        return 0
    for line in range(lo, hi):
        p = line // n * inner
        q = line * inner
        for c in range(inner):
            norm = y[p + c]
            put(gx, q + c, where(norm == T(0), T(0), x[q + c] * (g[p + c] / norm)), acc)
    return 0

