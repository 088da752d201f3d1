"""Kernels of the variance and the standard deviation over (outer, n, inner).

    m = mean of x     var = sum of (x - m)^2 / (n - correction)     std = sqrt(var)
    d var / dx = 2 (x - m) / (n - correction)     d std / dx = (x - m) / (std (n - correction)), and 0 where std is 0

Two passes: the second sees differences from the first one's mean, rounded to the element type, and corrects for
that rounding. Long reductions are cut as those of `reduction_kernels`, and the parts joined by Chan's formula, in
order. The mean is the op's second result, kept in float64 for the backward.
"""

from __future__ import annotations

from .._layout import (
    FRAME_ACC,
    FRAME_AUX,
    FRAME_EXT,
    FRAME_GX,
    FRAME_IN,
    FRAME_OUT,
    FRAME_PARAMS,
    FRAME_PHASE,
    FRAME_SCRATCH,
    FRAME_Y,
)
from ..dtypes import float32 as T
from ..dtypes import float64, int64
from ..native.symbols import pointer, sqrt, where
from .fold import add, chunks_of, fold_row, plain, plan_items, put
from .reduction_kernels import BAND, SEGMENT, WIDTH, rows_of_segment

ROOM = 2 * WIDTH * 8  # bytes of scratch per chunk: lanes of a fold, or totals of the columns


def squared_less(v, shift):
    d = v - shift
    return d * d


def finished(squares, divisor, root):
    """The result of a sum of squares of differences."""
    v = squares / divisor
    return where(root != 0, sqrt(v), v)


def variance_body(f, lo, hi, root):
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    across = 1 if inner == 1 else chunks_of(inner, WIDTH)
    rows = SEGMENT if inner == 1 else rows_of_segment(inner)
    segments = max(1, chunks_of(n, rows))
    items = outer * across * segments if inner > 0 else 0
    grain = 1
    if segments == 1:
        grain = max(1, SEGMENT // max(1, n * min(inner, WIDTH)))
    stride = 1 if inner == 1 else WIDTH
    if lo == -1:
        kept_bytes = 2 * items * 8 * stride if segments > 1 else 0
        return plan_items(f, items, grain, chunks_of(items, grain) * ROOM + kept_bytes, 2 if segments > 1 else 1)
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_OUT], T)
    means = pointer(f[FRAME_AUX], float64)
    divisor = pointer(f[FRAME_PARAMS], float64)[0]
    kept = f[FRAME_SCRATCH] + chunks_of(items, grain) * ROOM
    part_means = pointer(kept, float64)
    part_squares = pointer(kept + items * 8 * stride, float64)
    if f[FRAME_PHASE] == 1:
        for item in range(lo, min(hi, outer * across)):
            row = item // across
            left = item % across * WIDTH
            for c in range(1 if inner == 1 else min(WIDTH, inner - left)):
                p = item * segments * stride + c
                mean = part_means[p]
                squares = part_squares[p]
                count = float64(rows)
                for s in range(1, segments):
                    more = float64(min(rows, n - s * rows))
                    d = part_means[p + s * stride] - mean
                    both = count + more
                    mean += d * (more / both)
                    squares += part_squares[p + s * stride] + d * d * (count * more / both)
                    count = both
                means[row * inner + left + c] = mean
                y[row * inner + left + c] = T(finished(squares, divisor, root))
        return 0
    area = f[FRAME_SCRATCH] + lo // grain * ROOM
    lanes = pointer(area, T)
    totals = pointer(area, float64)
    second = pointer(area + WIDTH * 8, float64)
    for item in range(lo, hi):
        first = item % segments * rows
        last = min(n, first + rows)
        line = item // segments
        count = float64(last - first)
        if inner == 1:
            start = line * n
            total = 0.0
            for i in range(first, last, BAND):
                total += float64(fold_row(add, plain, T(0), x, start + i, min(BAND, last - i), lanes))
            mean = total / count
            shift = T(mean)
            squares = 0.0
            for i in range(first, last, BAND):
                squares += float64(fold_row(add, squared_less, shift, x, start + i, min(BAND, last - i), lanes))
            off = mean - float64(shift)
            squares -= count * off * off
            squares = where(squares < 0.0, 0.0, squares)
            if segments == 1:
                means[line] = mean
                y[line] = T(finished(squares, divisor, root))
            else:
                part_means[item] = mean
                part_squares[item] = squares
            continue
        left = line % across * WIDTH
        width = min(WIDTH, inner - left)
        start = line // across * n * inner + left
        for c in range(width):
            totals[c] = 0.0
            second[c] = 0.0
        for i in range(first, last):
            p = start + i * inner
            for c in range(width):
                totals[c] = totals[c] + float64(x[p + c])
        for c in range(width):
            totals[c] = totals[c] / count
        for i in range(first, last):
            p = start + i * inner
            for c in range(width):
                d = float64(x[p + c]) - totals[c]
                second[c] = second[c] + d * d
        q = line // across * inner + left
        for c in range(width):
            if segments == 1:
                means[q + c] = totals[c]
                y[q + c] = T(finished(second[c], divisor, root))
            else:
                part_means[item * WIDTH + c] = totals[c]
                part_squares[item * WIDTH + c] = second[c]
    return 0


def fill_nan(f, lo, hi):
    """The variance of nothing."""
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[0] * w[2], SEGMENT, 0, 1)
    y = pointer(f[FRAME_OUT], T)
    means = pointer(f[FRAME_AUX], float64)
    for i in range(lo, hi):
        y[i] = T(float("nan"))
        means[i] = float("nan")
    return 0


def var_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_nan(f, lo, hi)
    return variance_body(f, lo, hi, 0)


def std_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_nan(f, lo, hi)
    return variance_body(f, lo, hi, 1)


def slope_of(g, y, divisor, root):
    """What g makes of a difference from the mean."""
    if root != 0:
        return where(y == T(0), T(0), T(float64(g) / (float64(y) * divisor)))
    return T(float64(g) * (2.0 / divisor))


def difference_body(f, lo, hi, root):
    """gx = g times the derivative; an item is one of the (outer, n) rows of `inner` elements."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, outer * n if inner > 0 else 0, max(1, SEGMENT // max(1, inner)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_Y], T)
    means = pointer(f[FRAME_AUX], float64)
    gx = pointer(f[FRAME_GX], T)
    divisor = pointer(f[FRAME_PARAMS], float64)[0]
    acc = f[FRAME_ACC]
    if inner == 1:
        for row in range(lo // n, (hi + n - 1) // n):
            slope = slope_of(g[row], y[row], divisor, root)
            mean = T(means[row])
            for i in range(max(lo, row * n), min(hi, row * n + n)):
                put(gx, i, slope * (x[i] - mean), acc)
        return 0
    for line in range(lo, hi):
        p = line // n * inner
        q = line * inner
        for c in range(inner):
            put(gx, q + c, slope_of(g[p + c], y[p + c], divisor, root) * (x[q + c] - T(means[p + c])), acc)
    return 0


def var_dx_kernel(f, lo, hi):
    return difference_body(f, lo, hi, 0)


def std_dx_kernel(f, lo, hi):
    return difference_body(f, lo, hi, 1)
