"""Products of matrices by tiles that stay in registers: what `ops` calls where BLAS is slower.

A panel is up to three vectors of columns of the result. The columns of b are copied next to each
other first where that pays (transposed if b is stored so), DEPTH rows at a time, and stay in the
nearest caches while tiles of eight rows of a, read where it lies, pass over them. **An element of the
result is a chain of multiply-adds over each DEPTH steps, the chains added in order**, so how a
result is cut into panels, rows and threads does not show in it.

The kernel is compiled once per dtype and called through the table of BLAS entry points.
"""

from __future__ import annotations

from .._layout import FRAME_GRAIN, FRAME_PHASES, FRAME_SCRATCH_BYTES
from ..dtypes import float32 as T
from ..dtypes import int64
from .symbols import outlined, pointer, product_tile, transpose_tile, vector_lanes

__all__ = ["DEPTH", "pack_panels", "packed_elements", "panel_count", "panel_kernel", "panels_win"]

DEPTH = 256
ROW_BLOCK = 256  # rows of a work item
CHUNK = 8388608  # multiply-adds of a chunk


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


@outlined
def panel(c, ldc, a, row_step, step, b, ldb, tb, m, columns, k, acc, bias, size, scratch):
    """One panel of the result; with scratch 0, b is read where it lies."""
    lanes = vector_lanes(T)
    width = (columns + lanes - 1) // lanes * lanes
    for p in range(0, k, DEPTH):
        depth = min(DEPTH, k - p)
        right = b + (p * ldb if tb == 0 else p) * size
        right_step = ldb
        ahead = b
        stride = 0
        if scratch != 0:
            pack(scratch, width, right, ldb, tb, depth, columns, size)
            right = scratch
            right_step = width
            if tb != 0:
                stride = min(64, max(1, columns * size * 8 // m))
                ahead = b + columns * ldb * size + p * ((m + 7) // 8) * stride
            else:  # what is copied next: the rows below, or the columns beside
                stride = ldb * size
                ahead = b + (columns * size if p + depth == k else (p + depth) * ldb * size)
        left = a + p * step * size
        last = bias if p + depth == k else 0
        adds = 1 if p > 0 else acc
        tiles(
            c,
            ldc,
            left,
            row_step,
            step,
            right,
            right_step,
            m,
            columns,
            depth,
            adds,
            last,
            size,
            ahead,
            stride,
        )


# ---- how a result is cut -------------------------------------------------------------------------


def panels_win(ta, tb, m, n, k):
    """Whether this is the faster way, measured against OpenBLAS."""
    if m == 0 or n == 0 or k == 0:
        return False
    if m * n * k > 1000000:  # up to here OpenBLAS has kernels that copy nothing, except for a b^T
        return True
    if ta != 0 or tb == 0:
        return False
    if k >= 32:
        if n < 16:
            return n >= 9 and m >= 64
        if m < 8:
            return (m >= 5 and k <= 128) or (m >= 3 and k <= 40)
        return m == 8 or m >= 16 or n >= 32
    if m >= 32 and n >= 8 and (m >= 64 or n >= 16):  # where b is transposed for OpenBLAS, which then does well
        return k >= 12
    return k >= 3 and n >= 4 and (k >= 6 or n < 50 or m >= 8)


def panel_start(n, index, panels):
    """The first column of a panel: they are as equal as whole vectors allow."""
    lanes = vector_lanes(T)
    return min(n, index * ((n + lanes - 1) // lanes) // panels * lanes)


def row_start(m, index, blocks):
    return m if index == blocks else m // blocks // 8 * 8 * index


def panel_count(n):
    lanes = vector_lanes(T)
    return ((n + lanes - 1) // lanes + 2) // 3


def packed_elements(n, k, lanes):
    """Elements of the first n columns, all of their panels, as `pack_panels` lays them out."""
    return (n + lanes - 1) // lanes * lanes * ((k + lanes - 1) // lanes * lanes)


def pack_panels(target, source, lds, n, k, size, lo, hi):
    """Panels lo..hi of b (k, n), stored transposed with row stride lds, in the order in which tiles read them.

    For products that use them several times; target has room for `packed_elements`.
    """
    lanes = vector_lanes(T)
    panels = panel_count(n)
    for index in range(lo, hi):
        j = panel_start(n, index, panels)
        columns = panel_start(n, index + 1, panels) - j
        width = (columns + lanes - 1) // lanes * lanes
        place = target + packed_elements(j, k, lanes) * size
        for p in range(0, k, DEPTH):
            from_here = source + (j * lds + p) * size
            pack(place + p * width * size, width, from_here, lds, 1, min(DEPTH, k - p), columns, size)


def panel_kernel(w, lo, hi):
    """A product c = or += op(a) op(b), + bias: work items lo..hi, all for hi = -1.

    lo = -1 is the planning call, lo = -2 asks for the bytes of scratch for one panel. Negative if BLAS
    should take this product. Words: frame, size, c, a, lda, a transposed?, b, ldb, b transposed?, m, n, k,
    add to c?, bias or 0, scratch. 2 in place of "b transposed?" says that b is what `pack_panels` made of one
    that is stored transposed; the results are the same.
    """
    f = pointer(w[0], int64)
    size, c, a, lda, ta = w[1], w[2], w[3], w[4], w[5]
    b, ldb, tb = w[6], w[7], w[8]
    m, n, k = w[9], w[10], w[11]
    if not panels_win(ta, tb, m, n, k):
        return -1
    lanes = vector_lanes(T)
    panels = panel_count(n)
    blocks = max(1, m // ROW_BLOCK)
    items = panels * blocks
    # Transposed panels must be copied, and those that do not end with a vector; others are where their
    # rows lie far apart, which the first cache takes badly.
    room = 0
    if tb != 2 and (tb != 0 or n % lanes != 0 or (m >= 64 and ldb >= 256)):
        room = (min(k, DEPTH) + lanes - 1) // lanes * lanes * 3 * lanes * size
    if lo == -2:
        return room
    grain = max(1, (items * CHUNK + m * n * k - 1) // (m * n * k))
    if lo == -1:
        f[FRAME_GRAIN] = grain
        f[FRAME_SCRATCH_BYTES] = room * ((items + grain - 1) // grain)
        f[FRAME_PHASES] = 1
        return items
    scratch = 0
    if room > 0:  # a chunk has its own
        scratch = w[14] + lo // grain * room
    if hi == -1:
        hi = items
    row_step = lda if ta == 0 else 1
    step = 1 if ta == 0 else lda
    item = lo
    while item < hi:
        index = item // blocks
        first = item - index * blocks
        last = min(blocks, first + hi - item)
        j = panel_start(n, index, panels)
        columns = panel_start(n, index + 1, panels) - j
        i = row_start(m, first, blocks)
        right = b + j * (1 if tb == 0 else ldb) * size
        right_step = ldb
        if tb == 2:
            right = b + packed_elements(j, k, lanes) * size
            right_step = (columns + lanes - 1) // lanes * lanes
        panel(
            c + (i * n + j) * size,
            n,
            a + i * row_step * size,
            row_step,
            step,
            right,
            right_step,
            tb & 1,
            row_start(m, last, blocks) - i,
            columns,
            k,
            w[12],
            w[13] + j * size if w[13] != 0 else 0,
            size,
            scratch,
        )
        item += last - first
    return 0
