"""Kernels for products `x w^T` that share a weight: w is brought into the order in which tiles read it, once.

An element of the product is the same chain of multiply-adds whether our own kernel packs w as it goes or finds it
packed, so the bits are the same (see `native/panels.py`).
"""

from __future__ import annotations

from .._layout import FRAME_EXT, FRAME_IN, FRAME_OUT
from ..dtypes import int64
from ..native.panels import pack_panels, panel_count
from ..native.symbols import pointer
from ..ops.fold import plan_items
from ..ops.product_kernels import by_panels

__all__ = ["pack_kernel", "packed_product_kernel"]


def pack_kernel(f, lo, hi):
    """The panels of w (n, k). Words: n, k, row stride of w, size of an element."""
    w = pointer(f[FRAME_EXT], int64)
    n, k = w[0], w[1]
    if lo == -1:
        return plan_items(f, panel_count(n), max(1, 2048 // max(1, k)), 0, 1)
    pack_panels(f[FRAME_OUT], f[FRAME_IN], w[2], n, k, w[3], lo, hi)
    return 0


def packed_product_kernel(f, lo, hi):
    """x w^T + bias, w packed. Words: m, n, k, size of an element, has a bias, row stride of x."""
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    bias = f[FRAME_IN + 2] if w[4] != 0 else 0
    x, packed = f[FRAME_IN], f[FRAME_IN + 1]
    return by_panels(f, lo, hi, w[3], f[FRAME_OUT], x, w[5], 0, packed, n, 2, m, n, k, 0, bias, 0)
