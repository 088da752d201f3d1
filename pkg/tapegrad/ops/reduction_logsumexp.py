"""Kernels of the logarithm of a sum of exponentials over (outer, n, inner).

    y = m + log(sum of exp(x - m)), m the largest x (0 if that is infinite)     dx = g exp(x - y)
"""

from __future__ import annotations

from .._layout import FRAME_ACC, FRAME_EXT, FRAME_GX, FRAME_IN, FRAME_OUT, FRAME_SCRATCH, FRAME_Y
from ..dtypes import float32 as T
from ..dtypes import float64, int64
from ..native.symbols import exp, fabs, log, pointer, where
from .fold import add, chunks_of, exp_less, fold_row, larger, plain, plan_items, put
from .reduction_kernels import BAND, SEGMENT, WIDTH, fill_empty

ROWS = 64  # whose exponentials are added in the element type
ROOM = 3 * WIDTH * 8  # bytes of scratch per chunk: lanes of a fold, or columns of maxima, of a stretch, of totals


def finite(m):
    return where(fabs(m) == T(float("inf")), T(0), m)


def logsumexp_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    if n == 0:
        return fill_empty(f, lo, hi, -float("inf"), T)
    across = 1 if inner == 1 else chunks_of(inner, WIDTH)
    grain = max(1, SEGMENT // (n * max(1, min(inner, WIDTH))))
    if lo == -1:
        items = outer * across if inner > 0 else 0
        return plan_items(f, items, grain, chunks_of(items, grain) * ROOM, 1)
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_OUT], T)
    area = f[FRAME_SCRATCH] + lo // grain * ROOM
    lanes = pointer(area, T)
    top = pointer(area, T)
    part = pointer(area + WIDTH * 8, T)
    total = pointer(area + 2 * WIDTH * 8, float64)
    for item in range(lo, hi):
        if inner == 1:
            start = item * n
            shift = finite(fold_row(larger, plain, T(0), x, start, n, lanes))
            s = 0.0
            for i in range(0, n, BAND):
                s += float64(fold_row(add, exp_less, shift, x, start + i, min(BAND, n - i), lanes))
            y[item] = shift + log(T(s))
            continue
        left = item % across * WIDTH
        width = min(WIDTH, inner - left)
        p = item // across * n * inner + left
        for c in range(width):
            top[c] = x[p + c]
            total[c] = 0.0
        for j in range(1, n):
            for c in range(width):
                top[c] = larger(top[c], x[p + j * inner + c])
        for c in range(width):
            top[c] = finite(top[c])
        for first in range(0, n, ROWS):
            for c in range(width):
                part[c] = T(0)
            for j in range(first, min(n, first + ROWS)):
                for c in range(width):
                    part[c] = part[c] + exp(x[p + j * inner + c] - top[c])
            for c in range(width):
                total[c] = total[c] + float64(part[c])
        q = item // across * inner + left
        for c in range(width):
            y[q + c] = top[c] + log(T(total[c]))
    return 0


def logsumexp_dx_kernel(f, lo, hi):
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
            v = g[row]
            last = y[row]
            for i in range(max(lo, row * n), min(hi, row * n + n)):
                put(gx, i, v * exp(x[i] - last), acc)
        return 0
    for line in range(lo, hi):
        p = line // n * inner
        q = line * inner
        for c in range(inner):
            put(gx, q + c, g[p + c] * exp(x[q + c] - y[p + c]), acc)
    return 0
