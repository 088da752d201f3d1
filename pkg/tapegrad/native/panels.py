"""One panel of a matrix product, by tiles that stay in registers: what `ops` calls where BLAS is slower.

A panel is up to three vectors of columns of the result. The columns of b are copied next to each
other first where that pays (transposed if b is stored so), DEPTH rows at a time, and stay in the
nearest caches while tiles of eight rows of a, read where it lies, pass over them. **An element of the
result is a chain of multiply-adds over each DEPTH steps, the chains added in order**, so how a
result is cut into panels, rows and threads does not show in it.

The kernel is compiled once per dtype and called through the table of BLAS entry points.
"""

from __future__ import annotations

from ..dtypes import float32 as T
from .symbols import outlined, pointer, product_tile, transpose_tile, vector_lanes

__all__ = ["DEPTH", "panel_kernel"]

DEPTH = 256


@outlined
def pack(target, width, source, ldb, tb, depth, columns, size):
    """target (depth, width) from `columns` columns of b, stored (depth, n) or transposed."""
    lanes = vector_lanes(T)
    if tb != 0:
        for p in range(0, depth, lanes):
            for j in range(0, columns, lanes):
                place = target + (p * width + j) * size
                transpose_tile(T, place, width, source + (j * ldb + p) * size, ldb, columns - j, depth - p)
        return
    t = pointer(target, T)
    s = pointer(source, T)
    for p in range(depth):
        for j in range(columns):
            t[p * width + j] = s[p * ldb + j]
        for j in range(columns, width):
            t[p * width + j] = T(0.0)


@outlined
def tiles(c, ldc, a, row_step, step, b, b_step, m, columns, k, acc, bias, size, ahead, stride):
    lanes = vector_lanes(T)
    for i in range(0, m, 8):
        rows = min(8, m - i)
        x = a + i * row_step * size
        y = c + i * ldc * size
        z = ahead
        z_step = stride
        if stride > 64:  # line by line down the rows, in the first tiles
            z += i // 8 * 64
            z_step = stride if i < 8 * 3 else 0
        else:
            z += i // 8 * k * stride
        if columns > 2 * lanes:
            product_tile(T, 3, k, x, row_step, step, b, b_step, y, ldc, rows, columns, acc, bias, z, z_step)
        elif columns > lanes:
            product_tile(T, 2, k, x, row_step, step, b, b_step, y, ldc, rows, columns, acc, bias, z, z_step)
        else:
            product_tile(T, 1, k, x, row_step, step, b, b_step, y, ldc, rows, columns, acc, bias, z, z_step)


def panel_kernel(w, _lo, _hi):
    """Words: size, c, ldc, a, step between rows of a, step along them, b, ldb, b transposed?, m, columns, k,
    add to c?, bias or 0, scratch or 0: without it b, of whole
    vectors of columns, is read where it lies. Steps count elements."""
    size, c, ldc = w[0], w[1], w[2]
    a, row_step, step = w[3], w[4], w[5]
    b, ldb, tb = w[6], w[7], w[8]
    m, columns, k = w[9], w[10], w[11]
    lanes = vector_lanes(T)
    width = (columns + lanes - 1) // lanes * lanes
    for p in range(0, k, DEPTH):
        depth = min(DEPTH, k - p)
        right = b + (p * ldb if tb == 0 else p) * size
        right_step = ldb
        if w[14] != 0:
            pack(w[14], width, right, ldb, tb, depth, columns, size)
            right = w[14]
            right_step = width
        left = a + p * step * size
        bias = w[13] if p + depth == k else 0
        acc = 1 if p > 0 else w[12]
        ahead = b
        stride = 0
        if w[14] != 0 and tb != 0:
            stride = min(64, max(1, columns * size * 8 // m))
            ahead = b + columns * ldb * size + p * ((m + 7) // 8) * stride
        tiles(
            c, ldc, left, row_step, step, right, right_step, m, columns, depth, acc, bias, size, ahead, stride
        )
    return 0
