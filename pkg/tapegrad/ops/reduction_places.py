"""Kernels of max and min along a dimension, with the place; and of argmax and argmin."""

from __future__ import annotations

from .._layout import FRAME_ACC, FRAME_AUX, FRAME_EXT, FRAME_GX, FRAME_OUT
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.symbols import pointer
from .fold import plan_items
from .reduction_kernels import SEGMENT, above, below, largest, place_body, smallest


def max_dim_kernel(f, lo, hi):
    return place_body(f, lo, hi, largest, above, f[FRAME_OUT], f[FRAME_AUX])


def min_dim_kernel(f, lo, hi):
    return place_body(f, lo, hi, smallest, below, f[FRAME_OUT], f[FRAME_AUX])


def argmax_kernel(f, lo, hi):
    return place_body(f, lo, hi, largest, above, 0, f[FRAME_OUT])


def argmin_kernel(f, lo, hi):
    return place_body(f, lo, hi, smallest, below, 0, f[FRAME_OUT])


def place_dx_kernel(f, lo, hi):
    """g to the element at the saved place, 0 elsewhere."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, outer, max(1, SEGMENT // max(1, n * inner)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    index = pointer(f[FRAME_AUX], int64)
    gx = pointer(f[FRAME_GX], T)
    if f[FRAME_ACC] == 0:
        for i in range(lo * n * inner, hi * n * inner):
            gx[i] = T(0)
    for row in range(lo, hi):
        for c in range(inner):
            p = (row * n + index[row * inner + c]) * inner + c
            gx[p] = gx[p] + g[row * inner + c]
    return 0
